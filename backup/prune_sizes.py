"""What backups took when they were stored, and what there is of them."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from backup.prune_survey import Surveyed, attempt
from repository.layout import BackupName
from repository.left import left_bytes
from repository.repository import Repository


class Size(NamedTuple):
    """In stored bytes. They differ where a backup was reduced to what others refer to."""

    stored_bytes: int
    left_bytes: int


def sizes_of(
    repository: Repository, surveyed: Surveyed, given_up: Collection[BackupName]
) -> dict[BackupName, Size]:
    """Of every backup that can be read, and of those ``given_up``. What no manifest tells is listed."""
    backups = surveyed.outlines.backups
    # Without a mark nothing lacks parts, whoever says so.
    reduced = surveyed.reduced.keys() & surveyed.marks.marks.keys() & backups.keys()
    left = left_bytes(repository, reduced)
    sizes = {
        name: Size(each.summary.stored_bytes, left.get(name, each.summary.stored_bytes))
        for name, each in backups.items()
    }
    for name in given_up:
        found = attempt(repository.store, name)
        sizes[name] = Size(found.stored_bytes, found.stored_bytes) if found else Size(0, 0)
    return sizes
