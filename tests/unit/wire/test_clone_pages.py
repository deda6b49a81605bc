"""What a page says of itself: its LSN, and whether it is whole. Made-up pages, and those of a real donor."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.blocks import Block, Stage
from fleet.clock import SystemClock
from tests.clones import Forgetting
from tests.conversations import Replayer, load
from wire.clone.client import CloneClient, CloneOptions
from wire.clone.pages import PageSize, is_damaged, lsns, page_size, stamp_checksum

CONVERSATION = Path(__file__).parents[2] / "golden" / "clone-conversation" / "conversation.zst"
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
INDEX_PAGE = 17855
NO_CHECKSUM = (0xDEADBEEF).to_bytes(4, "big")

SIZES = [PageSize(4096, 4096), PageSize(16384, 16384), PageSize(16384, 8192), PageSize(16384, 1024)]
PLAIN = PageSize(16384, 16384)
ZIPPED = PageSize(16384, 8192)


def page(size: PageSize, seed: bytes, *, kind: int = INDEX_PAGE) -> bytearray:
    """A whole page with content."""
    made = bytearray((seed * (size.physical // len(seed) + 1))[: size.physical])
    made[24:26] = kind.to_bytes(2, "big")
    if not size.is_compressed:
        made[-4:] = made[20:24]
    stamp_checksum(memoryview(made), size)
    return made


seeds = st.binary(min_size=1, max_size=100)


@patient
@given(st.sampled_from([1024, 4096, 16384, 65536]), st.lists(st.integers(0, 2**64 - 1), max_size=70))
def test_the_lsn_of_every_page_is_found(physical: int, expected: list[int]) -> None:
    data = bytearray(b"\xff" * (physical * len(expected)))
    for number, lsn in enumerate(expected):
        data[number * physical + 16 : number * physical + 24] = lsn.to_bytes(8, "big")
    assert list(lsns(memoryview(data), physical)) == expected


@patient
@given(st.sampled_from(SIZES), seeds, st.data())
def test_a_whole_page_is_not_damaged_and_one_wrong_byte_damages_it(
    size: PageSize, seed: bytes, data: st.DataObject
) -> None:
    made = page(size, seed)
    assert not is_damaged(memoryview(made), size)
    places = _covered(size)
    place = data.draw(st.sampled_from([*places[:40], *places[-20:], places[len(places) // 2]]))
    made[place] ^= data.draw(st.integers(1, 255))
    assert is_damaged(memoryview(made), size)


def _covered(size: PageSize) -> list[int]:
    """Every byte that a checksum, or its own place, depends on."""
    if size.is_compressed:
        return [*range(16), 25, *range(34, size.physical)]
    # The kind of page is left alone: it could make the page one that cannot be judged.
    return [*range(24), *range(38, size.physical)]


@pytest.mark.parametrize("size", SIZES)
def test_zeros_are_a_page_that_was_never_written(size: PageSize) -> None:
    assert not is_damaged(memoryview(bytearray(size.physical)), size)


@pytest.mark.parametrize("kind", [14, 15, 16, 17])
@pytest.mark.parametrize("size", SIZES)
def test_encrypted_and_compressed_pages_cannot_be_judged(size: PageSize, kind: int) -> None:
    made = page(size, b"secret", kind=kind)
    made[500] ^= 1
    assert not is_damaged(memoryview(made), size)


def test_a_page_of_which_a_part_was_written_is_damaged() -> None:
    made = page(PLAIN, b"half")
    made[-4:] = b"\0\0\0\1"
    assert is_damaged(memoryview(made), PLAIN), "its checksum is right, its two LSNs differ"


def test_pages_without_a_checksum_cannot_be_judged() -> None:
    made = page(PLAIN, b"none")
    made[0:4] = made[-8:-4] = NO_CHECKSUM
    assert not is_damaged(memoryview(made), PLAIN)
    zipped = page(ZIPPED, b"none")
    zipped[0:4] = NO_CHECKSUM
    assert not is_damaged(memoryview(zipped), ZIPPED)


def test_pages_of_servers_before_5_7_cannot_be_judged() -> None:
    """The trailer has a hash of the first 26 bytes; written down once from the definition in ut0rnd.ic."""
    made = bytearray(page(PLAIN, b"old"))
    made[:26] = bytes(range(26))
    made[-4:] = made[20:24]
    made[-8:-4] = _fold(bytes(range(26))).to_bytes(4, "big")
    assert not is_damaged(memoryview(made), PLAIN)
    made[3] ^= 1
    assert is_damaged(memoryview(made), PLAIN)
    zipped = page(ZIPPED, b"old")
    zipped[0:4] = _adler(zipped).to_bytes(4, "big")
    assert not is_damaged(memoryview(zipped), ZIPPED)
    zipped[100] ^= 1
    assert is_damaged(memoryview(zipped), ZIPPED)


def _fold(data: bytes) -> int:
    fold = 0
    for byte in data:
        mixed = ((fold ^ byte ^ 1653893711) << 8) + fold
        fold = (mixed ^ 1463735687) + byte
    return fold % 2**32


def _adler(made: bytearray) -> int:
    return zlib.adler32(bytes(made[4:16] + made[24:26] + made[34:]), 0)


def test_no_page_of_a_real_donor_is_damaged() -> None:
    """A recorded clone: system and undo tablespaces, the dictionary, tables, one of them compressed."""

    class Judging(Forgetting):
        pages = 0
        newest = 0

        def put(self, block: Block, stream: int) -> None:
            begin = 0
            for extent in block.extents:
                file = client.file(extent.file)
                data = block.data[begin : begin + extent.length]
                begin += extent.length
                if block.stage is not Stage.REDO and file is not None:
                    self.judge(data, file.page_size)
            super().put(block, stream)

        def judge(self, data: memoryview, size: PageSize) -> None:
            for place in range(0, len(data), size.physical):
                assert not is_damaged(data[place : place + size.physical], size)
                self.pages += 1
            self.newest = max(self.newest, *lsns(data, size.physical))

    donor = Replayer(load(CONVERSATION))
    client = CloneClient(donor.connect, CloneOptions(connections=1), SystemClock())
    sink = Judging()
    outcome = client.run(sink)
    donor.finish()
    assert sink.pages > 4000
    assert 0 < sink.newest <= outcome.redo.end_lsn
    assert client.file(0) is None, "ib_buffer_pool"
    assert client.file(1) == (0, 0, page_size(18432))
    assert client.file(99) is None
