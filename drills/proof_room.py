"""A directory for one proof: marked as ours while it is used, and gone afterwards, however the proof ends.

The mark is a file beside it that is locked for as long as its process lives. So who comes next knows what a
proof that died left behind, and deletes that, and nothing else.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from fleet.clock import Clock
from fleet.errors import TargetRefused
from restore.target import locked_by

MARK_SUFFIX = ".proof"

_NAME = re.compile(rf".+-[0-9a-f]{{8}}{re.escape(MARK_SUFFIX)}")
_PRIVATE = 0o700
_LEFT_SECONDS = 15.0
_POLL_SECONDS = 0.1


class ProofRoom:
    """Where a proof restores to: ``path``, which is not there yet. ``keep`` lets it stay."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_kept = False

    def keep(self) -> None:
        """It belongs to whoever asked for it from now on."""
        self.is_kept = True


@contextmanager
def proof_room(root: Path, name: str, clock: Clock, note: Callable[[str], None]) -> Generator[ProofRoom]:
    """A room below ``root``, whose name begins with ``name``. What died in ``root`` is deleted before.

    ``note`` is told what was, and what could not be deleted. Raises ``TargetRefused``.
    """
    try:
        root.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        sweep(root, clock, note)
        mark, descriptor = _mark(root, name)
    except OSError as error:
        raise TargetRefused(
            f"{root} cannot be used for a proof: {error.strerror}",
            hint="Name another directory with proof.directory, or give this user the right to write there.",
        ) from error
    room = ProofRoom(_room_of(mark))
    try:
        yield room
    finally:
        if room.is_kept or _delete(room.path, clock, note):
            mark.unlink(missing_ok=True)
        os.close(descriptor)


def sweep(root: Path, clock: Clock, note: Callable[[str], None]) -> None:
    """Delete what proofs that died left in ``root``; those that are at work are left alone, and so is what
    only looks like a mark: it has another name, or something in it, or cannot be opened as a file.
    """
    for mark in sorted(each for each in root.glob(f"*{MARK_SUFFIX}") if _NAME.fullmatch(each.name)):
        try:
            descriptor = _lock(mark)
        except OSError as error:
            note(f"{mark} cannot be opened and was left as it is: {error.strerror}")
            continue
        if descriptor is None:
            continue
        if os.fstat(descriptor).st_size:
            note(f"{mark} is not empty and was left as it is")
            os.close(descriptor)
            continue
        room = _room_of(mark)
        try:
            if room.exists():
                note(f"deleting what a proof that was killed left behind: {room}")
            if _delete(room, clock, note):
                mark.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def _mark(root: Path, name: str) -> tuple[Path, int]:
    while True:
        mark = root / f"{name}-{secrets.token_hex(4)}{MARK_SUFFIX}"
        with suppress(FileExistsError):
            os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            # Who sweeps may have taken it for a dead one's in between.
            descriptor = _lock(mark)
            if descriptor is not None:
                return mark, descriptor


def _lock(mark: Path) -> int | None:
    """A descriptor that holds the mark, or None if somebody else does, or it is gone."""
    try:
        descriptor = os.open(mark, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink:
            return descriptor
    except BlockingIOError:
        pass
    os.close(descriptor)
    return None


def _room_of(mark: Path) -> Path:
    return mark.with_name(mark.name.removesuffix(MARK_SUFFIX))


def _delete(room: Path, clock: Clock, note: Callable[[str], None]) -> bool:
    """Is it gone? A server that a dead process left on it is being ended by its guardian."""
    if not os.path.lexists(room):
        return True
    if room.is_symlink():
        note(f"{room} is a link and was left as it is")
        return False
    deadline = clock.monotonic() + _LEFT_SECONDS
    while locked_by(room) is not None and clock.monotonic() < deadline:
        clock.sleep(_POLL_SECONDS)
    if (holder := locked_by(room)) is not None:
        note(f"{room} was not deleted: process {holder} runs on it")
        return False
    try:
        shutil.rmtree(room)
    except OSError as error:
        note(f"{room} could not be deleted: {error.filename}: {error.strerror}")
        return False
    return True
