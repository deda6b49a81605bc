"""Which bytes are written: holes for zeros, and never a hole where something is."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from restore.files import TargetFiles
from restore.pieces import Piece
from restore.writing import clear, filled_runs, rewrite, write_sparse

PAGE = 16 * 1024

kinds = st.lists(st.sampled_from(["zero", "full", "zero head", "punched"]), max_size=24)


def page(kind: str) -> bytes:
    if kind == "zero":
        return bytes(PAGE)
    if kind == "zero head":
        return bytes(PAGE - 1) + b"\x01"
    if kind == "punched":
        return b"\x01" * 24 + b"\x00\x0e" + b"\x01" * 3000 + bytes(PAGE - 3026)
    return b"\x01" * PAGE


@given(kinds, st.sampled_from([PAGE, None]), st.integers(0, PAGE - 1))
def test_whatever_is_left_out_is_zeros(pages: list[str], page_size: int | None, cut: int) -> None:
    data = b"".join(map(page, pages))
    data = data[: len(data) - cut] if len(data) > cut else data
    runs = list(filled_runs(memoryview(data), page_size))
    made = bytearray(len(data))
    for start, end in runs:
        assert start < end
        made[start:end] = data[start:end]
    assert bytes(made) == data
    assert all(before[1] <= after[0] for before, after in pairwise(runs))


def test_a_long_run_of_zero_pages_becomes_a_hole_and_a_short_one_does_not() -> None:
    data = memoryview(page("full") + bytes(4 * PAGE) + page("full") + bytes(3 * PAGE) + page("full"))
    assert list(filled_runs(data, PAGE)) == [(0, PAGE), (5 * PAGE, 10 * PAGE)]
    assert list(filled_runs(memoryview(bytes(8 * PAGE)), PAGE)) == []


def test_the_punched_tail_of_a_compressed_page_stays_a_hole() -> None:
    data = memoryview(page("punched") * 2)
    assert list(filled_runs(data, PAGE)) == [(0, 4096), (PAGE, PAGE + 4096)]
    # In a file that is no tablespace the same bytes mean nothing.
    assert list(filled_runs(data, None)) == [(0, 2 * PAGE)]


def test_a_rewrite_writes_the_grains_that_differ_alone(tmp_path: Path) -> None:
    present = bytearray(page("full") * 6)
    wanted = bytes(present)
    present[PAGE] = 9
    present[2 * PAGE + 5] = 9
    present[5 * PAGE] = 9
    (tmp_path / "t").write_bytes(present)
    files = TargetFiles(tmp_path, lambda _: "t")
    with files.open(0) as file:
        assert rewrite(file, Piece(0, 0, 6 * PAGE, 0, b""), memoryview(wanted)) == 3 * PAGE
    files.close()
    assert (tmp_path / "t").read_bytes() == wanted


def test_clearing_leaves_zeros_and_writes_only_where_none_were(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(bytes(2 << 20) + b"x" * 100)
    files = TargetFiles(tmp_path, lambda _: "t")
    assert clear(files, 0, 0, 2 << 20) == 0
    assert 0 < clear(files, 0, 10, (2 << 20) + 50) < 2 << 20
    files.close()
    assert (tmp_path / "t").read_bytes() == bytes((2 << 20) + 50) + b"x" * 50


def test_a_piece_is_written_at_its_offset(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(bytes(4 * PAGE))
    files = TargetFiles(tmp_path, lambda _: "t")
    with files.open(0) as file:
        assert write_sparse(file, Piece(0, PAGE, PAGE, 0, b""), memoryview(page("full")), PAGE) == PAGE
    files.close()
    assert (tmp_path / "t").read_bytes() == bytes(PAGE) + page("full") + bytes(2 * PAGE)
