"""A store in a folder: local disks and network mounts.

An object is written under a temporary name beside its place, synced, and then linked to its own name, which
fails when the name is taken: the one step in POSIX that both creates atomically and refuses to overwrite.
Folders are synced after each change, so what ``put`` and ``delete`` returned from survives a loss of power,
in that order.
"""

from __future__ import annotations

import os
import secrets
import stat
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from fleet.clock import Clock, SystemClock
from fleet.direct_io import open_direct, write_direct
from fleet.errors import ObjectExists, ObjectMissing, StoreDenied, StoreUnreachable
from repository.stores.filesystem_errors import mapped_to_store, plainly_missing
from repository.stores.interface import (
    Buffer,
    LockTerms,
    ObjectInfo,
    Page,
    Properties,
    Stored,
    all_pages,
    check_agrees,
    check_key,
    check_length,
    check_prefix,
    check_range,
    is_key,
)

# "~" occurs in no key, so a temporary file can neither be listed nor clash with an object.
_TEMPORARY = "tmp~"
# Many times what one put takes. A writer that is slower still finds its file gone and is told to try again.
LEFTOVER_AFTER_SECONDS = 6 * 3600.0

_TRIES = 20

# Below this, another open costs more than the page cache does.
_LARGE_BYTES = 1 << 20

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NO_OBJECT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class FilesystemStore:
    """Objects are files (0600) under ``root``, their folders (0700) are the parts of their keys.

    ``root`` itself is created by the first put, its parent is not: a folder on a disk that is not mounted
    must not be filled by mistake. Symbolic links below the root are refused, for they may lead out of it.
    What a crash left behind is invisible, and removed by ``list`` when it passes by and finds it six hours
    old.
    """

    properties = Properties(conditional_put=True, object_lock=False, versioned=False)
    lock: LockTerms | None = None

    def __init__(self, root: Path, *, clock: Clock | None = None) -> None:
        # Links in the root's own path are the user's, and are kept as written.
        self._root = Path.cwd() / root
        self._clock: Clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._durable_folders: set[str] = set()

    def describe(self) -> str:
        return f"file://{self._root}"

    def put(self, key: str, data: Buffer, *, if_absent: bool = True, sha256: bytes | None = None) -> Stored:
        check_key(key)
        check_agrees(key, data, sha256)
        size = memoryview(data).nbytes
        *folders, name = key.split("/")
        for _ in range(_TRIES):
            try:
                with mapped_to_store(key, self.describe()), self._folder(folders, create=True) as folder:
                    self._write(folder, name, data, if_absent=if_absent)
                    return Stored(size, sha256, None)
            except IsADirectoryError:
                raise ObjectExists(f"{key} in {self.describe()} is a folder of other objects") from None
            except FileNotFoundError:
                # A delete took the folder away as empty between our making it and our using it.
                self._forget(folders)
        raise StoreUnreachable(f"{key}: its folder in {self.describe()} vanishes as soon as it is made")

    def get(self, key: str) -> bytes:
        with self._opened(key) as (file, size):
            return _read(file, 0, size)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        check_key(key)
        check_range(offset, length)
        if length == 0:
            return b""
        with self._opened(key) as (file, _):
            data = _read(file, offset, length)
        check_length(key, offset, length, len(data))
        return data

    def stat(self, key: str) -> ObjectInfo:
        with self._opened(key) as (file, _):
            return _info(key, os.fstat(file))

    def delete(self, key: str) -> None:
        check_key(key)
        *folders, name = key.split("/")
        with mapped_to_store(key, self.describe()), suppress(*_NO_OBJECT):
            with self._folder(folders) as folder:
                os.unlink(name, dir_fd=folder)
                # Deletes must become durable in their order: manifest first, or a backup without data comes
                # back.
                os.fsync(folder)
            self._remove_empty(folders)

    def prolong(self, key: str, until: datetime) -> None:
        """A folder locks nothing."""

    def locked_until(self, key: str) -> datetime | None:  # noqa: ARG002 - it locks nothing
        return None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return all_pages(self, prefix)

    def list_page(self, prefix: str, token: str | None = None) -> Page:  # noqa: ARG002 - there is but one
        check_prefix(prefix)
        return Page(self._walk(prefix.split("/")[:-1], prefix), None)

    def _walk(self, parts: list[str], prefix: str) -> Iterator[ObjectInfo]:
        """One folder in the order of whole keys: a folder sorts as its name with the ``/`` behind it."""
        here = "".join(f"{part}/" for part in parts)
        with (
            mapped_to_store(here, self.describe()),
            suppress(FileNotFoundError, NotADirectoryError),
            self._folder(parts) as folder,
        ):
            for name in self._names(folder):
                key = here + name
                if not key.startswith(prefix[: len(key)]):
                    continue
                if name.endswith("/"):
                    yield from self._walk([*parts, name[:-1]], prefix)
                elif key.startswith(prefix):
                    with suppress(FileNotFoundError):
                        yield _info(key, os.stat(name, dir_fd=folder, follow_symlinks=False))

    def _names(self, folder: int) -> list[str]:
        """Objects, and folders with a ``/`` behind them, sorted. Everything else is not ours."""
        found: list[str] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(_TEMPORARY):
                    self._remove_leftover(folder, entry)
                elif is_key(entry.name) and entry.is_dir(follow_symlinks=False):
                    found.append(f"{entry.name}/")
                elif is_key(entry.name) and entry.is_file(follow_symlinks=False):
                    found.append(entry.name)
        return sorted(found)

    def _remove_leftover(self, folder: int, entry: os.DirEntry[str]) -> None:
        # Gone already is as good, and whoever may only read may still list.
        with suppress(OSError):
            age_seconds = self._clock.now().timestamp() - entry.stat(follow_symlinks=False).st_mtime
            if age_seconds > LEFTOVER_AFTER_SECONDS:
                os.unlink(entry.name, dir_fd=folder)

    def _write(self, folder: int, name: str, data: Buffer, *, if_absent: bool) -> None:
        temporary = f"{_TEMPORARY}{secrets.token_hex(12)}"
        try:
            _write_durably(folder, temporary, data)
            if if_absent:
                os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            else:
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
        os.fsync(folder)

    @contextmanager
    def _opened(self, key: str) -> Generator[tuple[int, int]]:
        """The object's descriptor and size, for reading."""
        check_key(key)
        *folders, name = key.split("/")
        with mapped_to_store(key, self.describe()):
            try:
                with self._folder(folders) as folder:
                    file = os.open(name, _READ, dir_fd=folder)
            except (FileNotFoundError, NotADirectoryError):
                raise ObjectMissing(f"{key} is not in {self.describe()}") from None
            try:
                found = os.fstat(file)
                if not stat.S_ISREG(found.st_mode):
                    raise ObjectMissing(
                        f"{key} is not an object in {self.describe()}, but a folder or a device"
                    )
                yield file, found.st_size
            finally:
                os.close(file)

    @contextmanager
    def _folder(self, parts: list[str], *, create: bool = False) -> Generator[int]:
        """A descriptor of the folder, reached part by part, so that no link on the way is ever followed."""
        folder = self._open_root(create=create)
        try:
            for depth, part in enumerate(parts):
                inner = self._step(folder, "/".join(parts[: depth + 1]), part, create=create)
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)

    def _open_root(self, *, create: bool) -> int:
        if create and not self._root.exists():
            if not self._root.parent.is_dir():
                raise StoreDenied(
                    f"the folder {self._root.parent}, which should hold the repository, does not exist",
                    hint="Create it, or mount the disk that it should be on.",
                )
            with suppress(FileExistsError):
                self._root.mkdir(mode=0o700)
            _sync_folder(self._root.parent)
        return os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _step(self, folder: int, path: str, part: str, *, create: bool) -> int:
        if create and path not in self._durable_folders:
            with suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=folder)
            # Also when another made it: its entry may not be on disk yet, and ours below would be lost with
            # it.
            os.fsync(folder)
            with self._lock:
                self._durable_folders.add(path)
        try:
            return os.open(part, _FOLDER, dir_fd=folder)
        except NotADirectoryError as error:
            self._explain(folder, path, part, create=create)
            raise error

    def _explain(self, folder: int, path: str, part: str, *, create: bool) -> None:
        if stat.S_ISLNK(os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode):
            raise StoreDenied(
                f"{path} in {self.describe()} is a symbolic link, which may lead out of the store",
                hint="Mount the other disk at this place instead of linking to it.",
            )
        if create:
            raise ObjectExists(f"{path} in {self.describe()} is an object, where a folder is needed")

    def _remove_empty(self, folders: list[str]) -> None:
        """Remove folders that hold nothing any more, from the inside out; one in use refuses by itself."""
        for depth in range(len(folders), 0, -1):
            self._forget(folders[:depth])
            try:
                with self._folder(folders[: depth - 1]) as outer:
                    os.rmdir(folders[depth - 1], dir_fd=outer)
                    os.fsync(outer)
            except OSError as error:
                if plainly_missing(error):
                    continue
                return

    def _forget(self, folders: list[str]) -> None:
        with self._lock:
            for depth in range(len(folders)):
                self._durable_folders.discard("/".join(folders[: depth + 1]))


def _write_durably(folder: int, name: str, data: Buffer) -> None:
    file = os.open(name, _CREATE, 0o600, dir_fd=folder)
    try:
        view = memoryview(data).cast("B")
        size = view.nbytes
        written = _write_large(folder, name, view) if size >= _LARGE_BYTES else 0
        while written < size:
            written += os.pwrite(file, view[written:], written)
        os.fsync(file)
        found = os.fstat(file).st_size
        if found != size:
            raise OSError(f"{size} bytes written, {found} found in the file")
    finally:
        os.close(file)


def _write_large(folder: int, name: str, data: memoryview) -> int:
    """Write whole blocks past the page cache, where that can be done; returns the bytes written."""
    file = open_direct(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    if file is None:
        return 0
    try:
        return write_direct(file, data, 0)
    finally:
        os.close(file)


def _read(file: int, offset: int, length: int) -> bytes:
    """Up to ``length`` bytes; fewer only where the file ends."""
    first = os.pread(file, length, offset)
    if len(first) == length:
        return first
    pieces = [first]
    while pieces[-1]:
        offset, length = offset + len(pieces[-1]), length - len(pieces[-1])
        pieces.append(os.pread(file, length, offset))
    return b"".join(pieces)


def _info(key: str, found: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
