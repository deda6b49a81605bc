"""When has ``archive run --once`` archived all that was there when it began?"""

from __future__ import annotations

import pytest

from backup.archive.catch_up import Present
from backup.archive.place import FileEnd, Place
from fleet.gtid import GtidSet
from repository.archive.ledger import Epoch
from repository.archive.segment import SegmentHeader
from repository.layout import BinlogFile

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
OTHER = "4e11fa47-71ca-11e1-9e33-c80aa9429562"
HAVE = GtidSet.parse(f"{UUID}:1-10")
PRESENT = Present(HAVE, line_uuid=UUID, source_uuid=UUID, file="binlog.000009", end=500)


def place(archived: str, file: str, end: int, *, line: str = UUID, source: str = UUID) -> Place:
    epoch = Epoch.model_construct(epoch=1, server_uuid=line)
    newest = FileEnd(BinlogFile(1, source, file, 1), end, SegmentHeader.model_construct())
    return Place(epoch, {source: newest}, {newest.file: end}, GtidSet.parse(archived))


@pytest.mark.parametrize(
    ("archived", "file", "end", "is_in"),
    [
        (f"{UUID}:1-10", "binlog.000009", 500, True),
        (f"{UUID}:1-12", "binlog.000009", 800, True),
        (f"{UUID}:1-9", "binlog.000009", 500, False),
        (f"{UUID}:1-10", "binlog.000009", 499, False),
        (f"{UUID}:1-10", "binlog.000008", 900, False),
        (f"{UUID}:1-10", "binlog.000010", 4, True),
        (f"{UUID}:1-10", "binlog.1000000", 4, True),
    ],
)
def test_transactions_and_the_end_of_the_binlog_count(
    archived: str, file: str, end: int, is_in: bool
) -> None:
    assert PRESENT.is_in(place(archived, file, end)) is is_in


def test_after_a_failover_the_old_servers_binlog_is_not_waited_for() -> None:
    assert PRESENT.is_in(place(f"{UUID}:1-10", "binlog.000001", 4, line=OTHER, source=OTHER))


def test_a_line_that_has_nothing_of_the_source_is_not_there_yet() -> None:
    assert not PRESENT.is_in(place(f"{UUID}:1-10", "binlog.000009", 500, source=OTHER))
