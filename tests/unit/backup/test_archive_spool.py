"""The archiver's spool: what was appended survives, in order, within its bound, sealed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.archive.spool import Cut, Spool
from fleet.clock import Clock
from fleet.errors import ArchiverReplaced, ObjectDamaged
from repository.layout import BinlogFile
from repository.seal import BackupKey
from tests.conftest import ManualClock

KEYS = {1: BackupKey(bytes(range(32))), 2: BackupKey(bytes(range(1, 33)))}
FIRST = BinlogFile(1, "aaaaaaaa-0000-0000-0000-000000000000", "binlog.000001", 7)
SECOND = FIRST._replace(file="binlog.000002")


def open_spool(
    folder: Path, clock: Clock, *, max_bytes: int = 1 << 30, scope: str = "repository/s1", **sizes: int
) -> Spool:
    return Spool(folder, max_bytes=max_bytes, key_of=KEYS.__getitem__, scope=scope, clock=clock, **sizes)


@pytest.fixture
def spool(tmp_path: Path, clock: ManualClock) -> Iterator[Spool]:
    opened = open_spool(tmp_path, clock)
    yield opened
    opened.close()


def again(old: Spool, folder: Path, clock: Clock) -> Spool:
    """As after a crash: another process opens what the first one left."""
    os.close(old._locked)  # pyright: ignore[reportPrivateUsage] - the kernel does this for the dead
    old._locked = os.open(os.devnull, os.O_RDONLY)  # pyright: ignore[reportPrivateUsage]
    opened = open_spool(folder, clock)
    opened.recover()
    return opened


def cuts(spool: Spool, size: int = 1 << 30) -> list[Cut]:
    found: list[Cut] = []
    while (cut := spool.cut(size)) is not None:
        found.append(cut)
    return found


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.spool"))


def test_what_was_appended_comes_out_in_order_joined_by_file(spool: Spool) -> None:
    spool.append(FIRST, 0, b"one", None)
    spool.append(FIRST, 3, b"two", "rotate")
    spool.append(SECOND, 0, b"three", None)
    found = cuts(spool)
    assert [(cut.file, cut.start, cut.data, cut.closed) for cut in found] == [
        (FIRST, 0, b"onetwo", "rotate"),
        (SECOND, 0, b"three", None),
    ]
    assert [cut.mark for cut in found] == [6, 11]


def test_a_cut_ends_at_the_wanted_size_and_never_inside_of_a_batch(spool: Spool) -> None:
    for at in range(0, 50, 10):
        spool.append(FIRST, at, bytes(10), None)
    assert [(cut.start, cut.end) for cut in cuts(spool, 15)] == [(0, 20), (20, 40), (40, 50)]


def test_what_a_killed_archiver_had_received_is_found_again(
    tmp_path: Path, clock: ManualClock, spool: Spool
) -> None:
    spool.append(FIRST, 0, b"one", None)
    spool.append(FIRST, 3, bytes(3_000_000), None)
    spool.append(SECOND._replace(epoch=2), 0, b"three", "stop")
    found = cuts(again(spool, tmp_path, clock))
    assert [(cut.file.file, cut.file.epoch, cut.start, len(cut.data), cut.closed) for cut in found] == [
        ("binlog.000001", 1, 0, 3_000_003, None),
        ("binlog.000002", 2, 0, 5, "stop"),
    ]


@pytest.mark.parametrize("lost", [1, 20, 100_000, 1_050_000, 2_000_000])
def test_a_batch_that_was_written_by_half_is_as_if_never_written(
    tmp_path: Path, clock: ManualClock, spool: Spool, lost: int
) -> None:
    spool.append(FIRST, 0, b"one", None)
    spool.append(FIRST, 3, bytes(2_500_000), None)
    path = tmp_path / names(tmp_path)[0]
    os.truncate(path, path.stat().st_size - lost)
    recovered = again(spool, tmp_path, clock)
    assert recovered.tail == (FIRST, 3, None)
    assert [(cut.start, cut.data) for cut in cuts(recovered)] == [(0, b"one")]


def test_a_file_that_died_at_its_birth_is_cleared_away(tmp_path: Path, clock: ManualClock) -> None:
    for number, content in enumerate((b"", b"BST", bytes(4096)), start=1):
        (tmp_path / f"{number:010d}.spool").write_bytes(content)
    spool = open_spool(tmp_path, clock)
    assert spool.recover() == 0
    assert not names(tmp_path)
    spool.append(FIRST, 0, b"one", None)
    assert names(tmp_path) == ["0000000004.spool"]
    spool.close()


def test_confirmed_events_leave_the_disk_and_what_is_not_confirmed_stays(
    tmp_path: Path, clock: ManualClock, spool: Spool
) -> None:
    spool.append(FIRST, 0, b"one", "rotate")
    spool.append(SECOND, 0, b"two", None)
    first, second = cuts(spool)
    spool.confirm(first)
    assert names(tmp_path) == ["0000000002.spool"]
    assert spool.waiting_bytes == 3
    assert [cut.data for cut in cuts(again(spool, tmp_path, clock))] == [second.data]


def test_an_orderly_end_leaves_nothing_that_is_stored(tmp_path: Path, spool: Spool) -> None:
    spool.append(FIRST, 0, b"one", None)
    for cut in cuts(spool):
        spool.confirm(cut)
    spool.close()
    assert not names(tmp_path)


def test_a_file_that_has_grown_takes_no_more(tmp_path: Path, clock: ManualClock) -> None:
    spool = open_spool(tmp_path, clock, file_bytes=1000)
    for at in range(0, 4000, 500):
        spool.append(FIRST, at, bytes(500), None)
    assert len(names(tmp_path)) > 2
    (cut,) = cuts(spool)
    spool.confirm(cut)
    assert len(names(tmp_path)) == 1
    spool.close()


def test_memory_is_bounded_and_the_rest_comes_from_the_disk(tmp_path: Path, clock: ManualClock) -> None:
    spool = open_spool(tmp_path, clock, memory_bytes=1000)
    blocks = [bytes([n]) * 400 for n in range(10)]
    for n, block in enumerate(blocks):
        spool.append(FIRST, n * 400, block, None)
    assert b"".join(cut.data for cut in cuts(spool, 1)) == b"".join(blocks)
    spool.close()


def test_the_bound_counts_what_is_not_confirmed_and_always_lets_one_batch_in(
    tmp_path: Path, clock: ManualClock
) -> None:
    spool = open_spool(tmp_path, clock, max_bytes=10)
    assert spool.has_room(1000)
    spool.append(FIRST, 0, bytes(8), None)
    assert spool.has_room(2)
    assert not spool.has_room(3)
    (cut,) = cuts(spool)
    assert not spool.has_room(3)
    spool.confirm(cut)
    assert spool.has_room(3)
    spool.close()


def test_a_segment_is_due_after_its_time_or_its_size_or_at_the_end_of_its_file(
    spool: Spool, clock: ManualClock
) -> None:
    assert spool.due_in(seconds=1, size_bytes=100) is None
    spool.append(FIRST, 0, bytes(10), None)
    assert spool.due_in(seconds=1, size_bytes=100) == 1.0
    clock.advance(0.75)
    assert spool.due_in(seconds=1, size_bytes=100) == 0.25
    spool.append(FIRST, 10, bytes(90), None)
    assert spool.due_in(seconds=1, size_bytes=100) == 0.0
    cuts(spool)
    spool.append(FIRST, 100, bytes(1), "rotate")
    assert spool.due_in(seconds=1, size_bytes=100) == 0.0


def test_nothing_in_the_spool_can_be_read_without_the_key(tmp_path: Path, spool: Spool) -> None:
    spool.append(FIRST, 0, b"a secret of somebody" * 10, None)
    spool.sync()
    content = (tmp_path / names(tmp_path)[0]).read_bytes()
    assert b"secret" not in content
    assert b"binlog.000001" not in content


def test_the_spool_of_another_shard_is_refused_by_name(
    tmp_path: Path, clock: ManualClock, spool: Spool
) -> None:
    spool.append(FIRST, 0, b"one", None)
    spool.close()
    other = open_spool(tmp_path, clock, scope="repository/s2")
    with pytest.raises(ObjectDamaged, match=r"0000000001\.spool"):
        other.recover()
    other.close()


def test_two_archivers_on_one_machine_do_not_share_a_spool(
    tmp_path: Path, clock: ManualClock, spool: Spool
) -> None:
    with pytest.raises(ArchiverReplaced, match="another archiver on this machine"):
        open_spool(tmp_path, clock)
