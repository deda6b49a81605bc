"""When a shard can be recovered: from the end of a backup on, and not behind a gap that it does not hold."""

from __future__ import annotations

import pytest
from archived_binlogs import CREATED, OTHER, SOURCE, MadeFile, binlog, facts
from sealed_backups import TickingClock

from fleet.gtid import GtidSet
from fleet.moments import microseconds
from repository.archive.archive import ShardArchive
from repository.archive.line import Line
from repository.archive.window import Base, recoverable, uncovered

MINUTE = 60


def gtids(text: str) -> GtidSet:
    return GtidSet.parse(text.replace("a:", f"{SOURCE}:").replace("b:", f"{OTHER}:"))


def base(low: str, high: str | None = None) -> Base:
    return Base(gtids(low), gtids(high or low))


def windows(line: Line, *bases: Base) -> list[tuple[int, int]]:
    """In seconds since the first file was created."""
    return [
        tuple((microseconds(each) - CREATED * 10**6) // 10**6 for each in window)  # type: ignore[misc]
        for window in recoverable(line, bases)
    ]


def filled(made: MadeFile, first: int, last: int) -> MadeFile:
    """Transaction n is committed in second n."""
    for number in range(first, last + 1):
        made.commit(f"{SOURCE}:{number}", at_us=(CREATED + number) * 10**6)
    return made.rotate()


@pytest.fixture
def whole(archive: ShardArchive) -> Line:
    for number in range(3):
        first = 10 * number
        made = MadeFile(binlog(number + 1), gtids(f"a:1-{first}") if first else GtidSet())
        filled(made, first + 1, first + 10).put(archive, made.cuts(2), "rotate")
    return Line.of(archive)


@pytest.fixture
def cut(archive: ShardArchive) -> Line:
    """Transactions 11 to 20 were never archived."""
    for number, first in ((1, 0), (3, 20)):
        made = MadeFile(binlog(number), gtids(f"a:1-{first}") if first else GtidSet())
        filled(made, first + 1, first + 10).put(archive, made.cuts(2), "rotate")
    return Line.of(archive)


def test_nothing_can_be_recovered_without_a_backup(whole: Line) -> None:
    assert windows(whole) == []


def test_a_point_before_the_end_of_the_first_backup_cannot_be_recovered(whole: Line) -> None:
    assert windows(whole, base("a:1-4", "a:1-7")) == [(7, 30)]
    assert windows(whole, base("a:1-15"), base("a:1-4", "a:1-7")) == [(7, 30)]
    assert windows(whole, base("a:1-30")) == [(30, 30)]


def test_a_backup_behind_the_archives_end_does_not_lead_into_it(whole: Line) -> None:
    assert windows(whole, base("a:1-30", "a:1-31")) == []


def test_a_gap_ends_a_stretch_and_a_backup_behind_it_begins_the_next(cut: Line) -> None:
    assert windows(cut, base("a:1-5")) == [(5, 10)]
    assert windows(cut, base("a:1-5"), base("a:1-24")) == [(5, 10), (24, 30)]
    assert windows(cut, base("a:1-24")) == [(24, 30)]
    # One taken right at the gap's end: the archive goes on with the first transaction behind it.
    assert windows(cut, base("a:1-20")) == [(21, 30)]
    # One taken inside of the gap does not hold all of it.
    assert windows(cut, base("a:1-15")) == []


def test_only_a_gap_that_no_backup_holds_stands_in_the_way(cut: Line) -> None:
    assert uncovered(cut, [base("a:1-5"), base("a:1-15")]) == cut.gaps
    assert uncovered(cut, [base("a:1-5"), base("a:1-20")]) == ()


def test_a_backup_from_before_the_archive_leads_in_from_its_first_file_on(archive: ShardArchive) -> None:
    made = MadeFile(binlog(1), gtids("a:1-10"))
    filled(made, 11, 20).put(archive, made.cuts(2), "rotate")
    line = Line.of(archive)
    assert windows(line, base("a:1-10")) == [(0, 20)]
    assert windows(line, base("a:1-9")) == []


def test_a_backup_with_transactions_of_a_branch_leads_nowhere(archive: ShardArchive) -> None:
    made = MadeFile(binlog(1))
    filled(made, 1, 10).put(archive, made.cuts(2), "rotate")
    archive.open_epoch(facts(1, inherited=gtids("a:1-8"), branch=gtids("a:9-10")), TickingClock())
    line = Line.of(archive)
    assert windows(line, base("a:1-10")) == []
    assert windows(line, base("a:1-8")) == [(8, 8)]
