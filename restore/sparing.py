"""What a restore leaves free on a disk that it shares with the service: its state, and the archive's spool.

Where those find no room, the archive stands still and nobody is told of anything. A disk of its own a restore
may fill to the last byte.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from fleet.errors import DiskFull
from fleet.figures import size
from fleet.model import Fleet
from fleet.state_place import archive_spool, state_directory
from restore.files import disk_errors
from restore.target import TargetFacts, look_at
from restore.wording import GOES_ON_HINT

_LEAST_BYTES = 256 << 20
_MOST_BYTES = 10 * 10**9
_TWENTIETH = 20
_QUARTER = 4
_ENDS_AT_BYTES = 64 << 20
_FIFTIETH = 50


def spared_bytes(disk_bytes: int) -> int:
    """Of a disk of that size: a twentieth, 256 MiB at least and 10 GB at most; of a small one a quarter."""
    wanted = max(min(disk_bytes // _TWENTIETH, _MOST_BYTES), _LEAST_BYTES)
    return min(wanted, disk_bytes // _QUARTER)


def look_sparing(fleet: Fleet, target: Path) -> TargetFacts:
    """``look_at``, and what must stay free there. Raises as it does."""
    return replace(look_at(target), spared_bytes=spared_for(fleet, target))


def spared_for(fleet: Fleet, target: Path) -> int:
    """Bytes that must stay free on the disk of ``target``, which need not exist; 0 on a disk of its own.

    Raises ``TargetRefused`` for a disk that cannot be asked.
    """
    with disk_errors(target):
        nearest = _nearest(target.absolute())
        device = nearest.stat().st_dev
        if not any(place.stat().st_dev == device for place in _places(fleet, target.absolute())):
            return 0
        room = os.statvfs(nearest)
        return spared_bytes(room.f_blocks * room.f_frsize)


def check_spared(facts: TargetFacts) -> None:
    """For what grows while it goes on: raise ``DiskFull`` when half of what is spared is used up.

    Also on a disk of its own before it is full: what a server says then looks like a fault of the data.
    """
    with disk_errors(facts.path):
        room = os.statvfs(_nearest(facts.path))
    free, whole = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
    least = max(facts.spared_bytes // 2, min(_ENDS_AT_BYTES, whole // _FIFTIETH))
    if free < least:
        raise DiskFull(
            f"{facts.path}: the replay grows, and {size(free)} are free, less than the {size(least)} at "
            "which it ends",
            hint=f"Make room there. {GOES_ON_HINT}",
        )


def _places(fleet: Fleet, target: Path) -> Iterator[Path]:
    state = state_directory(fleet)
    for place in (state, archive_spool(fleet)):
        if (reached := _reached(place)) is not None:
            yield reached
    if target.is_relative_to(state):
        # It will be there with the target.
        yield _nearest(state)


def _reached(place: Path) -> Path | None:
    """It, if it is there. Where this user may not look, what can be asked above it, which is the same disk
    as far as anybody can tell: nobody's restore is refused for that.
    """
    try:
        place.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return _reached(place.parent)
    return place


def _nearest(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())
