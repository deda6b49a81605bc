"""The disks of this machine that Backstay writes to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from backup.archive.run import spool_directory
from drills.status import places
from drills.status.report import DiskSeen, Health, Judged
from fleet.figures import size
from fleet.model import Fleet
from fleet.state_place import state_directory

_PROOFS = "proofs"


def seen_disks(fleet: Fleet, repository_id: str) -> tuple[DiskSeen, ...]:
    """Each disk once, with all that it is for. One that cannot be asked is left out."""
    found: dict[int, DiskSeen] = {}
    for use, path in _places(fleet, repository_id):
        try:
            existing = next(each for each in (path, *path.parents) if each.exists())
            device, room = existing.stat().st_dev, os.statvfs(existing)
        except (OSError, StopIteration):
            continue
        # As df tells it: what is kept for root is neither used nor free.
        used = room.f_blocks - room.f_bfree
        percent = 100 * used / ((used + room.f_bavail) or 1)
        known = found.get(device)
        uses = f"{known.use}, {use}" if known else use
        found[device] = DiskSeen(
            known.path if known else str(path), uses, percent, room.f_bavail * room.f_frsize
        )
    return tuple(found.values())


def judge_disks(disks: tuple[DiskSeen, ...], critical_percent: float) -> Iterator[Judged]:
    """From `alerts.disk_percent` on it is critical, from ten below a warning. Pure.

    A disk for proofs alone is never more than a warning: no backup and no transaction waits for room there.
    """
    for disk in disks:
        if disk.used_percent >= critical_percent - 10:
            critical = disk.used_percent >= critical_percent and disk.use != _PROOFS
            message = f"is {disk.used_percent:.0f} % full, {size(disk.free_bytes)} free: {disk.use}"
            hint = f"Make room there; to see what takes it: df -h {disk.path}"
            health = Health.CRITICAL if critical else Health.WARNING
            yield Judged(health, "disk-full", f"disk of {disk.path}", message, hint)


def _places(fleet: Fleet, repository_id: str) -> Iterator[tuple[str, Path]]:
    if fleet.repository.scheme == "file":
        yield "repository", fleet.repository.path
    yield "archive's spool", spool_directory(fleet, repository_id, fleet.shards[0].name)
    yield "backups' spool", fleet.backup.spool_directory or Path(tempfile.gettempdir())
    yield "state of the service", state_directory(fleet)
    yield _PROOFS, places.proof_directory(fleet)
