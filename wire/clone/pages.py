"""InnoDB pages, as far as a clone must know them: sizes, checksums, the first page of a new file.

Source: fsp0types.h, fil0fil.cc (initial pages) and buf0checksum.cc of InnoDB, MySQL 8.0 to 9.7.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import google_crc32c

NO_FLAGS = 0xFFFFFFFF
"""Tablespace flags of a file that is no tablespace (``ib_buffer_pool``, redo)."""

NO_SPACE = 0xFFFFFFFF
SYSTEM_SPACE = 0
_LOG_SPACE = 0xFFFFFFF0
_UNDO_SPACES = 127 * 400_000

_SHARED = 1 << 11
_ENCRYPTED = 1 << 13

_INITIAL_PAGES = 7
_INITIAL_UNDO_BYTES = 16 * 1024 * 1024

_CHECKSUM = 0
_LSN = 16
_TYPE = 24
_NO_CHECKSUM = 0xDEADBEEF
_OPAQUE_TYPES = frozenset((14, 15, 16, 17))
"""Compressed by the page, encrypted, both, encrypted R-tree: what the checksum was made of is not there."""

_SERVER_VERSION = 8
_SPACE_VERSION = 12
_SPACE_ID = 34
_DATA = 38
_TRAILER_BYTES = 8
_FSP_SPACE_ID = _DATA
_FSP_FLAGS = _DATA + 16
_DESCRIPTORS = 150
_DESCRIPTOR_BYTES = 40


@dataclass(frozen=True, slots=True)
class PageSize:
    """Bytes of a page in memory and on disk; they differ in ROW_FORMAT=COMPRESSED."""

    logical: int
    physical: int

    @property
    def is_compressed(self) -> bool:
        return self.physical != self.logical

    @property
    def extent_bytes(self) -> int:
        """Bytes on disk of one extent, the step in which a tablespace grows."""
        return self.physical * self.pages_per_extent

    @property
    def pages_per_extent(self) -> int:
        return max(64, 1024 * 1024 // self.logical)

    @property
    def key_offset(self) -> int:
        """Where page 0 keeps the tablespace's wrapped key: behind its extent descriptors."""
        return _DESCRIPTORS + _DESCRIPTOR_BYTES * (self.physical // self.pages_per_extent)


def page_size(fsp_flags: int) -> PageSize:
    """The page size that a tablespace's flags tell."""
    compressed, stored = (fsp_flags >> 1) & 15, (fsp_flags >> 6) & 15
    logical = 512 << stored if stored else 16384
    return PageSize(logical, 512 << compressed if compressed else logical)


def is_general(fsp_flags: int) -> bool:
    """True for a tablespace made by CREATE TABLESPACE, which any table may share."""
    return bool(fsp_flags & _SHARED)


def is_encrypted(fsp_flags: int) -> bool:
    return bool(fsp_flags & _ENCRYPTED)


def is_undo(space_id: int) -> bool:
    return _LOG_SPACE - _UNDO_SPACES <= space_id < _LOG_SPACE


def initial_bytes(space_id: int, size: PageSize) -> int:
    """Size of a tablespace file that was just created."""
    return _INITIAL_UNDO_BYTES if is_undo(space_id) else _INITIAL_PAGES * size.physical


def initial_page(space_id: int, fsp_flags: int, server_version: int, key_info: bytes | None) -> bytearray:
    """Page 0 of a tablespace that was just created; its other pages are zeros.

    ``server_version`` is MySQL's number, 90704 for 9.7.4; ``key_info`` the wrapped key, if it has one.
    """
    size = page_size(fsp_flags)
    page = bytearray(size.physical)
    page[_SERVER_VERSION : _SERVER_VERSION + 4] = server_version.to_bytes(4, "big")
    page[_SPACE_VERSION : _SPACE_VERSION + 4] = (1).to_bytes(4, "big")
    page[_SPACE_ID : _SPACE_ID + 4] = space_id.to_bytes(4, "big")
    page[_FSP_SPACE_ID : _FSP_SPACE_ID + 4] = space_id.to_bytes(4, "big")
    page[_FSP_FLAGS : _FSP_FLAGS + 4] = fsp_flags.to_bytes(4, "big")
    if key_info is not None:
        page[size.key_offset : size.key_offset + len(key_info)] = key_info
    stamp_checksum(memoryview(page), size)
    return page


def stamp_checksum(page: memoryview, size: PageSize) -> None:
    """Write the checksum that the page's bytes call for."""
    if size.is_compressed:
        total = _crc(page[4:16]) ^ _crc(page[24:26]) ^ _crc(page[_SPACE_ID : size.physical])
    else:
        trailer = size.physical - _TRAILER_BYTES
        total = _crc(page[4:26]) ^ _crc(page[_DATA:trailer])
        page[trailer : trailer + 4] = total.to_bytes(4, "big")
    page[_CHECKSUM : _CHECKSUM + 4] = total.to_bytes(4, "big")


def has_right_checksum(page: memoryview, size: PageSize) -> bool:
    copy = bytearray(page)
    stamp_checksum(memoryview(copy), size)
    return bytes(copy) == bytes(page)


def lsns(data: memoryview, page_size: int) -> Sequence[int]:
    """The LSN of the last change of every page in ``data``, which holds whole pages of ``page_size`` bytes.

    ``page_size`` is the physical one. The LSN is in clear in encrypted and in compressed pages too.
    """
    return _lsn_layout(len(data) // page_size, page_size).unpack(data)


def is_damaged(page: memoryview, size: PageSize) -> bool:
    """True if InnoDB would call the page corrupted: its checksum is wrong, or it was written in part.

    False where that cannot be told: pages of zeros, encrypted pages and those compressed by the page, and
    pages written without a checksum or with the old kind, which servers before 5.7 made.
    Source: BlockReporter::is_corrupted, page_zip_calc_checksum.
    """
    return _is_zip_damaged(page, size) if size.is_compressed else _is_plain_damaged(page, size)


def damaged_pages(data: memoryview, size: PageSize) -> list[int]:
    """Which of the whole pages in ``data`` are damaged, by position; see ``is_damaged``."""
    step = size.physical
    return [at // step for at in range(0, len(data), step) if is_damaged(data[at : at + step], size)]


def _is_plain_damaged(page: memoryview, size: PageSize) -> bool:
    trailer = size.physical - _TRAILER_BYTES
    stored, low_lsn, kind = _HEAD.unpack_from(page)
    old, end_lsn = _TRAILER.unpack_from(page, trailer)
    if stored == old == _crc(page[4:26]) ^ _crc(page[_DATA:trailer]) and low_lsn == end_lsn:
        return False
    if kind in _OPAQUE_TYPES or _is_zeros(page):
        return False
    if low_lsn != end_lsn:
        return True
    if stored == old == _NO_CHECKSUM:
        return False
    return old != _old_checksum(page)


def _is_zip_damaged(page: memoryview, size: PageSize) -> bool:
    stored, _, kind = _HEAD.unpack_from(page)
    rest = page[_SPACE_ID : size.physical]
    if stored == _crc(page[4:_LSN]) ^ _crc(page[_TYPE : _TYPE + 2]) ^ _crc(rest):
        return False
    if kind in _OPAQUE_TYPES or stored == _NO_CHECKSUM or _is_zeros(page):
        return False
    return stored != zlib.adler32(rest, zlib.adler32(page[_TYPE : _TYPE + 2], zlib.adler32(page[4:_LSN], 0)))


_HEAD = struct.Struct(">I16xIH")
_TRAILER = struct.Struct(">II")


@lru_cache
def _lsn_layout(pages: int, page_size: int) -> struct.Struct:
    return struct.Struct(">" + f"{_LSN}xQ{page_size - _LSN - 8}x" * pages)


_FOLD_MASK_1 = 1463735687
_FOLD_MASK_2 = 1653893711


def _old_checksum(page: memoryview) -> int:
    """What the old kind of checksum has in the trailer: a hash of the page's first 26 bytes (ut_fold_binary).

    The hash of the whole page, in its head, would take milliseconds here; it is not looked at.
    """
    fold = 0
    for byte in page[:26]:
        fold = (((((fold ^ byte ^ _FOLD_MASK_2) << 8) + fold) ^ _FOLD_MASK_1) + byte) & 0xFFFFFFFF
    return fold


def _is_zeros(page: memoryview) -> bool:
    return bytes(page) == bytes(len(page))  # comparing a memoryview would take ten times as long


def _crc(data: memoryview) -> int:
    return google_crc32c.value(bytes(data))
