"""Which archived binlogs may go: whole files, from the beginning on, that nothing promised leads through."""

from __future__ import annotations

from datetime import datetime

import pytest
from archived_binlogs import CREATED, OTHER, SOURCE, MadeFile, binlog, facts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.gtid import GtidSet
from fleet.moments import from_microseconds
from repository import layout
from repository.archive.archive import ShardArchive
from repository.archive.letting_go import free_files, line_without
from repository.archive.line import Line
from repository.archive.window import Base, recoverable


def gtids(text: str) -> GtidSet:
    return GtidSet.parse(text.replace("a:", f"{SOURCE}:").replace("b:", f"{OTHER}:"))


def second(number: float) -> datetime:
    return from_microseconds(int((CREATED + number) * 10**6))


def put(archive: ShardArchive, number: int, first: int, last: int, **name: object) -> MadeFile:
    """A file of transactions ``first`` to ``last``, each committed in the second of its number."""
    created = CREATED + first - 1
    made = MadeFile(
        binlog(number, created=created, **name),  # type: ignore[arg-type]
        gtids(f"a:1-{first - 1}") if first > 1 else GtidSet(),
    )
    for at in range(first, last + 1):
        made.commit(f"{SOURCE}:{at}", at_us=(CREATED + at) * 10**6)
    made.rotate().put(archive, made.cuts(2), "rotate")
    return made


@pytest.fixture
def line(archive: ShardArchive) -> Line:
    """Five files of ten transactions."""
    for number in range(5):
        put(archive, number + 1, 10 * number + 1, 10 * number + 10)
    return Line.of(archive)


def free(line: Line, *lows: str, before: float, edge: float | None = None) -> list[int]:
    """By the numbers of the files."""
    found = free_files(
        line, [gtids(low) for low in lows], second(before), None if edge is None else second(edge)
    )
    assert [each.name for each in found] == [file.name for file in line.files[: len(found)]]
    return [int(each.name.file.rpartition(".")[2]) for each in found]


def test_files_go_that_every_backup_holds_and_that_are_older_than_the_window(line: Line) -> None:
    assert free(line, "a:1-33", before=35) == [1, 2, 3]
    assert free(line, "a:1-33", "a:1-20", before=35) == [1, 2]
    assert free(line, "a:1-33", before=25) == [1, 2]
    assert free(line, "a:1-29", before=35) == [1, 2]
    assert free(line, "a:1-9", before=35) == []


def test_without_a_backup_that_leads_anywhere_nothing_goes(line: Line) -> None:
    assert free(line, before=1000) == []


def test_the_last_file_of_the_line_stays(line: Line) -> None:
    assert free(line, "a:1-50", before=10**6) == [1, 2, 3, 4]


def test_an_earlier_promise_keeps_the_file_that_was_open_then(line: Line) -> None:
    assert free(line, "a:1-33", before=35, edge=19) == [1]
    assert free(line, "a:1-33", before=35, edge=20) == [1, 2]


def test_the_last_file_of_every_server_in_the_newest_epoch_stays(archive: ShardArchive) -> None:
    put(archive, 1, 1, 10)
    put(archive, 2, 11, 20, uuid=OTHER)
    put(archive, 3, 21, 30)
    put(archive, 4, 31, 40)
    line = Line.of(archive)
    assert free(line, "a:1-40", before=10**6) == [1]


def test_a_gap_at_the_edge_keeps_the_file_before_it_for_a_backup_that_lacks_what_is_missing(
    archive: ShardArchive,
) -> None:
    put(archive, 1, 1, 10)
    put(archive, 2, 11, 20)
    put(archive, 4, 31, 40)
    put(archive, 5, 41, 50)
    line = Line.of(archive)
    assert line.gaps
    # It leads up to the gap: without file 2 the archive would begin behind what it lacks.
    assert free(line, "a:1-20", before=10**6) == [1]
    assert free(line, "a:1-30", before=10**6) == [1, 2]


