"""What a story found, as values: its steps, the tables they make, and the aims they reach or miss. Pure.

A story is a row of commands that build on each other, such as a full backup, a change, and an incremental.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.measuring import Usage
from benchmarks.results import NOISE, median_usage


@dataclass(frozen=True)
class Step:
    """One measured command of a story, of all rounds, or why it failed.

    ``part`` says of what (a change, a day), ``name`` which command. ``added_bytes``: by how much its
    repository, or its target, grew. ``report``: our own figures of the last round.
    """

    part: str
    name: str
    title: str
    usages: tuple[Usage, ...] = ()
    added_bytes: int = 0
    report: Mapping[str, Any] = field(default_factory=dict[str, Any])
    error: str | None = None

    @property
    def usage(self) -> Usage | None:
        """The median of every figure, the highest memory; None if it never finished."""
        return median_usage(self.usages) if self.usages else None

    @property
    def seconds(self) -> float | None:
        """Wall seconds; None if it never finished."""
        return self.usage.seconds if self.usage else None


@dataclass(frozen=True)
class Sheet:
    """A table as it is printed: the first column is text, all others are figures."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Aim:
    """A promise: ``value`` shall be at most ``limit``, or ``at_least`` that. ``value`` None: a step that it
    needs failed.
    """

    text: str
    value: float | None
    limit: float
    at_least: bool = False

    @property
    def reached(self) -> bool:
        """Whether it was kept."""
        if self.value is None:
            return False
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        value = "not measured" if self.value is None else f"{self.value:.2f}"
        aim = f"at least {self.limit:.2f}" if self.at_least else f"{self.limit:.2f}"
        return f"{self.text}: {value}, aim {aim}: {'reached' if self.reached else 'MISSED'}"


@dataclass(frozen=True)
class Told:
    """All that one story found. ``failures``: checks that were not passed, such as other checksums."""

    story: str
    facts: Mapping[str, str]
    steps: tuple[Step, ...]
    sheets: tuple[Sheet, ...]
    aims: tuple[Aim, ...] = ()
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[str, ...]:
        """Every step that ended badly and every check that was not passed, in words."""
        steps = (f"{step.part}, {step.title}: {step.error}" for step in self.steps if step.error)
        return (*steps, *self.failures)

    @property
    def noisy(self) -> tuple[Step, ...]:
        """Steps during which others used more than a tenth of the machine."""
        return tuple(step for step in self.steps if step.usage and step.usage.noise > NOISE)


def step_named(steps: Sequence[Step], part: str, name: str) -> Step | None:
    """The step of that part and name, if it finished."""
    return next((step for step in steps if (step.part, step.name) == (part, name) and step.usages), None)


def ratio(value: float | None, to: float | None) -> float | None:
    """``value`` by ``to``; None if one is not known or there is nothing to compare with."""
    return value / to if value is not None and to else None


def shown(value: float | None, digits: int = 1) -> str:
    """A figure of a table."""
    return "-" if value is None else f"{value:,.{digits}f}"


def megabytes(count_bytes: float | None) -> str:
    """Bytes as a figure of a table: MB, with a digit where there are few."""
    if count_bytes is None:
        return "-"
    return shown(count_bytes / 1e6, 0 if abs(count_bytes) >= 1e8 else 1)
