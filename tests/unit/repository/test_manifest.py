from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from sealed_backups import UUID, facts, sample

from fleet.errors import FormatUnsupported, ObjectDamaged
from repository import manifest as module
from repository.manifest import (
    BackupFacts,
    FileEntry,
    GtidBracket,
    Lsn,
    Manifest,
    Sizes,
    Timings,
    check_needs,
    check_path,
    parse_document,
)

NAME = "manifests/s1/20260301T021500Z-full"


def made_manifest(**changes: object) -> Manifest:
    known = facts(sample().files)
    fields: dict[str, object] = {name: getattr(known, name) for name in BackupFacts.model_fields}
    fields |= {
        "repository_id": "0" * 32,
        "shard": "s1",
        "label": "20260301T021500Z-full",
        "kind": "full",
        "created_by": "backstay 0.1.0",
        "index": (),
        "timings": Timings(started_at=datetime.now(UTC), finished_at=datetime.now(UTC)),
        "sizes": Sizes(files_bytes=1, received_bytes=1, stored_bytes=1, packs=1, records=1),
    }
    return Manifest.model_validate(fields | changes)


def document(**changes: object) -> bytes:
    raw = json.loads(made_manifest().model_dump_json())
    return json.dumps(raw | changes).encode()


def test_a_manifest_comes_back() -> None:
    made = made_manifest()
    assert parse_document(Manifest, NAME, made.model_dump_json().encode()) == made


def test_fields_that_this_version_does_not_know_are_ignored() -> None:
    assert parse_document(Manifest, NAME, document(weather="fine")).shard == "s1"


@pytest.mark.parametrize("number", [2, 0, "1", None])
def test_another_format_is_refused_before_anything_else_is_looked_at(number: object) -> None:
    with pytest.raises(FormatUnsupported, match=f"{NAME} has format {number}, and this version reads 1"):
        parse_document(Manifest, NAME, json.dumps({"format": number, "files": "moved"}).encode())


def test_an_unknown_need_is_refused_by_name() -> None:
    needs = {"read": ["zebra", "ants"], "write": ["x"], "delete": []}
    with pytest.raises(FormatUnsupported, match=r"to read under .* must know ants, zebra"):
        parse_document(Manifest, NAME, document(needs=needs))
    parse_document(Manifest, NAME, document(needs={"read": [], "write": ["x"], "delete": ["y"]}))
    with pytest.raises(FormatUnsupported, match="to delete under it, a tool must know y"):
        check_needs("it", "delete", ["y", "known"], frozenset({"known"}))


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"format": 1}', "Field required"),
        (document(files=[{"number": 1, "name": "../x", "size": 1}]), "could lead out"),
        (document(index=[{"number": -1}]), r"index\.0\.number"),
    ],
)
def test_a_malformed_document_is_refused_and_named(text: bytes, fact: str) -> None:
    with pytest.raises(ObjectDamaged, match=f"{NAME} is damaged: .*{fact}"):
        parse_document(Manifest, NAME, text)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "/etc/passwd",
        "a//b",
        "a/",
        ".",
        "..",
        "../a",
        "a/../b",
        "a/./b",
        "a\\b",
        "a\0",
        "a\nb",
        "x" * 5000,
        "auto.cnf",
    ],
)
def test_a_name_that_leads_out_of_the_directory_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"file name|lead out|auto.cnf"):
        check_path(name)


@pytest.mark.parametrize(
    "name", ["ibdata1", "#innodb_redo/#ib_redo0", "shop@002dx/t#p#p0.ibd", "a..b", "...", "Ä/ö"]
)
def test_names_as_mysql_makes_them_are_taken(name: str) -> None:
    assert check_path(name) == name


@given(st.text(min_size=1, max_size=60))
def test_a_name_that_is_taken_stays_inside(name: str) -> None:
    try:
        check_path(name)
    except ValueError:
        return
    path = PurePosixPath("/data") / name
    assert path.is_relative_to("/data")
    assert ".." not in path.parts


