"""``backup incremental`` and ``backup consolidate``: what people and programs are told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from door import Backstay

from backup.result import BackupPlan, BackupResult
from cli.render import show_text
from cli.text_backup_taken import BackupsPlanned
from repository.catalog import Catalog
from repository.keys import FileSource, Keyring
from repository.manifest import DamagedPage, Manifest
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore
from tests.unit.backup.linked_backups import PassingClock, a_donor, take_chain

BASE = "20260301T021500Z-full"
TAKEN = BackupResult(
    shard="s1",
    label="20260301T081500Z-incremental",
    kind="incremental",
    donor="s1-b",
    reason="s1-b: a replica that is fit, lag 0 s",
    started_at=datetime(2026, 3, 1, 8, 15, tzinfo=UTC),
    finished_at=datetime(2026, 3, 1, 8, 15, tzinfo=UTC) + timedelta(seconds=9),
    seconds=9,
    files=40,
    files_bytes=2_000_000_000,
    received_bytes=900_000_000,
    stored_bytes=20_000_000,
    spilled_bytes=0,
    resumes=0,
    gtid_low="3e11fa47-71ca-11e1-9e33-c80aa9429562:1-7",
    gtid_high="3e11fa47-71ca-11e1-9e33-c80aa9429562:1-7",
    stage_seconds={},
    cpu_seconds={},
    base=BASE,
    unchanged_bytes=800_000_000,
    skipped_bytes=1_100_000_000,
    saving="17 of 30 chunks hold changed pages",
)


def told(result: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines on a screen of 80 columns, without white space at their ends."""
    monkeypatch.setenv("COLUMNS", "80")
    capsys.readouterr()
    show_text(result)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    return [" ".join(line.split()) for line in lines]


@pytest.fixture
def repository(backstay: Backstay, home: Path) -> Repository:
    assert backstay("init", "--new-key", "k1.key").exit_code == 0
    return Repository.open(FilesystemStore(home / "repository"), Keyring([FileSource("k1", home / "k1.key")]))


@pytest.fixture
def newest(repository: Repository) -> Manifest:
    """The end of a chain of three."""
    return take_chain(repository, PassingClock(), a_donor(1), 3)


def test_an_incremental_says_what_it_continues_and_what_changed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(TAKEN, capsys, monkeypatch) == [
        "backup s1/20260301T081500Z-incremental",
        f"continues {BASE}",
        "copied from s1-b: a replica that is fit, lag 0 s",
        "took 9.0 s, 100 MB/s",
        "data 2.00 GB in 40 files",
        "unchanged 1.90 GB",
        "not sent 1.10 GB of it: 17 of 30 chunks hold changed pages",
        "stored 20.0 MB, 1.0 % of the data",
        "GTID set 3e11fa47-71ca-11e1-9e33-c80aa9429562:1-7",
    ]


