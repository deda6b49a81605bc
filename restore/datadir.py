"""The data directory before and after its files are filled: laid out first, made startable last."""

from __future__ import annotations

import os
from pathlib import Path

from restore.files import disk_errors, sync_file_system
from restore.journal import JOURNAL_NAME, Journal
from restore.plan import RestorePlan, parked_files, parked_name

_FILE_MODE = 0o640
_DIRECTORY_MODE = 0o750


def open_journal(plan: RestorePlan) -> Journal:
    """Make the target, and lock it by its journal. Raises ``TargetRefused``, ``DiskFull``."""
    with disk_errors(plan.directory):
        plan.directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        journal = Journal.open(
            plan.directory / JOURNAL_NAME, plan.header, plan.target.journal, go_on=plan.goes_on
        )
        _sync_directory(plan.directory)
    return journal


def lay_out(plan: RestorePlan, journal: Journal) -> None:
    """Remove what the plan removes, and make every directory and file in its final size.

    Raises ``DiskFull``, ``TargetRefused``. May be repeated.
    """
    with disk_errors(plan.directory):
        _park(plan)
        goes_on = plan.goes_on and plan.target.journal is not None and bool(plan.target.journal.done)
        if goes_on and plan.distrusted:
            # Told first: a new file may get the very inode of the old one.
            journal.distrust(plan.distrusted)
        for name in plan.remove_files:
            (plan.directory / name).unlink(missing_ok=True)
        for name in plan.remove_directories:
            (plan.directory / name).rmdir()
        _make_directories(plan)
        inodes = {entry.number: _lay_out_file(plan, entry.number) for entry in plan.manifest.files}
        sync_file_system(plan.directory)
        if not goes_on:
            journal.laid_out(inodes)


def make_startable(plan: RestorePlan) -> None:
    """Give the system tablespace its name: from here on a mysqld starts on the directory. May be repeated.

    The step that cannot be taken back comes last: were the file there from the beginning, then a restore
    that was killed half-way would leave a directory on which a mysqld starts, recovers what it finds, and
    serves it as if it were all.
    """
    with disk_errors(plan.directory):
        for entry in parked_files(plan.manifest.files):
            parked = plan.directory / parked_name(entry)
            if parked.exists():
                parked.rename(plan.directory / entry.name)
        _sync_directory(plan.directory)


def _park(plan: RestorePlan) -> None:
    """Take the system tablespace out of sight, before anything else of a working data directory changes."""
    for entry in parked_files(plan.manifest.files):
        present, parked = plan.directory / entry.name, plan.directory / parked_name(entry)
        if present.exists() and not parked.exists():
            present.rename(parked)
    _sync_directory(plan.directory)


def _make_directories(plan: RestorePlan) -> None:
    wanted = set(plan.manifest.directories)
    wanted |= {entry.name.rpartition("/")[0] for entry in plan.manifest.files} - {""}
    for name in sorted(wanted):
        (plan.directory / name).mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)


def _lay_out_file(plan: RestorePlan, number: int) -> int:
    """Returns the file's inode."""
    entry = plan.file(number)
    path = plan.directory / parked_name(entry)
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    if number in plan.fresh:
        path.unlink(missing_ok=True)
        flags |= os.O_CREAT | os.O_EXCL
    descriptor = os.open(path, flags, _FILE_MODE)
    try:
        seen = os.fstat(descriptor)
        if seen.st_size != entry.size:
            os.ftruncate(descriptor, entry.size)
        return seen.st_ino
    finally:
        os.close(descriptor)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
