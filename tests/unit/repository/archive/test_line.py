"""The line of a shard over files, servers and epochs; gaps, branches, points in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from archived_binlogs import CREATED, EMPTY, OTHER, SOURCE, THIRD, MadeFile, binlog, facts
from sealed_backups import TickingClock, flipped

from fleet.errors import NotFound, ObjectDamaged
from fleet.gtid import GtidSet
from fleet.transaction import Gtid
from repository import layout
from repository.archive.archive import ShardArchive
from repository.archive.line import Line
from repository.archive.reckoning import Branch, Gap
from repository.layout import SegmentName
from repository.repository import Repository
from repository.stores.memory import MemoryStore


def gtids(text: str) -> GtidSet:
    """``a:1-5,b:2`` for the servers of these tests."""
    for short, uuid in (("a", SOURCE), ("b", OTHER), ("c", THIRD)):
        text = text.replace(f"{short}:", f"{uuid}|")
    return GtidSet.parse(text.replace("|", ":"))


def put(archive: ShardArchive, made: MadeFile, pieces: int = 3) -> MadeFile:
    made.put(archive, made.cuts(pieces), "rotate")
    return made


def numbers(line: Line) -> list[int]:
    return [entry.transaction.gtid.number for entry in line.transactions()]


def test_files_follow_each_other(archive: ShardArchive) -> None:
    put(archive, MadeFile(binlog(1), gtids("a:1-10")).run(SOURCE, 11, 20).rotate())
    put(archive, MadeFile(binlog(2), gtids("a:1-20")).run(SOURCE, 21, 30).rotate())
    line = Line.of(archive)
    assert (line.gtids, line.first_gtids) == (gtids("a:11-30"), gtids("a:1-10"))
    assert (line.gaps, line.branches, line.skipped) == ((), (), EMPTY)
    assert numbers(line) == list(range(11, 31))
    assert [file.name.file for file in line.files] == ["binlog.000001", "binlog.000002"]
    assert [file.closed for file in line.files] == ["rotate", "rotate"]
    assert line.window is not None
    assert line.window.first_at == datetime.fromtimestamp(CREATED, UTC)
    assert line.window.last_at == datetime.fromtimestamp(CREATED, UTC) + timedelta(microseconds=9)


def test_names_that_run_backwards_after_a_failover_are_ordered_by_the_chain(archive: ShardArchive) -> None:
    put(archive, MadeFile(binlog(900)).run(SOURCE, 1, 10).rotate())
    put(archive, MadeFile(binlog(7, uuid=OTHER, created=CREATED - 99), gtids("a:1-5")).run(SOURCE, 6, 20))
    put(archive, MadeFile(binlog(8, uuid=OTHER), gtids("a:1-20")).run(OTHER, 1, 5))
    put(archive, MadeFile(binlog(8, uuid=THIRD, created=1), gtids("a:1-20,b:1-5")).run(OTHER, 6, 7))
    line = Line.of(archive)
    assert [file.name.file for file in line.files] == [
        f"binlog.00{n}" for n in ("0900", "0007", "0008", "0008")
    ]
    assert numbers(line) == [*range(1, 21), *range(1, 8)]
    assert line.gaps == ()


def test_a_transaction_archived_from_two_servers_is_one(archive: ShardArchive) -> None:
    put(archive, MadeFile(binlog(1)).run(SOURCE, 1, 30))
    put(archive, MadeFile(binlog(1, uuid=OTHER)).run(SOURCE, 1, 35), pieces=9)
    line = Line.of(archive)
    assert numbers(line) == list(range(1, 36))
    assert line.gtids == gtids("a:1-35")


def test_what_a_purge_took_is_a_gap(archive: ShardArchive) -> None:
    first = put(archive, MadeFile(binlog(1)).run(SOURCE, 1, 10))
    later = put(archive, MadeFile(binlog(5), gtids("a:1-40")).run(SOURCE, 41, 50))
    last = put(archive, MadeFile(binlog(9), gtids("a:1-60")).run(SOURCE, 61, 62))
    assert Line.of(archive).gaps == (
        Gap(gtids("a:11-40"), first.name, later.name),
        Gap(gtids("a:51-60"), later.name, last.name),
    )


def test_a_missing_segment_is_a_gap_with_its_transactions(archive: ShardArchive, store: MemoryStore) -> None:
    made = MadeFile(binlog()).run(SOURCE, 1, 30).rotate()
    ends = [each.start + each.length for each in made.transactions]
    # The hole ends in the middle of transaction 20, and begins in the middle of 10.
    cuts = [0, ends[4], ends[8] + 30, ends[18] + 60, len(made.data)]
    cuts = [min(made.edges, key=lambda edge: abs(edge - cut)) for cut in cuts]
    assert ends[8] < cuts[2] < ends[9] and ends[18] < cuts[3] < ends[19]
    made.put(archive, cuts)
    store.delete(layout.segment("s1", SegmentName.of(made.name, cuts[2], cuts[3])))
    line = Line.of(archive)
    assert numbers(line) == [*range(1, 10), *range(21, 31)]
    assert line.gtids == gtids("a:1-9:21-30")
    assert union_of(line) == gtids("a:10-20")
    assert {(gap.after, gap.before) for gap in line.gaps} == {(made.name, made.name)}


def union_of(line: Line) -> GtidSet:
    return GtidSet(origin for gap in line.gaps for origin in gap.missing)


def test_a_file_without_its_head_gives_nothing(archive: ShardArchive, store: MemoryStore) -> None:
    made = MadeFile(binlog(), gtids("a:1-5")).run(SOURCE, 6, 30)
    made.put(archive, [0, made.edges[20], len(made.data)])
    store.delete(layout.segment("s1", SegmentName.of(made.name, 0, made.edges[20])))
    line = Line.of(archive)
    assert line.gtids == EMPTY
    assert union_of(line) == gtids("a:6-30")


def test_a_branch_is_listed_and_never_in_the_line(archive: ShardArchive) -> None:
    put(archive, MadeFile(binlog(1)).run(SOURCE, 1, 20), pieces=4)
    archive.open_epoch(facts(1, inherited=gtids("a:1-15"), branch=gtids("a:16-20")), TickingClock())
    put(archive, MadeFile(binlog(1, epoch=2, uuid=OTHER), gtids("a:1-15")).run(OTHER, 1, 4))
    line = Line.of(archive)
    assert line.gtids == gtids("a:1-15,b:1-4")
    assert numbers(line) == [*range(1, 16), *range(1, 5)]
    assert line.branches == (Branch(1, gtids("a:16-20")),)
    assert line.gaps == ()
    assert line.locate(Gtid(SOURCE, "", 16)) is None
    old = Line.of(archive, 1)
    assert (old.gtids, old.branches) == (gtids("a:1-20"), ())


def test_a_branch_of_a_grandparent_stays_a_branch(archive: ShardArchive) -> None:
    put(archive, MadeFile(binlog(1)).run(SOURCE, 1, 20))
    archive.open_epoch(facts(1, inherited=gtids("a:1-15")), TickingClock())
    put(archive, MadeFile(binlog(1, epoch=2, uuid=OTHER), gtids("a:1-15")).run(OTHER, 1, 9))
    archive.open_epoch(facts(2, inherited=gtids("a:1-20,b:1-5")), TickingClock())
    put(archive, MadeFile(binlog(1, epoch=3, uuid=THIRD), gtids("a:1-15,b:1-5")).run(THIRD, 1, 2))
    line = Line.of(archive)
    assert line.gtids == gtids("a:1-15,b:1-5,c:1-2")
    assert line.branches == (Branch(1, gtids("a:16-20")), Branch(2, gtids("b:6-9")))


def test_what_a_restore_skipped_is_left_out_and_no_gap(archive: ShardArchive) -> None:
    put(archive, MadeFile(binlog(1)).run(SOURCE, 1, 20))
    restored = facts(1, reason="restore", inherited=gtids("a:1-18"), skipped=gtids("a:7"))
    archive.open_epoch(restored, TickingClock())
    put(archive, MadeFile(binlog(1, epoch=2, uuid=OTHER), gtids("a:1-18")).run(OTHER, 1, 2))
    line = Line.of(archive)
    assert (line.gtids, line.skipped) == (gtids("a:1-6:8-18,b:1-2"), gtids("a:7"))
    assert (line.gaps, line.branches) == ((), (Branch(1, gtids("a:19-20")),))


def test_after_a_reset_the_same_numbers_are_others(archive: ShardArchive) -> None:
    put(archive, MadeFile(binlog(1), gtids("a:1-9")).run(SOURCE, 10, 20))
    archive.open_epoch(facts(1, reason="diverged"), TickingClock())
    put(archive, MadeFile(binlog(1, epoch=2, created=CREATED + 5)).run(SOURCE, 1, 12))
    line = Line.of(archive)
    assert (line.gtids, line.first_gtids, line.gaps) == (gtids("a:1-12"), EMPTY, ())
    assert line.branches == (Branch(1, gtids("a:13-20")),)


def test_a_transaction_is_located_with_its_neighbours(archive: ShardArchive) -> None:
    put(archive, MadeFile(binlog(1)).run(SOURCE, 1, 10).rotate(), pieces=5)
    put(archive, MadeFile(binlog(2), gtids("a:1-10")).run(SOURCE, 11, 20), pieces=5)
    line = Line.of(archive)
    for number in range(1, 21):
        entry = line.locate(Gtid(SOURCE, "", number))
        assert entry is not None
        assert line.gtids_before(entry) == (gtids(f"a:1-{number - 1}") if number > 1 else EMPTY)
        before, after = line.neighbours(entry)
        assert (before.transaction.gtid.number if before else 0) == number - 1
        assert (after.transaction.gtid.number if after else 21) == number + 1
        assert numbers_of(line, number) == list(range(number, 21))
    assert line.locate(Gtid(SOURCE, "", 21)) is None
    last = line.last()
    assert last is not None and last.transaction.gtid.number == 20


def numbers_of(line: Line, number: int) -> list[int]:
    return [each.transaction.gtid.number for each in line.transactions(line.locate(Gtid(SOURCE, "", number)))]


def test_pieces_that_were_composed_meanwhile_are_found_in_the_whole(
    archive: ShardArchive, store: MemoryStore
) -> None:
    made = put(archive, MadeFile(binlog()).run(SOURCE, 1, 40), pieces=8)
    line = Line.of(archive)
    refs = archive.file(made.name).segments
    made.put(archive, [0, len(made.data)])
    for ref in refs:
        store.delete(layout.segment("s1", ref.name))
    assert numbers(line) == list(range(1, 41))
    assert numbers(Line.of(archive, known=line)) == list(range(1, 41))


def test_a_line_that_grows_reads_only_what_is_new(archive: ShardArchive, store: MemoryStore) -> None:
    made = MadeFile(binlog()).run(SOURCE, 1, 40)
    cuts = made.cuts(6)
    made.put(archive, cuts[:4])
    line = Line.of(archive)
    assert line.grown() is line
    for start in store.list("archive/s1/000001/binlogs/"):
        store.put(start.key, b"unreadable", if_absent=False)
    made.put(archive, cuts[3:])
    assert line.grown().gtids == gtids("a:1-40")


def test_a_shard_without_an_archive_says_so(repository: Repository, archive: ShardArchive) -> None:
    with pytest.raises(NotFound, match="shard s2"):
        Line.of(ShardArchive(repository, "s2"))
    with pytest.raises(NotFound, match="no epoch 2"):
        Line.of(archive, 2)
    empty = Line.of(archive)
    assert (empty.gtids, empty.window, empty.files, empty.last()) == (EMPTY, None, (), None)


def test_a_damaged_segment_is_named(archive: ShardArchive, store: MemoryStore) -> None:
    made = put(archive, MadeFile(binlog()).run(SOURCE, 1, 9))
    name = layout.segment("s1", archive.file(made.name).segments[1].name)
    store.put(name, flipped(store.get(name), -1), if_absent=False)
    line = Line.of(archive)
    with pytest.raises(ObjectDamaged, match=name):
        archive.data(line.parts[1].part.segment)


def break_header(store: MemoryStore, name: str) -> None:
    store.put(name, flipped(store.get(name), 8 * 120), if_absent=False)


def test_a_segment_that_tells_nothing_is_a_gap_and_named(archive: ShardArchive, store: MemoryStore) -> None:
    made = MadeFile(binlog(1)).run(SOURCE, 1, 30).rotate()
    ends = [each.start + each.length for each in made.transactions]
    made.put(archive, [0, ends[9], ends[19], len(made.data)])
    name = layout.segment("s1", SegmentName.of(made.name, ends[9], ends[19]))
    break_header(store, name)
    line = Line.of(archive)
    assert line.gtids == gtids("a:1-10:21-30")
    assert line.gaps == (Gap(gtids("a:11-20"), made.name, made.name),)
    assert [error.message.split()[0] for error in line.damages] == [name]
    # With a later file, also the last segment of this one is told by what follows.
    break_header(store, layout.segment("s1", SegmentName.of(made.name, ends[19], len(made.data))))
    later = put(archive, MadeFile(binlog(2), gtids("a:1-30")).run(SOURCE, 31, 40))
    line = Line.of(archive)
    assert line.gtids == gtids("a:1-10:31-40")
    assert line.gaps == (Gap(gtids("a:11-30"), made.name, later.name),)


def test_a_line_never_seems_to_end_earlier_than_it_does(archive: ShardArchive, store: MemoryStore) -> None:
    put(archive, MadeFile(binlog(1)).run(SOURCE, 1, 10).rotate())
    made = put(archive, MadeFile(binlog(2), gtids("a:1-10")).run(SOURCE, 11, 20), pieces=4)
    line = Line.of(archive)
    name = layout.segment("s1", archive.file(made.name).segments[-1].name)
    break_header(store, name)
    with pytest.raises(ObjectDamaged, match=name):
        Line.of(archive)
    for ref in archive.file(made.name).segments[:-1]:
        break_header(store, layout.segment("s1", ref.name))
    with pytest.raises(ObjectDamaged, match=made.name.file):
        Line.of(archive)
    assert line.gtids == gtids("a:1-20")


def test_pieces_stand_in_for_a_whole_that_tells_nothing(archive: ShardArchive, store: MemoryStore) -> None:
    made = put(archive, MadeFile(binlog(1)).run(SOURCE, 1, 30), pieces=6)
    made.put(archive, [0, len(made.data)])
    break_header(store, layout.segment("s1", SegmentName.of(made.name, 0, len(made.data))))
    line = Line.of(archive)
    assert (numbers(line), line.gaps, len(line.damages)) == (list(range(1, 31)), (), 1)
