"""Which ways of keeping backups fit into a given storage. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from repository.forecast import LONGEST_DAYS, Keeping, Load, Slot, plateau, sum_usage

REBASES = (2, 3, 4, 5, 7, 14, 21, 28, 35, 42, 49, 56, 63, 70, 77, 84, 91)
DAYS = (90, 60, 45, 30, 21, 14, 7)

_DAY_OF_WEEK = 7


@dataclass(frozen=True, slots=True)
class Policy:
    """One way of keeping. ``fulls``: how often, ``full``: what they store; of ``rebase_every`` fulls one
    stores all pages. Its plateau is at most ``most_bytes`` and at least ``least_bytes``.
    """

    days: float
    fulls: Literal["as scheduled", "daily", "weekly"]
    full: Literal["stored", "referring"]
    rebase_every: int
    most_bytes: float | None
    least_bytes: float | None
    fits: bool
    configured: bool = False


@dataclass(frozen=True, slots=True)
class Fit:
    """What fits into ``bound_bytes``: that of the config first, then the best for each number of days."""

    bound_bytes: int
    policies: tuple[Policy, ...]


def fit(loads: Sequence[Load], keeping: Keeping, slots: tuple[Slot, ...], bound_bytes: int) -> Fit:
    """For the days of the config and fewer: each kind of fulls with the most of them stored that fits.

    Where nothing of a kind fits, that which takes the least is told.
    """
    timetables: Mapping[Literal["daily", "weekly"], tuple[Slot, ...]] = {
        "daily": _regular(slots, 1),
        "weekly": _regular(slots, _DAY_OF_WEEK),
    }
    found = [replace(_judge(loads, keeping, slots, "as scheduled", bound_bytes), configured=True)]
    for days in sorted({keeping.days, *(each for each in DAYS if each < keeping.days)}, reverse=True):
        for fulls, timetable in timetables.items():
            for tried in _kinds(replace(keeping, days=days)):
                judged = [_judge(loads, each, timetable, fulls, bound_bytes) for each in tried]
                reached = [each for each in judged if each.most_bytes is not None]
                fitting = next((each for each in reached if each.fits), None)
                if fitting or reached:
                    found.append(fitting or min(reached, key=lambda each: each.most_bytes or 0.0))
    return Fit(bound_bytes, tuple(found))


def _kinds(keeping: Keeping) -> Iterator[list[Keeping]]:
    """Each in the order in which fewer and fewer fulls store all pages."""
    yield [replace(keeping, full="stored")]
    yield [replace(keeping, full="referring", rebase_every=every) for every in REBASES]


def _judge(
    loads: Sequence[Load],
    keeping: Keeping,
    slots: tuple[Slot, ...],
    fulls: Literal["as scheduled", "daily", "weekly"],
    bound_bytes: int,
) -> Policy:
    plateaus = [plateau(load, keeping, slots) for load in loads]
    known = [each for each in plateaus if each is not None]
    total = sum_usage(known) if len(known) == len(plateaus) else None
    return Policy(
        days=keeping.days,
        fulls=fulls,
        full=keeping.full,
        rebase_every=keeping.rebase_every if keeping.full == "referring" else 1,
        most_bytes=total.total_bytes if total else None,
        least_bytes=total.least_bytes if total else None,
        fits=total is not None and total.total_bytes <= bound_bytes,
    )


def _regular(slots: tuple[Slot, ...], every_days: int) -> tuple[Slot, ...]:
    """A full every so many days, at the time of the first one; incrementals as they are."""
    first = next((slot.day for slot in slots if slot.full), 0.0)
    count = int((LONGEST_DAYS - first) / every_days) + 1
    fulls = [Slot(first + number * every_days, full=True) for number in range(count)]
    taken = {slot.day for slot in fulls}
    rest = [slot for slot in slots if not slot.full and slot.day not in taken]
    return tuple(sorted([*fulls, *rest]))
