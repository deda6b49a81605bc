"""What `backstay serve` answers: what it would run, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PartPlanned:
    """A part that would be started."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """What `serve` would run: nothing was started, and both ports were free."""

    fleet: str
    directory: Path
    page: str
    scheduler: str
    parts: tuple[PartPlanned, ...]


@dataclass(frozen=True, slots=True)
class PartServed:
    """A part, and how often it was started."""

    name: str
    starts: int


@dataclass(frozen=True, slots=True)
class Served:
    """How a service ended: in order."""

    fleet: str
    directory: Path
    seconds: float
    parts: tuple[PartServed, ...]
