"""Writes past the page cache: the same bytes, whatever their length and wherever they go."""

import errno
import os
from pathlib import Path

import pytest

from fleet import direct_io
from fleet.direct_io import BLOCK_BYTES, BOUNCE_BYTES, open_direct, write_direct


@pytest.mark.parametrize("length", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, 3 * BOUNCE_BYTES + BLOCK_BYTES + 5])
@pytest.mark.parametrize("offset", [0, 5 * BLOCK_BYTES])
def test_whole_blocks_are_written_and_the_rest_is_told(tmp_path: Path, length: int, offset: int) -> None:
    path = tmp_path / "file"
    path.touch()
    data = os.urandom(length)
    descriptor = open_direct(path, os.O_WRONLY)
    if descriptor is None:
        pytest.skip("this file system knows no direct writes")
    try:
        written = write_direct(descriptor, memoryview(data), offset)
    finally:
        os.close(descriptor)
    assert written == length - length % BLOCK_BYTES
    if written:
        assert path.read_bytes() == bytes(offset) + data[:written]


def test_a_file_system_without_direct_writes_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(direct_io.os, "open", refuse)
    assert open_direct(tmp_path / "file", os.O_WRONLY) is None


def test_a_disk_that_wants_larger_blocks_leaves_the_writing_to_the_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(direct_io.os, "pwrite", refuse)
    assert write_direct(3, memoryview(bytes(2 * BLOCK_BYTES)), 0) == 0


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(direct_io.os, "pwrite", refuse)
    with pytest.raises(OSError, match="No space"):
        write_direct(3, memoryview(bytes(BLOCK_BYTES)), 0)
