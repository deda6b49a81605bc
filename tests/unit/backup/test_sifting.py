"""The page filter keeps what FORMAT.md, section 13, rule 3, says, and nothing else."""

import random
from collections.abc import Callable

import pytest

from backup.damage import SuspectPages
from backup.sifting import GATHERED_BYTES, HeldPages, Sieve
from fleet.blocks import Block, Extent, Stage
from repository.manifest import FileEntry
from wire.clone.outcome import SpaceFile
from wire.clone.pages import PageSize, stamp_checksum

PLAIN = PageSize(16384, 16384)
ZIPPED = PageSize(16384, 4096)
LARGE = PageSize(65536, 65536)
CHECKPOINT = 1_000_000


def page(size: PageSize, lsn: int, seed: int = 1) -> bytes:
    """A sound page of a B-tree, as a server writes it."""
    data = bytearray(random.Random(seed).randbytes(size.physical))
    data[16:24] = lsn.to_bytes(8, "big")
    data[24:26] = (17855).to_bytes(2, "big")
    if not size.is_compressed:
        data[-4:] = (lsn & 0xFFFFFFFF).to_bytes(4, "big")
    stamp_checksum(memoryview(data), size)
    return bytes(data)


def torn(size: PageSize, lsn: int) -> bytes:
    data = bytearray(page(size, lsn))
    data[100] ^= 1
    return bytes(data)


class Kept:
    """What came through: every page by file and offset, and the blocks that brought them."""

    def __init__(self) -> None:
        self.pages: dict[tuple[int, int], bytes] = {}
        self.blocks: list[int] = []

    def put(self, block: Block) -> None:
        assert block.stage is Stage.FILE
        assert sum(extent.length for extent in block.extents) == len(block.data)
        self.blocks.append(len(block.data))
        begin = 0
        for file, offset, length in block.extents:
            assert (file, offset) not in self.pages
            self.pages[file, offset] = bytes(block.data[begin : begin + length])
            begin += length
        block.release()

    def content(self, length: int) -> bytes:
        """All kept bytes in place; the rest are zeros."""
        whole = bytearray(length)
        for (_, offset), data in self.pages.items():
            whole[offset : offset + len(data)] = data
        return bytes(whole)


def sift(
    pages: list[bytes], size: PageSize, *, is_held: bool = True, held: bool = True, block_pages: int = 64
) -> tuple[Kept, SuspectPages, Sieve, list[int]]:
    """Send ``pages`` of file 3, tablespace 7, as the donor does: 64 of them in a block."""
    kept, suspects, released = Kept(), SuspectPages(), list[int]()
    spaces = frozenset({(7, 0)}) if is_held else frozenset({(7, 1)})

    def releasing(number: int) -> Callable[[], None]:
        return lambda: released.append(number)

    sieve = Sieve(
        HeldPages(CHECKPOINT, spaces) if held else None, lambda _: SpaceFile(7, 0, size), suspects, kept.put
    )
    for number, at in enumerate(range(0, len(pages), block_pages)):
        data = b"".join(pages[at : at + block_pages])
        extent = Extent(3, at * size.physical, len(data))
        sieve.put(Block(Stage.FILE, (extent,), memoryview(bytearray(data)), releasing(number)), stream=0)
    sieve.flush()
    return kept, suspects, sieve, released


@pytest.mark.parametrize("size", [PLAIN, ZIPPED, LARGE])
def test_pages_older_than_the_bases_checkpoint_are_left_out_and_all_others_kept(size: PageSize) -> None:
    chance = random.Random(7)
    pages = [page(size, CHECKPOINT + chance.choice([-500_000, -1, 0, 1, 77]), seed) for seed in range(200)]
    kept, suspects, sieve, released = sift(pages, size)
    wanted = [
        data if int.from_bytes(data[16:24], "big") >= CHECKPOINT else bytes(len(data)) for data in pages
    ]
    assert kept.content(200 * size.physical) == b"".join(wanted)
    assert sieve.unchanged_bytes == sum(not any(data) for data in wanted) * size.physical
    assert sorted(released) == list(range(4))
    assert not suspects.damaged((FileEntry(number=3, name="t.ibd", size=2**40),))


def test_of_a_tablespace_that_the_base_does_not_have_all_is_kept_but_zeros() -> None:
    pages = [page(PLAIN, 5), bytes(16384), page(PLAIN, CHECKPOINT), bytes(16384)]
    kept, *_ = sift(pages, PLAIN, is_held=False)
    assert set(kept.pages) == {(3, 0), (3, 2 * 16384)}


def test_a_page_without_lsn_that_is_not_zeros_is_kept() -> None:
    kept, *_ = sift([page(PLAIN, 0), bytes(16384), page(PLAIN, 1)], PLAIN)
    assert set(kept.pages) == {(3, 0)}


def test_a_damaged_page_is_kept_and_named_though_it_is_old() -> None:
    kept, suspects, *_ = sift([page(PLAIN, 5), torn(PLAIN, 5), page(PLAIN, 6)], PLAIN)
    assert set(kept.pages) == {(3, 16384)}
    (damaged,) = suspects.damaged((FileEntry(number=3, name="shop/t.ibd", size=10 * 16384),))
    assert (damaged.file, damaged.page) == ("shop/t.ibd", 1)


def test_a_damaged_page_that_comes_again_was_only_being_written() -> None:
    _, suspects, *_ = sift([torn(PLAIN, 5), torn(PLAIN, 6)], PLAIN)
    suspects.came_again([Extent(3, 16384, 16384), Extent(4, 0, 16384)])
    files = (FileEntry(number=3, name="t.ibd", size=2 * 16384),)
    assert [damaged.page for damaged in suspects.damaged(files)] == [0]


def test_damage_in_a_file_that_is_gone_by_the_end_is_not_told() -> None:
    _, suspects, *_ = sift([torn(PLAIN, 5)], PLAIN)
    assert suspects.damaged((FileEntry(number=4, name="t.ibd", size=2 * 16384),)) == ()


def test_without_a_base_everything_is_kept_and_still_checked() -> None:
    pages = [page(PLAIN, 5), bytes(16384), torn(PLAIN, 7)]
    kept, suspects, sieve, _ = sift(pages, PLAIN, held=False)
    assert kept.content(3 * 16384) == b"".join(pages)
    assert sieve.unchanged_bytes == 0
    assert len(suspects.damaged((FileEntry(number=3, name="t.ibd", size=3 * 16384),))) == 1


def test_kept_pages_of_many_blocks_travel_in_large_ones() -> None:
    pages = [page(PLAIN, CHECKPOINT if number % 4 == 0 else 1, number) for number in range(64 * 8)]
    kept, *_ = sift(pages, PLAIN)
    assert len(kept.pages) == 128
    assert kept.blocks == [GATHERED_BYTES, GATHERED_BYTES]


def test_a_file_that_is_no_tablespace_goes_through_as_it_is() -> None:
    kept = Kept()
    sieve = Sieve(HeldPages(CHECKPOINT, frozenset()), lambda _: None, SuspectPages(), kept.put)
    sieve.put(Block(Stage.FILE, (Extent(9, 0, 5),), memoryview(b"hello"), lambda: None), stream=1)
    assert kept.pages == {(9, 0): b"hello"}