@pytest.mark.parametrize(
    ("names", "directories", "fact"),
    [
        (["a", "a"], [], "name 'a' occurs twice"),
        (["a"], ["a"], "name 'a' occurs twice"),
        (["a", "a/b"], [], "'a' is a file and a directory"),
        (["a"], ["a/b/c"], "'a' is a file and a directory"),
    ],
)
def test_files_and_directories_make_one_tree(names: list[str], directories: list[str], fact: str) -> None:
    files = tuple(FileEntry(number=number, name=name, size=0) for number, name in enumerate(names))
    with pytest.raises(ValidationError, match=fact):
        facts(files, directories=tuple(directories))


def test_a_file_number_is_given_once() -> None:
    with pytest.raises(ValidationError, match="number 4 occurs twice"):
        facts((FileEntry(number=4, name="a", size=0), FileEntry(number=4, name="b", size=0)))


def test_gtid_sets_are_checked_and_in_order() -> None:
    GtidBracket(low="", high=f"{UUID}:1-3")
    with pytest.raises(ValidationError, match="low"):
        GtidBracket(low="nonsense", high="")
    with pytest.raises(ValidationError, match="not part of"):
        GtidBracket(low=f"{UUID}:1-9", high=f"{UUID}:1-8")


def test_lsns_are_in_order() -> None:
    with pytest.raises(ValidationError, match="out of order"):
        Lsn(start=3, checkpoint=2, end=4)


def test_times_are_kept_in_utc() -> None:
    at = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=9)))
    timings = Timings(started_at=at, finished_at=at)
    assert '"2026-03-01T03:00:00Z"' in timings.model_dump_json()
    with pytest.raises(ValidationError):
        Timings(started_at=datetime(2026, 3, 1), finished_at=at)  # noqa: DTZ001


def test_every_field_is_described() -> None:
    models = [
        each for each in vars(module).values() if isinstance(each, type) and issubclass(each, BaseModel)
    ]
    assert len(models) > 10
    for model in models:
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"


BASE = {"label": "20260301T021500Z-full", "checkpoint_lsn": 2}


def test_an_incremental_comes_back_with_its_base() -> None:
    made = made_manifest(kind="incremental", base=BASE, needs={"read": ["incremental"]})
    assert parse_document(Manifest, NAME, made.model_dump_json().encode()) == made
    assert made.foundations() == [("s1", BASE["label"])]
    referring = made_manifest(
        refers_to=({"shard": "s2", "label": BASE["label"]},),
        built_on=BASE["label"],
        needs={"read": ["referring"]},
    )
    assert parse_document(Manifest, NAME, referring.model_dump_json().encode()) == referring
    # What it was built on is no need of its own: only packs that it names are.
    assert referring.foundations() == [("s2", BASE["label"])]


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"kind": "incremental"}, "an incremental has a base, and a full has none"),
        ({"base": BASE}, "an incremental has a base, and a full has none"),
        ({"kind": "weekly"}, "'weekly' is no kind of backup"),
        ({"kind": "incremental", "base": BASE, "built_on": BASE["label"]}, "built on its base alone"),
        ({"kind": "incremental", "base": BASE | {"label": "../../x"}}, "is not the label of a backup"),
        ({"built_on": "yesterday"}, "is not the label of a backup"),
        ({"refers_to": [{"shard": "s1", "label": "a/b"}]}, "is not the label of a backup"),
        ({"refers_to": [{"shard": "../s1", "label": BASE["label"]}]}, "is not the name of a shard"),
    ],
)
def test_a_kind_that_does_not_fit_and_a_name_that_leads_away_are_damage(
    changes: dict[str, object], fact: str
) -> None:
    with pytest.raises(ObjectDamaged, match=fact):
        parse_document(Manifest, NAME, document(**changes))
