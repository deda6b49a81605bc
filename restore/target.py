"""What stands where the restore is to go: gathered once, by looking only, so that the plan can be pure."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from fleet.errors import TargetRefused
from fleet.figures import size
from restore.journal import JOURNAL_NAME, JournalState, read_journal

SYSTEM_TABLESPACE = "ibdata1"
PARKED_SUFFIX = ".backstay-parked"
# A file system's own; it is not ours to remove, and mysqld passes it over.
_LOST_AND_FOUND = "lost+found"
_BLOCK_BYTES = 512
_TABLESPACE_NAMES = (SYSTEM_TABLESPACE, ".ibd", "undo_001")
# struct flock of 64-bit Linux: type, whence, start, length, pid.
_FLOCK = struct.Struct("@hhqqi")


class FoundFile(NamedTuple):
    """A file in the target. ``allocated`` is what it takes on the disk; both in bytes."""

    size: int
    allocated: int
    inode: int
    links: int


@dataclass(frozen=True)
class TargetFacts:
    """A directory as it was found. Names are relative, with ``/``; our own journal is not among them.

    ``links`` are symbolic links; what is neither that nor a directory is a file. ``locked_by`` is the
    process id of a server that holds the directory's system tablespace, 0 when it cannot be told which.
    ``data_directory_above`` is a directory above that is itself a data directory, where the target would
    pass for a schema. ``spared_bytes`` of ``free_bytes`` are for the service that lives on the same disk.
    """

    path: Path
    exists: bool = False
    files: Mapping[str, FoundFile] = field(default_factory=dict[str, FoundFile])
    directories: frozenset[str] = frozenset()
    links: tuple[str, ...] = ()
    free_bytes: int = 0
    journal: JournalState | None = None
    locked_by: int | None = None
    data_directory_above: Path | None = None
    spared_bytes: int = 0

    @property
    def room_bytes(self) -> int:
        """What may be used."""
        return max(self.free_bytes - self.spared_bytes, 0)

    @property
    def free_told(self) -> str:
        """For messages: what is free, and what of it must stay so."""
        told = f"{size(self.free_bytes)} are free"
        if not self.spared_bytes:
            return told
        return f"{told}, of which {size(self.spared_bytes)} must stay free for the service"

    @property
    def is_empty(self) -> bool:
        return not (self.files or self.directories or self.links or self.journal)

    @property
    def is_data_directory(self) -> bool:
        """Has it what each data directory of MySQL has? A restore keeps the first out of sight."""
        system = {SYSTEM_TABLESPACE, SYSTEM_TABLESPACE + PARKED_SUFFIX} & self.files.keys()
        return bool(system) and "mysql.ibd" in self.files


def look_at(target: Path) -> TargetFacts:
    """Look at ``target``, which need not exist, and change nothing. Raises ``TargetRefused``."""
    path = target.absolute()
    try:
        path = path.resolve()
        above = next((parent for parent in path.parents if (parent / SYSTEM_TABLESPACE).is_file()), None)
        nearest = path
        while not nearest.exists():
            nearest = nearest.parent
        if not nearest.is_dir():
            raise TargetRefused(
                f"{nearest} is not a directory", hint="Name a directory that is empty or not there yet."
            )
        free = _free_bytes(nearest)
        if nearest != path:
            return TargetFacts(path, free_bytes=free, data_directory_above=above)
        files, directories, links = _contents(path)
        return TargetFacts(
            path,
            exists=True,
            files=files,
            directories=frozenset(directories),
            links=tuple(sorted(links)),
            free_bytes=free,
            journal=read_journal(path / JOURNAL_NAME),
            locked_by=locked_by(path),
            data_directory_above=above,
        )
    except OSError as error:
        raise TargetRefused(
            f"cannot look at {error.filename or path}: {error.strerror}",
            hint="Run as the user that is to own the data directory, or as root.",
        ) from error


def _contents(root: Path) -> tuple[dict[str, FoundFile], list[str], list[str]]:
    files: dict[str, FoundFile] = {}
    directories: list[str] = []
    links: list[str] = []
    for name, entry in _walk(root, ""):
        if entry.is_dir(follow_symlinks=False):
            directories.append(name)
        elif entry.is_symlink():
            links.append(name)
        else:
            try:
                seen = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                # A server that ends on the directory drops files while they are looked at.
                continue
            files[name] = FoundFile(seen.st_size, seen.st_blocks * _BLOCK_BYTES, seen.st_ino, seen.st_nlink)
    return files, directories, links


def _walk(directory: Path, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if not prefix and entry.name in {_LOST_AND_FOUND, JOURNAL_NAME}:
                continue
            name = prefix + entry.name
            yield name, entry
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(directory / entry.name, f"{name}/")


def _free_bytes(path: Path) -> int:
    space = os.statvfs(path)
    return space.f_bavail * space.f_frsize


def locked_by(root: Path) -> int | None:
    """The process that runs on a data directory, 0 for one out of sight, None for nobody. Raises ``OSError``.

    InnoDB holds a POSIX record lock of each data file; yet such a lock is lost as soon as its process closes
    any descriptor of the file, which a server does when it is the donor of a clone. So processes are looked
    at too: mysqld's working directory is its data directory.
    """
    for name in (SYSTEM_TABLESPACE, "mysql.ibd"):
        holder = _lock_holder(root / name)
        if holder is not None:
            return holder
    return next(_processes_on(root), None)


def _lock_holder(path: Path) -> int | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ELOOP}:
            return None
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
        return None if kind == fcntl.F_UNLCK else max(pid, 0)
    finally:
        os.close(descriptor)


def _processes_on(root: Path) -> Iterator[int]:
    """Processes that work in ``root`` and have a file of it open, as far as this user may see them."""
    inside = f"{root.resolve()}/"
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if not (process / "cwd").samefile(root):
                continue
            open_files = [str(link.readlink()) for link in (process / "fd").iterdir()]
        except OSError:
            # It is somebody else's, or it is over.
            continue
        # A shell that stands in the directory has no tablespace open.
        if any(name.startswith(inside) and name.endswith(_TABLESPACE_NAMES) for name in open_files):
            yield int(process.name)
