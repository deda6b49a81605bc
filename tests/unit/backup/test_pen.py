"""Changed pages wait until it is known whether they come again."""

import os
import random
from pathlib import Path

import pytest

from backup.pen import Pen
from backup.segments import SealedSegments
from backup.stored_pages import StoredPages
from fleet.blocks import Block, Extent, Stage
from wire.clone.outcome import SpaceFile
from wire.clone.pages import PageSize

PAGE = 16384
SIZE = PageSize(PAGE, PAGE)


def space_of(file: int) -> SpaceFile | None:
    return SpaceFile(100 + file, 0, SIZE) if file < 50 else None


class Passed:
    def __init__(self) -> None:
        self.pages: dict[tuple[int, int], bytes] = {}
        self.released = 0

    def put(self, block: Block) -> None:
        begin = 0
        for file, offset, length in block.extents:
            for at in range(0, length, PAGE):
                assert (file, offset + at) not in self.pages
                end = begin + at + min(PAGE, length - at)
                self.pages[file, offset + at] = bytes(block.data[begin + at : end])
            begin += length
        assert begin == len(block.data)
        block.release()


def put(pen: Pen, passed: Passed, *extents: Extent) -> dict[tuple[int, int], bytes]:
    """Put one block of random bytes; returns its pages."""
    pages: dict[tuple[int, int], bytes] = {}
    data = bytearray()
    for file, offset, length in extents:
        for at in range(0, length, PAGE):
            pages[file, offset + at] = random.Random(file + offset + at).randbytes(min(PAGE, length - at))
            data += pages[file, offset + at]

    def release() -> None:
        passed.released += 1

    pen.put(Block(Stage.FILE, extents, memoryview(data), release))
    return pages


def made(folder: Path, disk_bytes: int) -> tuple[Pen, Passed, StoredPages]:
    passed, stored = Passed(), StoredPages(space_of)
    return Pen(SealedSegments(folder, disk_bytes), stored, passed.put), passed, stored


def test_pages_that_came_again_are_left_out_and_all_others_passed_on(tmp_path: Path) -> None:
    pen, passed, stored = made(tmp_path, 10 * 1024 * 1024)
    first = put(pen, passed, Extent(1, 0, 4 * PAGE), Extent(2, 8 * PAGE, PAGE))
    second = put(pen, passed, Extent(1, 40 * PAGE, 2 * PAGE), Extent(60, 0, 100))
    assert not passed.pages and passed.released == 2
    stored.claim([Extent(1, PAGE, PAGE), Extent(1, 40 * PAGE, PAGE), Extent(1, 41 * PAGE, PAGE)])
    pen.open()
    again = {(1, PAGE), (1, 40 * PAGE), (1, 41 * PAGE)}
    assert passed.pages == {key: data for key, data in (first | second).items() if key not in again}
    assert pen.left_out_bytes == 3 * PAGE


def test_what_is_passed_on_counts_as_stored(tmp_path: Path) -> None:
    pen, passed, stored = made(tmp_path, 10 * 1024 * 1024)
    put(pen, passed, Extent(1, 0, 2 * PAGE))
    pen.open()
    assert stored.map.holds((101, 0), 0) and stored.map.holds((101, 0), 1)
    assert not stored.map.holds((101, 0), 2)


def test_what_finds_no_room_flows_on_at_once_and_is_never_lost(tmp_path: Path) -> None:
    pen, passed, stored = made(tmp_path, 3 * PAGE)
    first = put(pen, passed, Extent(1, 0, 2 * PAGE))
    second = put(pen, passed, Extent(2, 0, 2 * PAGE))
    assert passed.pages == second
    assert stored.map.holds((102, 0), 1)
    pen.open()
    assert passed.pages == first | second


def test_a_full_disk_makes_the_pen_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> int:
        raise OSError(28, "No space left on device")

    pen, passed, _ = made(tmp_path, 10 * 1024 * 1024)
    monkeypatch.setattr(os, "pwrite", no_room)
    pages = put(pen, passed, Extent(1, 0, 2 * PAGE))
    assert passed.pages == pages


def test_what_waits_has_no_name_on_the_disk_and_goes_when_it_is_discarded(tmp_path: Path) -> None:
    segments = SealedSegments(tmp_path, 10 * 1024 * 1024)
    before = len(os.listdir("/proc/self/fd"))
    place = segments.reserve(PAGE)
    assert place is not None and segments.write(place, memoryview(b"row" * 100))
    assert list(tmp_path.iterdir()) == []
    segments.discard()
    assert len(os.listdir("/proc/self/fd")) == before
