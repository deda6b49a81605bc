"""What of a spool still waits for the store, as somebody sees who is not the archiver.

A spool file goes when it is full and all in it is stored: what lies on the disk is more than what waits.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from backup.archive.spool_file import KeyOf, SpoolFile
from fleet.errors import DiskFull
from repository.archive.archive import ShardArchive


class SpoolWaiting(NamedTuple):
    """Bytes of events that are not stored, and the spool files in which they lie."""

    files: int
    bytes: int


def spool_waiting(directory: Path, archive: ShardArchive, key_of: KeyOf, scope: str) -> SpoolWaiting:
    """``scope``: repository id and shard. Nothing is changed, so an archiver may be at work.

    Files behind the first that waits whole are counted by their size: the store takes them in order. Raises
    what the store raises, ``KeyUnusable``, and ``ObjectDamaged`` for a spool of another shard.
    """
    files = count = 0
    waits_whole = False
    for path in sorted(directory.glob("*.spool")):
        try:
            waiting, stored = (
                (path.stat().st_size, 0) if waits_whole else _look_into(path, archive, key_of, scope)
            )
        except (DiskFull, FileNotFoundError):
            # The archiver has stored it in this moment.
            continue
        waits_whole = bool(waiting) and not stored
        files += bool(waiting)
        count += waiting
    return SpoolWaiting(files, count)


def _look_into(path: Path, archive: ShardArchive, key_of: KeyOf, scope: str) -> tuple[int, int]:
    """Bytes of events that wait, and that are stored."""
    opened = SpoolFile.open(path, key_of, scope)
    if opened is None:
        return 0, 0
    waiting = stored = 0
    try:
        # First what is in the spool: what the store then lacks of it waited.
        batches = list(opened.batches())
        end = archive.file(opened.file).end
    finally:
        opened.close()
    for batch in batches:
        rest = max(0, batch.end - max(batch.start, end))
        waiting += rest
        stored += batch.end - batch.start - rest
    return waiting, stored
