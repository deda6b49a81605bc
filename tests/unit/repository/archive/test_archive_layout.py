"""Names of the archive's objects: built and parsed back, and refused where they could not be stored."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from archived_binlogs import OTHER, SOURCE
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import UsageError
from repository import layout
from repository.layout import BackupName, BinlogFile, SegmentName
from repository.stores.interface import check_key

AT = datetime(2026, 3, 1, 2, 15, 0, 999, tzinfo=UTC)
FILE = BinlogFile(1, SOURCE, "binlog.000412", 0x69A3F1C0)


def test_names_are_those_of_the_format() -> None:
    folder = f"archive/s1/000001/binlogs/{SOURCE}/binlog.000412.69a3f1c0/"
    assert layout.binlog("s1", FILE) == folder
    assert layout.segment("s1", SegmentName.of(FILE, 0, 4096)) == f"{folder}000000000000-000000004096"
    assert layout.archive_key("s1", 12, "k1") == "archive/s1/000012/keys/k1.json"
    assert layout.epoch_label("s1", 12) == BackupName("s1", "archive-000012")
    assert layout.epoch_opened("s1", 12) == "archive/s1/000012/opened"
    assert layout.archive_note("s1", 1, AT, "0badcafe") == "archive/s1/000001/notes/20260301T021500Z-0badcafe"
    assert layout.life("s1", 1, OTHER) == f"archive/s1/000001/lives/{OTHER}"


@given(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True),
    st.integers(1, 999_999),
    st.from_regex(r"[A-Za-z0-9._-]{1,190}", fullmatch=True),
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 10**12 - 1), min_size=2, max_size=2, unique=True),
)
def test_what_is_built_is_parsed_back_and_is_a_key_of_every_store(
    shard: str, epoch: int, file: str, created: int, span: list[int]
) -> None:
    name = SegmentName(epoch, SOURCE, file, created, min(span), max(span))
    key = layout.segment(shard, name)
    check_key(key)
    assert layout.parse_segment(key) == name
    assert key.startswith(layout.binlog(shard, name.binlog))
    assert layout.parse_note(key) is None
    note = layout.archive_note(shard, epoch, AT, f"{created:08x}")
    check_key(note)
    assert layout.parse_note(note) == AT.replace(microsecond=0)
    assert layout.parse_segment(note) is None
    assert layout.parse_key_id(layout.archive_key(shard, epoch, shard)) == shard


@given(st.text(max_size=120))
def test_other_names_are_no_segments(text: str) -> None:
    assert layout.parse_segment(text) is None
    assert layout.parse_segment(f"archive/s1/000001/binlogs/{SOURCE}/{text}") is None


@pytest.mark.parametrize(
    "file", ["", "bin log.000001", "binlog/000001", "../binlog.000001", "b" * 191, "é.1"]
)
def test_a_binlog_that_cannot_be_named_is_refused(file: str) -> None:
    with pytest.raises(UsageError, match="cannot be part of an object name"):
        layout.binlog("s1", FILE._replace(file=file))


@pytest.mark.parametrize("span", [(4, 4), (9, 4), (-1, 4), (0, 10**12)])
def test_bytes_that_cannot_be_are_refused(span: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match=r"binlog\.000412: a segment cannot hold"):
        layout.segment("s1", SegmentName.of(FILE, *span))


@pytest.mark.parametrize("number", [0, -1, 10**6])
def test_an_epoch_out_of_bounds_is_refused(number: int) -> None:
    with pytest.raises(UsageError, match="epochs 1 to 999999"):
        layout.epoch_opened("s1", number)


def test_a_uuid_is_written_as_the_server_does() -> None:
    with pytest.raises(UsageError, match="not a server uuid in lower case"):
        layout.life("s1", 1, SOURCE.upper())
