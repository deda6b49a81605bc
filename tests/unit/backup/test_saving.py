"""Which chunks the donor need not send: those that the base holds whole, and in which no page changed."""

from backup.saving import HeldFile, unchanged_chunks
from wire.clone.outcome import AnnouncedFile
from wire.page_tracking import PageList

PAGE = 16384
CHUNK = 8 * PAGE


def announced(
    index: int,
    space: int | None,
    pages: int,
    first_chunk: int,
    *,
    ordinal: int = 0,
    page_size: int | None = PAGE,
) -> AnnouncedFile:
    chunks = -(-pages * PAGE // CHUNK)
    return AnnouncedFile(
        index,
        f"f{index}",
        space,
        ordinal,
        pages * PAGE,
        page_size,
        first_chunk,
        first_chunk + chunks - 1,
        CHUNK,
    )


def changed(**spaces: list[int]) -> PageList:
    """Changed pages by space: ``s7=[3, 4]``."""
    bitmaps: dict[int, bytearray] = {}
    for name, pages in spaces.items():
        bits = bitmaps[int(name[1:])] = bytearray(1 + max(pages) // 8)
        for page in pages:
            bits[page >> 3] |= 1 << (page & 7)
    return PageList(bitmaps)


def held(*spaces: tuple[int, int, int]) -> dict[tuple[int, int], HeldFile]:
    """The base's files: space, ordinal, pages."""
    return {(space, ordinal): HeldFile(pages * PAGE, PAGE) for space, ordinal, pages in spaces}


def test_chunks_with_a_changed_page_are_sent_and_their_neighbours_are_not() -> None:
    files = [announced(0, 7, 40, 1)]
    assert set(unchanged_chunks(files, held((7, 0, 40)), changed(s7=[15, 16]))) == {1, 4, 5}


def test_nothing_is_left_out_of_a_tablespace_that_the_base_does_not_have() -> None:
    files = [announced(0, 7, 40, 1), announced(1, None, 40, 6, page_size=None)]
    assert not set(unchanged_chunks(files, held((8, 0, 40)), changed(s9=[1])))


def test_what_lies_beyond_the_bases_file_is_sent() -> None:
    files = [announced(0, 7, 40, 1)]
    assert set(unchanged_chunks(files, held((7, 0, 20)), changed(s9=[1]))) == {1, 2}


def test_the_last_chunk_of_a_file_counts_though_it_is_short() -> None:
    files = [announced(0, 7, 20, 1)]
    assert set(unchanged_chunks(files, held((7, 0, 20)), changed(s7=[0]))) == {2, 3}


def test_another_page_size_leaves_nothing_out() -> None:
    files = [announced(0, 7, 40, 1, page_size=8192)]
    assert not set(unchanged_chunks(files, held((7, 0, 40)), changed(s9=[1])))


def test_pages_of_the_system_tablespace_are_counted_over_all_its_files() -> None:
    files = [announced(0, 0, 16, 1), announced(1, 0, 24, 3, ordinal=1)]
    known = held((0, 0, 16), (0, 1, 24))
    assert set(unchanged_chunks(files, known, changed(s0=[25]))) == {1, 2, 3, 5}
    assert set(unchanged_chunks(files, known, changed(s0=[9]))) == {1, 3, 4, 5}
