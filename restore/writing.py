"""Bringing the bytes of a piece into its file: with holes for zeros, or only where they differ."""

from __future__ import annotations

from collections.abc import Iterator

import xxhash

from restore.files import OpenFile, TargetFiles
from restore.pieces import Piece

GRAIN_BYTES = 16 * 1024
_BLOCK_BYTES = 4096
_READ_BYTES = 1 << 20
# A single zero page inside of a tablespace is soon written to; a hole there would only fragment the file.
_SHORTEST_HOLE_BYTES = 64 * 1024
_ZEROS = bytes(_READ_BYTES)
# FIL_PAGE_TYPE, u16 at 24, of pages that InnoDB compressed and whose zero tail it punched out of the file:
# FIL_PAGE_COMPRESSED and FIL_PAGE_COMPRESSED_AND_ENCRYPTED.
_PUNCHED_TYPES = (b"\x00\x0e", b"\x00\x10")


def write_sparse(file: OpenFile, piece: Piece, data: memoryview, page_size: int | None) -> int:
    """Write what is not zero of ``data``, into a file that holds zeros there. Returns the bytes written."""
    written = 0
    for start, end in filled_runs(data, page_size):
        file.write(piece.offset + start, data[start:end])
        written += end - start
    return written


def rewrite(file: OpenFile, piece: Piece, data: memoryview) -> int:
    """Write only the 16 KiB grains of ``data`` that differ from what is there. Returns the bytes written."""
    present = memoryview(bytearray(piece.length))
    whole = file.read(piece.offset, present)
    written = 0
    run = 0
    for at in range(0, piece.length, GRAIN_BYTES):
        end = min(at + GRAIN_BYTES, piece.length)
        if whole and bytes(present[at:end]) == bytes(data[at:end]):
            written += _write_run(file, piece, data, run, at)
            run = end
    return written + _write_run(file, piece, data, run, piece.length)


def is_in_place(file: OpenFile, piece: Piece) -> bool:
    """Is what the file holds there equal to the piece, by its digest?"""
    if not piece.digest:
        return False
    present = memoryview(bytearray(piece.length))
    return file.read(piece.offset, present) and xxhash.xxh3_128_digest(present) == piece.digest


def clear(files: TargetFiles, number: int, start: int, end: int) -> int:
    """Make zeros of the bytes from ``start`` to ``end``. Returns how many it had to write."""
    written = 0
    with files.open(number) as file:
        for at in range(start, end, _READ_BYTES):
            length = min(_READ_BYTES, end - at)
            present = memoryview(bytearray(length))
            if file.read(at, present) and bytes(present) == _ZEROS[:length]:
                continue
            file.write(at, memoryview(_ZEROS)[:length])
            written += length
    return written


def filled_runs(data: memoryview, page_size: int | None) -> Iterator[tuple[int, int]]:
    """Start and end of the runs of ``data`` to write so that only zeros are left out.

    Long runs of zero pages are left out, and the zero tails of pages that were compressed by InnoDB
    (``page_size`` is None for what is no tablespace): otherwise such a table would take several times its
    room.
    """
    grain = page_size or GRAIN_BYTES
    size = len(data)
    start = end = 0
    for at in range(0, size, grain):
        after = min(at + grain, size)
        if _is_zero(data, at, after):
            continue
        if at - end >= _SHORTEST_HOLE_BYTES:
            if end > start:
                yield start, end
            start = at
        end = after
        if page_size is not None and bytes(data[at + 24 : at + 26]) in _PUNCHED_TYPES:
            yield start, _without_zero_tail(data, at, after)
            start = end
    if end > start:
        yield start, end


def _write_run(file: OpenFile, piece: Piece, data: memoryview, start: int, end: int) -> int:
    if end > start:
        file.write(piece.offset + start, data[start:end])
    return end - start


def _is_zero(data: memoryview, start: int, end: int) -> bool:
    # Most pages begin with a checksum: four bytes tell most of them from zeros.
    if bytes(data[start : start + 4]).strip(b"\x00"):
        return False
    return all(
        bytes(data[at : min(at + _READ_BYTES, end)]) == _ZEROS[: min(_READ_BYTES, end - at)]
        for at in range(start, end, _READ_BYTES)
    )


def _without_zero_tail(data: memoryview, start: int, end: int) -> int:
    while end - _BLOCK_BYTES > start and _is_zero(data, end - _BLOCK_BYTES, end):
        end -= _BLOCK_BYTES
    return end
