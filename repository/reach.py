"""Which backups are needed and which are free, from what manifests say of each other. Pure.

FORMAT.md, section 14, rules 5 to 8. Whatever is not known, or is not seen, can only keep more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from fleet.figures import moment
from repository.layout import BackupName

Reasons = Mapping[BackupName, tuple[str, ...]]


@dataclass(frozen=True)
class Known:
    """All that decides. Times are UTC, by the store's clock.

    ``needs``: of each backup whose manifest was read, those that it names. ``unreadable``: manifests that are
    there and tell nothing. ``marks``: since when retention has ended a backup; authentic ones alone.
    ``kept``: backups that somebody keeps, each with the reasons (holds, leases). ``given_up``: of the
    unreadable ones, those that a person gave up. ``attempts``: labels with wrapped keys and no manifest, and
    the time of the newest object of each.
    """

    needs: Mapping[BackupName, Sequence[BackupName]]
    now: datetime
    grace: timedelta
    unreadable: Collection[BackupName] = ()
    marks: Mapping[BackupName, datetime] = field(default_factory=dict[BackupName, datetime])
    kept: Reasons = field(default_factory=dict[BackupName, tuple[str, ...]])
    given_up: Collection[BackupName] = ()
    attempts: Mapping[BackupName, datetime] = field(default_factory=dict[BackupName, datetime])


@dataclass(frozen=True, slots=True)
class Reach:
    """What follows.

    ``needed``: every backup that must stay, with the reasons; also names for which there is no manifest.
    ``free``: in the order of deleting: none comes before one that needs it. Empty while ``unreadable``, those
    that may need anything and were not given up, is not. ``would_be_free``: as if they had been given up.
    ``leftovers``: labels of attempts that died. ``in_grace``: marked, and until when that can be taken back.
    """

    needed: Reasons
    free: tuple[BackupName, ...]
    would_be_free: tuple[BackupName, ...]
    leftovers: tuple[BackupName, ...]
    unreadable: tuple[BackupName, ...]
    in_grace: Mapping[BackupName, datetime]


def reach(known: Known, *, leftover_age: timedelta | None = None) -> Reach:
    """Decide. ``leftover_age``: how long a label without a manifest must have rested; at least the grace."""
    in_grace = {
        name: at + known.grace for name, at in sorted(known.marks.items()) if known.now < at + known.grace
    }
    needed = _needed(known, in_grace)
    unreadable = tuple(sorted(set(known.unreadable) - set(known.given_up)))
    gone = [name for name in {*known.needs, *known.given_up} if name not in needed]
    free = _dependents_first(gone, known.needs)
    rested = known.now - max(known.grace, leftover_age or known.grace)
    leftovers = tuple(
        name
        for name, newest in sorted(known.attempts.items())
        if newest <= rested
        and name not in needed
        and name not in known.kept
        and name not in known.needs
        and name not in known.unreadable
    )
    return Reach(needed, () if unreadable else free, free, leftovers, unreadable, in_grace)


def needed_by(
    names: Iterable[BackupName], needs: Mapping[BackupName, Sequence[BackupName]]
) -> dict[BackupName, tuple[BackupName, ...]]:
    """Of each backup that is none of ``names``, those of them that need it, be it through others; sorted."""
    asked = sorted(set(names))
    found: dict[BackupName, list[BackupName]] = {}
    for name in asked:
        met, waiting = {name}, [name]
        while waiting:
            new = set(needs.get(waiting.pop(), ())) - met
            met |= new
            waiting += new
        for need in met.difference(asked):
            found.setdefault(need, []).append(name)
    return {name: tuple(by) for name, by in found.items()}


def _needed(known: Known, in_grace: Mapping[BackupName, datetime]) -> Reasons:
    reasons: dict[BackupName, list[str]] = {}
    for name in sorted({*known.needs, *known.unreadable, *known.kept}):
        told = list(known.kept.get(name, ()))
        if name in in_grace:
            told.append(f"its mark can be taken back until {moment(in_grace[name])}")
        elif name in known.unreadable:
            if name not in known.given_up:
                told.append("its manifest cannot be read")
        elif name in known.needs and name not in known.marks:
            told.append("not marked")
        if told:
            reasons[name] = told
    waiting = sorted(reasons)
    while waiting:
        name = waiting.pop()
        for need in known.needs.get(name, ()):
            if need not in reasons:
                reasons[need] = []
                waiting.append(need)
    for name in sorted(reasons):
        for need in known.needs.get(name, ()):
            _add(reasons[need], f"needed by {name}")
    return {name: tuple(reasons[name]) for name in sorted(reasons)}


def _add(reasons: list[str], reason: str) -> None:
    """One backup that needs it is enough to tell: a full may have dozens."""
    if not any(each.startswith("needed by ") for each in reasons):
        reasons.append(reason)


def _dependents_first(
    names: Iterable[BackupName], needs: Mapping[BackupName, Sequence[BackupName]]
) -> tuple[BackupName, ...]:
    """Newest first among equals. What goes round in a circle, which is damage, comes last."""
    left = set(names)
    dependents = dict.fromkeys(left, 0)
    for name in left:
        for need in {*needs.get(name, ())} & left:
            dependents[need] += 1
    order: list[BackupName] = []
    ready = sorted((name for name, count in dependents.items() if not count), key=_newest_last)
    while ready:
        name = ready.pop()
        order.append(name)
        for need in sorted({*needs.get(name, ())} & left, key=_newest_last):
            dependents[need] -= 1
            if not dependents[need]:
                ready.append(need)
    return (*order, *sorted(left - set(order), key=_newest_last, reverse=True))


def _newest_last(name: BackupName) -> tuple[str, str]:
    return name.label, name.shard
