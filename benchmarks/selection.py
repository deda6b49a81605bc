"""Which cases are wanted, by the words of ``--only``. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.cases import Case
from fleet.errors import UsageError

USUAL_MB = 2048
LARGE_MB = 20480
DONOR_COST = "donor-cost"
MEMORY_LARGE = "memory-large"
_LARGE_CASES = ("backstay-files", "backstay-s3", "fetch-files")
_COST_CASES = ("backstay-files", "backstay-s3", "tar-files", "mysqldump")


@dataclass(frozen=True)
class Selection:
    """Names of the cases to measure, and of those beside which the load runs."""

    cases: tuple[str, ...]
    beside_load: tuple[str, ...]


def select(cases: Sequence[Case], only: Sequence[str]) -> Selection:
    """Everything if ``only`` is empty; else each word picks cases by name, or by part of a group's name.

    Raises UsageError for a word that picks nothing.
    """
    names = [case.name for case in cases]
    cost = tuple(name for name in _COST_CASES if name in names)
    if not only:
        return Selection(tuple(names), cost)
    picked: list[str] = []
    for word in only:
        if word == MEMORY_LARGE:
            found = [name for name in _LARGE_CASES if name in names]
        else:
            found = [case.name for case in cases if word == case.name or word in case.group.value]
        if not found and word != DONOR_COST:
            raise UsageError(
                f"no case is named {word}",
                hint=f"There are: backup, restore, {DONOR_COST}, {MEMORY_LARGE}, {', '.join(names)}.",
            )
        picked += found
    return Selection(tuple(dict.fromkeys(picked)), cost if DONOR_COST in only else ())


def room_for(only: Sequence[str]) -> int:
    """Times the size of the data that the disk must have free: the donor, a copy, what the backups leave."""
    return 3 if set(only) == {MEMORY_LARGE} else 6


def size_for(only: Sequence[str]) -> int:
    """Megabytes of data when nobody says how many."""
    return LARGE_MB if MEMORY_LARGE in only else USUAL_MB
