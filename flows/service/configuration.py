"""The configuration while the service runs: a change is taken as soon as it is right, and never before."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fleet.config import load
from fleet.errors import ToolError
from fleet.model import Fleet
from flows.service.parts import accepted_copy


@dataclass(frozen=True)
class Change:
    """A configuration that reads: ``content`` are the bytes that ``fleet`` was made of."""

    fleet: Fleet
    content: bytes


class Configuration:
    """The file that was told to the service, watched. ``problem``: why its newest content does not count."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.problem: str | None = None
        self._seen = _signature(self.path)

    def read(self) -> Change:
        """What it says now. Raises ``ConfigError``."""
        while True:
            before = _signature(self.path)
            fleet = load(self.path)
            content = self.path.read_bytes()
            if before == _signature(self.path):
                self._seen = before
                return Change(fleet, content)

    def changed(self, *, asked: bool = False) -> Change | None:
        """What it says, if it was written since it was read last, or if it is ``asked`` for."""
        signature = _signature(self.path)
        if signature == self._seen and not asked:
            return None
        self._seen = signature
        try:
            change = self.read()
        except (ToolError, OSError) as error:
            self.problem = getattr(error, "message", str(error))
            return None
        self.problem = None
        return change


def accept(change: Change, directory: Path) -> None:
    """From now on all parts read this configuration."""
    copy = accepted_copy(directory)
    new = copy.with_name(f"{copy.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(change.content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(copy)


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
