"""What an error of the operating system means for a store."""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager

from fleet.errors import ObjectExists, StoreDenied, StoreFull, StoreUnreachable

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EROFS, errno.EACCES, errno.EPERM}
_NO_LINKS = {errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}


@contextmanager
def mapped_to_store(key: str, place: str) -> Generator[None]:
    """Map ``OSError`` to our errors; those of a missing object are the caller's to judge and come out as they
    are.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise
    except FileExistsError as error:
        raise ObjectExists(f"{key} exists already in {place}") from error
    except OSError as error:
        raise _meaning(error, key, place) from error


def plainly_missing(error: OSError) -> bool:
    """Is it only that the name is not there?"""
    return error.errno in {errno.ENOENT, errno.ENOTDIR}


def _meaning(error: OSError, key: str, place: str) -> StoreFull | StoreDenied | StoreUnreachable:
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return StoreFull(
            f"no room for {key} in {place}: {reason}", hint="Free space there, or raise the quota."
        )
    if error.errno == errno.ELOOP:
        return StoreDenied(
            f"{key} in {place} is a symbolic link, which may lead out of the store",
            hint="Mount the other disk at this place instead of linking to it.",
        )
    if error.errno in _DENIED:
        return StoreDenied(
            f"{key} in {place} is refused: {reason}",
            hint="Check owner, mode and mount options of that folder; its file system must know hard links.",
        )
    if error.errno in _NO_LINKS:
        return StoreDenied(
            f"the file system of {place} has no hard links, so nothing is created there safely",
            hint="Use a file system such as ext4, XFS, ZFS or NFS.",
        )
    return StoreUnreachable(
        f"{key} in {place}: {reason}", hint="Look at the disk or the mount, and at the kernel's log."
    )
