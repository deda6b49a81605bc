"""The spool: bounded in memory and on disk, sealed, and never a hang."""

import os
import threading
import time
from pathlib import Path

import pytest

from backup import segments
from backup.spool import Spool, check_spool, spool_directory
from fleet.blocks import Block, Extent, Stage
from fleet.errors import DiskFull, StoreFull
from fleet.finding import Level
from fleet.policy import BackupConfig

KIB = 1024


def block(number: int, length: int = 64 * KIB, released: list[int] | None = None) -> Block:
    data = memoryview(bytearray([number % 251]) * length)
    return Block(
        Stage.FILE,
        (Extent(number, 0, length),),
        data,
        (lambda: released.append(number)) if released is not None else (lambda: None),
    )


def take_all(spool: Spool) -> dict[int, bytes]:
    taken: dict[int, bytes] = {}
    while (entry := spool.take()) is not None:
        taken[entry.extents[0].file] = bytes(entry.data)
        entry.release()
    return taken


def test_blocks_beyond_the_memory_bound_go_through_the_disk_and_come_back_whole(tmp_path: Path) -> None:
    spool = Spool(tmp_path, memory_bytes=200 * KIB, disk_bytes=10_000 * KIB)
    for number in range(50):
        spool.put(block(number))
    spool.close()
    assert spool.spilled_bytes > 40 * 64 * KIB
    taken = take_all(spool)
    assert taken == {number: bytes(block(number).data) for number in range(50)}
    assert spool.has_room()


def test_every_buffer_is_given_back_exactly_once(tmp_path: Path) -> None:
    released: list[int] = []
    spool = Spool(tmp_path, memory_bytes=200 * KIB, disk_bytes=10_000 * KIB)
    for number in range(20):
        spool.put(block(number, released=released))
    spool.close()
    take_all(spool)
    assert sorted(released) == list(range(20))


def test_the_spool_file_has_no_name_and_holds_no_page_in_clear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: written.append(bytes(data)) or real(fd, data, at))
    spool = Spool(tmp_path, memory_bytes=1, disk_bytes=10_000 * KIB)
    for number in range(3):
        spool.put(block(number))
    assert list(tmp_path.iterdir()) == []
    assert written and all(bytes([n]) * 64 not in data for n in range(3) for data in written)
    spool.discard()


def test_segments_that_were_read_give_their_room_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 200 * KIB)
    spool = Spool(tmp_path, memory_bytes=1, disk_bytes=400 * KIB)
    before = len(os.listdir("/proc/self/fd"))
    for round_number in range(20):
        for number in range(4):
            spool.put(block(round_number * 4 + number))
        for _ in range(4):
            entry = spool.take()
            assert entry is not None
            entry.release()
    assert spool.highest_on_disk <= 400 * KIB
    spool.discard()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_put_waits_when_both_bounds_are_reached_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    spool = Spool(tmp_path, memory_bytes=64 * KIB, disk_bytes=70 * KIB)
    spool.put(block(0))
    spool.put(block(1))
    third = threading.Thread(target=spool.put, args=(block(2),))
    third.start()
    third.join(timeout=0.3)
    assert third.is_alive() and not spool.has_room()
    assert spool.take() is not None
    third.join(timeout=5)
    assert not third.is_alive()


def test_a_full_disk_is_a_smaller_bound_and_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> int:
        raise OSError(28, "No space left on device")

    spool = Spool(tmp_path, memory_bytes=64 * KIB, disk_bytes=10_000 * KIB)
    spool.put(block(0))
    monkeypatch.setattr(os, "pwrite", no_room)
    second = threading.Thread(target=spool.put, args=(block(1),))
    second.start()
    second.join(timeout=0.3)
    assert second.is_alive()
    assert spool.take() is not None
    second.join(timeout=5)
    spool.close()
    assert list(take_all(spool)) == [1]


def test_a_failed_consumer_wakes_the_reader_with_its_error(tmp_path: Path) -> None:
    spool = Spool(tmp_path, memory_bytes=64 * KIB, disk_bytes=0)
    spool.put(block(0))
    seen: list[BaseException] = []

    def read_on() -> None:
        try:
            spool.put(block(1))
        except StoreFull as error:
            seen.append(error)

    reader = threading.Thread(target=read_on)
    reader.start()
    spool.fail(StoreFull("the bucket is full"))
    reader.join(timeout=5)
    assert [str(error) for error in seen] == ["the bucket is full"]
    with pytest.raises(StoreFull):
        spool.take()


def test_a_spool_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match="nowhere") as caught:
        spool_directory(tmp_path / "nowhere")
    assert "backup.spool_directory" in (caught.value.hint or "")


def test_a_check_of_the_spool_tells_room_that_is_missing(tmp_path: Path) -> None:
    def level(**values: object) -> Level:
        return check_spool(BackupConfig.model_validate({"spool_directory": str(tmp_path), **values})).level

    assert level(spool_max_bytes=1) is Level.OK
    assert level(spool_max_bytes=10**18) is Level.WARN
    assert level(spool_directory=str(tmp_path / "nowhere")) is Level.FAIL


def test_lanes_that_are_only_a_little_slow_never_touch_the_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path, memory_bytes=128 * KIB, disk_bytes=10_000 * KIB)

    def read() -> None:
        for number in range(40):
            spool.put(block(number))
        spool.close()

    reader = threading.Thread(target=read)
    reader.start()
    taken = 0
    while (entry := spool.take()) is not None:
        time.sleep(0.005)
        entry.release()
        taken += 1
    reader.join(timeout=5)
    assert taken == 40
    assert spool.spilled_bytes == 0


def test_lanes_that_stand_still_cost_a_reader_one_moment_and_not_one_a_block(tmp_path: Path) -> None:
    spool = Spool(tmp_path, memory_bytes=64 * KIB, disk_bytes=10_000 * KIB, patience_seconds=0.2)
    began = time.monotonic()
    for number in range(20):
        spool.put(block(number))
    assert time.monotonic() - began < 1
    assert spool.spilled_bytes == 19 * 64 * KIB
    spool.discard()