def test_a_branch_does_not_keep_the_files_in_which_it_lies(archive: ShardArchive) -> None:
    put(archive, 1, 1, 10)
    put(archive, 2, 11, 20)
    # Transactions 16 to 20 were lost in a failover.
    archive.open_epoch(
        facts(1, server_uuid=OTHER, inherited=gtids("a:1-15"), branch=gtids("a:16-20")), clock=_Clock()
    )
    for number, first in ((1, 1), (2, 11)):
        made = MadeFile(
            binlog(number, epoch=2, uuid=OTHER, created=CREATED + 20 + first),
            gtids(f"a:1-15,{OTHER}:1-{first - 1}" if first > 1 else "a:1-15"),
        )
        for at in range(first, first + 10):
            made.commit(f"{OTHER}:{at}", at_us=(CREATED + 20 + at) * 10**6)
        made.rotate().put(archive, made.cuts(2), "rotate")
    line = Line.of(archive)
    assert line.branches
    assert free(line, "a:1-15,b:1-5", before=35) == [1, 2]
    assert free(line, "a:1-15,b:1-10", before=35) == [1, 2, 1]
    # What a failover left behind can be looked at for as long as the window.
    assert free(line, "a:1-15,b:1-10", before=19) == [1]


def test_what_a_restore_left_out_does_not_keep_a_file(archive: ShardArchive) -> None:
    put(archive, 1, 1, 10)
    archive.open_epoch(
        facts(1, reason="restore", server_uuid=OTHER, inherited=gtids("a:1-7,a:9-10"), skipped=gtids("a:8")),
        clock=_Clock(),
    )
    for number, first in ((1, 1), (2, 11)):
        made = MadeFile(
            binlog(number, epoch=2, uuid=OTHER, created=CREATED + 20 + first),
            gtids(f"a:1-10,{OTHER}:1-{first - 1}" if first > 1 else "a:1-10"),
        )
        for at in range(first, first + 10):
            made.commit(f"{OTHER}:{at}", at_us=(CREATED + 20 + at) * 10**6)
        made.rotate().put(archive, made.cuts(2), "rotate")
    line = Line.of(archive)
    base = Base(gtids("a:1-10,b:1-3"), gtids("a:1-10,b:1-3"))
    assert free(line, "a:1-10,b:1-3", before=22) == [1]
    later = line_without(line, {line.files[0].name})
    assert recoverable(later, [base]) == recoverable(line, [base])


def test_a_file_of_which_bytes_are_missing_goes_only_with_the_one_behind_it(archive: ShardArchive) -> None:
    made = [put(archive, number + 1, 10 * number + 1, 10 * number + 10) for number in range(4)]
    store = archive.repository.store
    names = sorted(info.key for info in store.list(layout.binlog("s1", made[1].name)))
    store.delete(names[0])
    line = Line.of(archive)
    assert free(line, "a:1-40", before=25) == [1]
    assert free(line, "a:1-40", before=35) == [1, 2, 3]


def test_a_file_that_was_deleted_up_to_its_beginning_goes_on_going(archive: ShardArchive) -> None:
    made = [put(archive, number + 1, 10 * number + 1, 10 * number + 10) for number in range(3)]
    store = archive.repository.store
    first = sorted(info.key for info in store.list(layout.binlogs("s1", 1)))
    store.delete(first[1])
    line = Line.of(archive)
    base = Base(gtids("a:1-25"), gtids("a:1-25"))
    assert recoverable(line, [base])
    assert free(line, "a:1-25", before=26) == [1, 2]
    assert made[2].name in {file.name for file in line.files}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lows=st.lists(st.integers(0, 50), min_size=1, max_size=4),
    before=st.floats(0, 60),
    missing=st.sets(st.integers(0, 4), max_size=2),
)
def test_what_every_backup_leads_to_from_the_window_on_stays_the_same(
    line: Line, lows: list[int], before: float, missing: set[int]
) -> None:
    line = line_without(line, {line.files[number].name for number in missing})
    bases = [Base(gtids(f"a:1-{low}") if low else GtidSet(), gtids(f"a:1-{low + 1}")) for low in lows]
    found = free_files(line, [base.low for base in bases], second(before))
    later = line_without(line, {file.name for file in found})
    for base in bases:
        start = second(before)
        windows = [
            [
                (max(each.first_at, start), each.last_at)
                for each in recoverable(one, [base])
                if each.last_at >= start
            ]
            for one in (line, later)
        ]
        assert windows[0] == windows[1]


class _Clock:
    def now(self) -> datetime:
        return second(20)

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)
