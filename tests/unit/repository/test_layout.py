from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import UsageError
from repository import layout
from repository.layout import BackupName
from repository.stores.interface import check_key

BACKUP = BackupName("s1", "20260301T021500Z-full")
AT = datetime(2026, 3, 1, 2, 15, 0, 999, tzinfo=UTC)


def test_names_are_those_of_the_format() -> None:
    assert layout.keyring_entry("k1") == "keyring/k1.json"
    assert layout.wrapped_key(BACKUP, "k1") == "keys/s1/20260301T021500Z-full/k1.json"
    assert layout.pack(BACKUP, 12) == "data/s1/20260301T021500Z-full/p00000012"
    assert layout.index_part(BACKUP, 0) == "data/s1/20260301T021500Z-full/i000000"
    assert layout.manifest(BACKUP) == "manifests/s1/20260301T021500Z-full"
    assert layout.proof(BACKUP, AT) == "proofs/s1/20260301T021500Z-full/20260301T021500Z"
    assert layout.window("s1", 2592000) == "windows/s1/000002592000"
    assert layout.parse_window(layout.window("s1", 2592000)) == 2592000
    assert layout.parse_window("windows/s1/2592000") is None


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True), st.datetimes())
def test_what_is_built_is_parsed_back_and_is_a_key_of_every_store(shard: str, at: datetime) -> None:
    at = at.replace(year=max(at.year, 1000), microsecond=0, tzinfo=UTC)
    backup = BackupName(shard, layout.format_label(at, "incremental"))
    assert layout.parse_label(backup.label) == (at, "incremental")
    assert layout.parse_manifest(layout.manifest(backup)) == backup
    assert layout.parse_proof(layout.proof(backup, at)) == (backup, at)
    assert layout.parse_key_id(layout.wrapped_key(backup, shard)) == shard
    assert layout.parse_key_id(layout.keyring_entry(shard)) == shard
    for name in (layout.manifest(backup), layout.proof(backup, at), layout.pack(backup, 10**8 - 1)):
        check_key(name)


@given(st.text(max_size=80))
def test_a_text_is_either_a_name_or_refused(text: str) -> None:
    try:
        layout.check_name("shard", text)
    except UsageError:
        return
    check_key(layout.manifest(BackupName(text, BACKUP.label)))


@pytest.mark.parametrize("name", ["", ".", "..", "-a", "a/b", "a b", "ä", "a" * 64, "a\n"])
def test_a_name_that_could_lead_elsewhere_is_refused(name: str) -> None:
    for build in (
        lambda: layout.manifests(name),
        lambda: layout.keyring_entry(name),
        lambda: layout.pack(BackupName(name, BACKUP.label), 0),
        lambda: layout.pack(BackupName("s1", name), 0),
    ):
        with pytest.raises(UsageError):
            build()


@pytest.mark.parametrize(
    "key",
    [
        "manifests/s1",
        "manifests/s1/latest",
        "manifests/s1/20260301T021500Z",
        "manifests/s1/20261301T021500Z-full",
        "manifests/s1/20260301T021500Z-full/x",
        "manifests//20260301T021500Z-full",
        "data/s1/20260301T021500Z-full",
    ],
)
def test_what_is_no_manifest_is_not_taken_for_one(key: str) -> None:
    assert layout.parse_manifest(key) is None


@pytest.mark.parametrize(
    "key", ["proofs/s1/20260301T021500Z-full/now", "proofs/s1/x/20260301T021500Z", "proofs/20260301T021500Z"]
)
def test_what_is_no_proof_is_not_taken_for_one(key: str) -> None:
    assert layout.parse_proof(key) is None


def test_labels_are_in_utc_and_sort_by_time() -> None:
    east = AT.astimezone(timezone(timedelta(hours=9)))
    assert layout.format_label(east, "full") == "20260301T021500Z-full"
    times = [AT + timedelta(seconds=step * 100_003) for step in range(100)]
    labels = [layout.format_label(at, "full") for at in times]
    assert labels == sorted(labels)


def test_a_kind_that_does_not_exist_is_a_bug() -> None:
    with pytest.raises(ValueError, match="partial"):
        layout.format_label(AT, "partial")


def test_numbers_beyond_their_digits_are_refused() -> None:
    with pytest.raises(UsageError, match="100000000 packs"):
        layout.pack(BACKUP, 10**8)
    with pytest.raises(UsageError, match="index parts"):
        layout.index_part(BACKUP, 10**6)