def test_an_incremental_that_became_a_full_says_why(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    because = "the newest backup of shard s1 is of another server"
    full = replace(TAKEN, base=None, kind="full", label=BASE, became_full_because=because)
    text = told(full, capsys, monkeypatch)
    assert text[:2] == [f"backup s1/{BASE}", f"all pages {because}"]
    assert "stored 20.0 MB, 100.0 : 1" in text


def test_a_full_that_ended_a_chain_and_refers_to_it_has_not_stored_all_pages(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    because = "s1/x ends a chain of 2 incrementals, and backup.max_chain is 2"
    full = replace(TAKEN, base=None, built_on=BASE, kind="full", became_full_because=because)
    text = told(full, capsys, monkeypatch)
    assert text[1:3] == [f"refers to {BASE}", f"full because {because}"]
    assert not any(line.startswith("all pages") for line in text)


def test_damaged_pages_of_the_donor_are_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = (DamagedPage(file="shop/orders.ibd", page=7), DamagedPage(file="shop/orders.ibd", page=9))
    text = told(replace(TAKEN, damaged_pages=damaged), capsys, monkeypatch)
    assert text[-2:] == [
        "damaged 2 pages at the donor, the first: shop/orders.ibd, page 7; CHECK",
        "TABLE it",
    ]


def test_a_plan_says_what_it_would_continue(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = BackupPlan(
        shard="s1",
        kind="incremental",
        donor="s1-b",
        reason="s1-b: a replica that is fit, lag 0 s",
        passed_over=("s1-a: the primary, and backup.donor is 'replica'",),
        data_bytes=2_000_000_000,
        repository="s3://backstay/fleet/",
        findings=(),
        base=BASE,
        saving="the donor tracks its pages since LSN 17",
    )
    assert told(BackupsPlanned((plan,)), capsys, monkeypatch)[:7] == [
        "backup incremental, of shard s1",
        f"continues {BASE}",
        "copy from s1-b: a replica that is fit, lag 0 s",
        "passed over s1-a: the primary, and backup.donor is 'replica'",
        "data 2.00 GB",
        "saving the donor tracks its pages since LSN 17",
        "into s3://backstay/fleet/",
    ]


def test_an_incremental_asks_which_shards(backstay: Backstay, repository: Repository) -> None:
    answer = backstay("backup", "incremental")
    assert (answer.exit_code, answer.err.splitlines()[0]) == (2, "error: no shard is named")
    assert backstay("backup", "incremental", "s1", "--all").exit_code == 2
    assert backstay("backup", "incremental", "s1", "s2", "--donor", "s1-a").exit_code == 2
    unknown = backstay("backup", "incremental", "s9", "--json")
    assert (unknown.exit_code, unknown.json["error"]["kind"]) == (40, "NotFound")


def test_a_full_is_stored_or_refers_but_not_both(backstay: Backstay) -> None:
    text = backstay("backup", "full", "--help").out
    assert "--referring / --stored" in text


def test_a_dry_run_of_consolidate_writes_nothing(
    backstay: Backstay, home: Path, repository: Repository, newest: Manifest
) -> None:
    before = sorted((home / "repository").rglob("*"))
    lines = backstay("backup", "consolidate", "s1", "--dry-run").out.splitlines()
    assert lines[0].split() == f"chain s1/{newest.label}, 2 incrementals on {_first(repository)}".split()
    assert [line.split()[0] for line in lines] == ["chain", "would", "would", "in"]
    plan = backstay("backup", "consolidate", "s1", "--dry-run", "--json").json
    assert (plan["found"], plan["full"], len(plan["links"])) == ("chain", None, 3)
    assert sorted((home / "repository").rglob("*")) == before


def test_consolidate_says_what_it_made_and_then_that_it_is_made(
    backstay: Backstay, repository: Repository, newest: Manifest
) -> None:
    at = newest.label.partition("-")[0]
    text = backstay("backup", "consolidate", "s1").out
    assert text.splitlines()[0].split() == ["backup", f"s1/{at}-full"]
    assert "3 backups, which stay needed" in text
    again = backstay("backup", "consolidate", "s1", "--backup", newest.label)
    told_twice = f"Nothing to do: {newest.label} is consolidated already, as s1/{at}-full.\n"
    assert (again.exit_code, again.out) == (0, told_twice)
    planned = backstay("backup", "consolidate", "s1", "--backup", newest.label, "--dry-run")
    assert planned.out == told_twice
    answer = backstay("backup", "consolidate", "s1", "--backup", newest.label, "--json").json
    assert (answer["found"], answer["label"], answer["consolidates"]) == (
        "consolidated",
        f"{at}-full",
        newest.label,
    )


def test_consolidate_leaves_a_full_alone_and_names_what_is_not_there(
    backstay: Backstay, repository: Repository, newest: Manifest
) -> None:
    full = _first(repository)
    answer = backstay("backup", "consolidate", "s1", "--backup", full)
    assert (answer.exit_code, answer.out) == (
        0,
        f"Nothing to do: s1/{full} is a full backup, and needs no chain.\n",
    )
    assert backstay("backup", "consolidate", "s1", "--backup", "20200101T000000Z-full").exit_code == 40


def test_a_chain_without_its_base_is_not_consolidated(
    backstay: Backstay, home: Path, repository: Repository, newest: Manifest
) -> None:
    full = _first(repository)
    (home / "repository/manifests/s1" / full).unlink()
    answer = backstay("backup", "consolidate", "s1", "--json")
    assert answer.exit_code == 23
    assert full in answer.json["error"]["message"]


def _first(repository: Repository) -> str:
    return Catalog(repository).backups("s1")[0].label


def test_a_consolidated_full_is_listed_with_what_it_rests_on_and_shown_without_a_ratio(
    backstay: Backstay, newest: Manifest
) -> None:
    made = backstay("backup", "consolidate", "s1", "--json").json["label"]
    lines = backstay("backup", "list").out.splitlines()
    (at,) = [
        number for number, line in enumerate(lines) if made in line and not line.strip().startswith("on")
    ]
    assert lines[at + 1].split() == ["on", newest.label]
    listed = backstay("backup", "list", "--json").json["backups"]
    assert [each["consolidates"] for each in listed if each["label"] == made] == [newest.label]
    (stored,) = [
        line for line in backstay("backup", "show", "s1", made).out.splitlines() if "stored " in line
    ]
    assert stored.endswith("of index, and no data")
    (stored,) = [
        line for line in backstay("backup", "show", "s1", newest.label).out.splitlines() if "stored " in line
    ]
    assert " : 1" in stored and "pack" in stored
