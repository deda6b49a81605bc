"""What of a recovery window is lost with backups and segments, by points in time and by transactions."""

from __future__ import annotations

import pytest
from archived_binlogs import CREATED, SOURCE, MadeFile, binlog
from sealed_backups import flipped, names, replace

from fleet.gtid import GtidSet
from fleet.moments import microseconds
from repository import layout
from repository.archive.archive import ShardArchive
from repository.archive.cover import SegmentRef
from repository.archive.line import Window
from repository.archive.loss import WindowLoss, look_at_window
from repository.archive.segment import Segment
from repository.archive.verify import verify_archive
from repository.archive.window import Base
from repository.layout import SegmentName
from repository.stores.memory import MemoryStore


def gtids(text: str) -> GtidSet:
    return GtidSet.parse(text.replace("a:", f"{SOURCE}:"))


def base(text: str) -> Base:
    return Base(gtids(text), gtids(text))


def seconds(windows: tuple[Window, ...]) -> list[tuple[int, int]]:
    return [
        tuple((microseconds(at) - CREATED * 10**6) // 10**6 for at in window)  # type: ignore[misc]
        for window in windows
    ]


@pytest.fixture
def store_of(archive: ShardArchive, store: MemoryStore) -> MemoryStore:
    """Three files of ten transactions each, one a second, each file in two segments."""
    for number in range(3):
        first = 10 * number
        made = MadeFile(binlog(number + 1), gtids(f"a:1-{first}") if first else GtidSet())
        for at in range(first + 1, first + 11):
            made.commit(f"{SOURCE}:{at}", at_us=(CREATED + at) * 10**6)
        made.rotate()
        middle = made.transactions[5].start
        made.put(archive, [0, middle, len(made.data)], "rotate")
    return store


def segments(store: MemoryStore) -> list[SegmentName]:
    found = (layout.parse_segment(name) for name in names(store, "archive/"))
    return [name for name in found if name]


def damaged(archive: ShardArchive, store: MemoryStore, number: int, at: int) -> WindowLoss:
    """After a flipped bit in byte ``at`` (from the end, if below 0) of segment ``number``."""
    name = layout.segment("s1", segments(store)[number])
    kept = store.get(name)
    replace(store, name, flipped(kept, 8 * (at % len(kept))))
    report = verify_archive(archive)
    assert [damage.name for damage in report.damages] == [name]
    bases = [base("a:1-5"), base("a:1-25")]
    loss = look_at_window(archive, bases, bases, [segments(store)[number]])
    assert loss is not None
    replace(store, name, kept)
    return loss


def test_nothing_is_lost_while_nothing_is_damaged(archive: ShardArchive, store_of: MemoryStore) -> None:
    bases = [base("a:1-5"), base("a:1-25")]
    loss = look_at_window(archive, bases, bases)
    assert loss is not None
    assert (seconds(loss.windows), loss.lost, loss.gtids, loss.uncovered) == ([(5, 30)], (), "", ())


def test_a_broken_backup_costs_the_points_that_no_older_one_leads_to(
    archive: ShardArchive, store_of: MemoryStore
) -> None:
    first, second = base("a:1-5"), base("a:1-25")
    newer_lost = look_at_window(archive, [first, second], [first])
    older_lost = look_at_window(archive, [first, second], [second])
    assert newer_lost and older_lost
    assert newer_lost.lost == ()
    assert seconds(older_lost.lost) == [(5, 25)]
    assert seconds(older_lost.windows) == [(25, 30)]


@pytest.mark.parametrize("at", [-30, 80])
def test_a_damaged_segment_costs_the_points_up_to_the_next_backup(
    archive: ShardArchive, store_of: MemoryStore, at: int
) -> None:
    """In its events, which nothing but reading shows, or in its front."""
    loss = damaged(archive, store_of, 3, at)
    assert loss.gtids == str(gtids("a:16-20"))
    assert seconds(loss.windows) == [(5, 15), (25, 30)]
    assert loss.uncovered == ()
    if at < 0:
        assert seconds(loss.lost) == [(15, 25)]
        assert loss.from_at and loss.until_at and (loss.until_at - loss.from_at).seconds == 4


def test_without_the_head_of_a_file_nothing_of_it_can_be_read(
    archive: ShardArchive, store_of: MemoryStore
) -> None:
    loss = damaged(archive, store_of, 2, -30)
    assert loss.gtids == str(gtids("a:11-20"))
    assert seconds(loss.windows) == [(5, 10), (25, 30)]


def test_the_last_segment_costs_the_newest_points(archive: ShardArchive, store_of: MemoryStore) -> None:
    loss = damaged(archive, store_of, 5, -30)
    assert loss.gtids == str(gtids("a:26-30"))
    assert seconds(loss.lost) == [(25, 30)]


def test_a_gap_that_no_backup_closes_is_told(archive: ShardArchive, store_of: MemoryStore) -> None:
    lost = segments(store_of)[3]
    loss = look_at_window(archive, [base("a:1-5")], [base("a:1-5")], [lost])
    assert loss is not None
    assert [gap.gtids for gap in loss.uncovered] == [str(gtids("a:16-20"))]


def test_a_shard_without_an_archive_has_no_window(store: MemoryStore, archive: ShardArchive) -> None:
    assert look_at_window(ShardArchive(archive.repository, "s2"), [], []) is None


def test_what_is_composed_while_it_is_read_is_no_damage(archive: ShardArchive, store_of: MemoryStore) -> None:
    file = archive.files(1)[0]

    class Composing(ShardArchive):
        composed = False

        def read(self, ref: SegmentRef) -> Segment:
            if not self.composed:
                self.composed = True
                archive.compose(file.name, finished=True)
            return super().read(ref)

    report = verify_archive(Composing(archive.repository, "s1"))
    assert report.damages == report.holes == ()
    assert report.segments < report.listed
