"""Which backups retention keeps, which it ends, and why. Pure: no store, no clock.

Kept is what the recovery window promises, the newest fulls whatever their age, those of days, weeks and
months beyond it, what is held or in use, and what any of these rests on. All else is expired. That is asked
twice: of all backups, and what has a mark and is kept is then taken back, for the policy may have changed;
and of those without a mark, for until a mark is gone nobody may count on what has one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from fleet.figures import duration
from fleet.policy import Retention
from repository.catalog import BackupSummary
from repository.layout import BackupName

_LEADS = "leads to the first points of the window"
_SKEW = timedelta(minutes=5)
"""So far a clock may be ahead of the store's where marks are put; what is dated later had a wrong one."""

_LATE = timedelta(days=2)
_EARLIEST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Decision:
    """``keep``: what stays, with its reasons. ``expire``: what is to be marked, with the reason for that.

    ``unmark``: of what stays, backups with a mark: the policy keeps them today, or a hold does, or a kept one
    rests on them. Backups with a mark that nothing keeps are in none of them.
    """

    keep: Mapping[BackupName, tuple[str, ...]]
    expire: Mapping[BackupName, str]
    unmark: tuple[BackupName, ...] = ()


def apply_policy(
    backups: Sequence[BackupSummary],
    policy: Retention,
    now: datetime,
    held: Collection[BackupName] = (),
    marked: Collection[BackupName] = (),
    *,
    in_use: Collection[BackupName] = (),
    leads: Collection[BackupName] = (),
    reduced: Collection[BackupName] = (),
    harmed: Collection[BackupName] = (),
) -> Decision:
    """Decide on ``backups``, of one shard or several, as they are at ``now`` (aware; the store's clock).

    ``held`` are those that a hold names, ``in_use`` those of a lease, ``marked`` those that have a mark,
    ``leads`` those that the archive needs to lead to the first points of the window. ``reduced``: of those
    with a mark, what lacks parts; neither it nor what rests on it is taken back. ``harmed``: what a finding
    harms (FORMAT.md, section 17); it takes no other one's place, and what would be kept with it unharmed is
    kept too. A backup is as old as its end, since it leads to no point before that.
    """
    by_shard: dict[str, list[BackupSummary]] = defaultdict(list)
    # A list may repeat an object.
    for backup in {each.name: each for each in backups}.values():
        by_shard[backup.shard].append(backup)
    keep: dict[BackupName, tuple[str, ...]] = {}
    expire: dict[BackupName, str] = {}
    for _, of_shard in sorted(by_shard.items()):
        choice = _OneShard(
            of_shard, policy, now, frozenset(marked), frozenset(reduced), harmed=frozenset(harmed)
        )
        reasons = choice.keep({"held": held, "in use": in_use, _LEADS: leads})
        keep |= {name: tuple(reasons[name]) for name in sorted(reasons)}
        expire |= choice.expire(reasons)
    return Decision(keep, expire, tuple(name for name in keep if name in marked))


def overdue(
    backups: Sequence[BackupSummary],
    policy: Retention,
    now: datetime,
    held: Collection[BackupName] = (),
    in_use: Collection[BackupName] = (),
) -> frozenset[BackupName]:
    """What the policy would have ended two days ago already, had it been in force.

    Where ``expire`` runs every day that is nothing; with a policy that was made smaller it is what goes now.
    """
    then = now - _LATE
    there = [each for each in backups if each.finished_at <= then]
    return frozenset(apply_policy(there, policy, then, held, in_use=in_use).expire)


def window_start(policy: Retention, now: datetime) -> datetime:
    """Where the recovery window begins: every point from there to ``now`` is promised."""
    try:
        return now - timedelta(days=policy.days)
    except OverflowError:
        return _EARLIEST


class Periods(NamedTuple):
    """The day, the week (from Monday) and the month, UTC, that a moment lies in. They rise with time."""

    day: int
    week: int
    month: int


def periods_of(at: datetime) -> Periods:
    """``at`` is aware."""
    date = at.astimezone(UTC).date()
    # Day 1 of the calendar was a Monday.
    day = date.toordinal()
    return Periods(day, (day - 1) // 7, 12 * date.year + date.month)


def newest_of_periods(
    fulls: Sequence[Periods], in_window: int, counts: tuple[int, int, int]
) -> Iterator[tuple[int, str]]:
    """Of so many days, weeks and months the newest of ``fulls``, which come newest first: its number, and the
    period's name. The first ``in_window`` are none, and nor is any other of the period of the last of these.
    """
    for kind, (name, count) in enumerate(zip(Periods._fields, counts, strict=True)):
        met = fulls[in_window - 1][kind] if in_window else None
        left = count
        for number in range(in_window, len(fulls)):
            if not left:
                break
            if fulls[number][kind] != met:
                met = fulls[number][kind]
                left -= 1
                yield number, name


class _OneShard:
    def __init__(
        self,
        backups: Iterable[BackupSummary],
        policy: Retention,
        now: datetime,
        marked: frozenset[BackupName],
        reduced: frozenset[BackupName],
        *,
        harmed: frozenset[BackupName],
    ) -> None:
        self._by_name = {each.name: each for each in sorted(backups, key=_age)}
        self._policy = policy
        self._now = now
        self._start = window_start(policy, now)
        self._harmed = harmed
        self._lost = self._resting_on(marked & reduced) & marked
        self._unmarked = [each for name, each in self._by_name.items() if name not in marked]
        self._there = [each for name, each in self._by_name.items() if name not in self._lost]

    def keep(self, also: Mapping[str, Collection[BackupName]]) -> dict[BackupName, list[str]]:
        reasons: dict[BackupName, list[str]] = defaultdict(list)
        for counted in (self._there, self._unmarked):
            # A finding may be forged, or all that is left: it ends nothing, and only keeps more.
            for backup, reason in (*self._by_policy(counted), *self._by_policy(self._without_harm(counted))):
                if reason not in reasons[backup.name]:
                    reasons[backup.name].append(reason)
        for reason, names in also.items():
            for name in self._by_name.keys() & set(names):
                if reason not in reasons[name]:
                    reasons[name].append(reason)
        self._add_chains(reasons)
        return {name: told for name, told in reasons.items() if name not in self._lost}

    def expire(self, kept: Collection[BackupName]) -> dict[BackupName, str]:
        return {
            each.name: self._why_not(each)
            for each in sorted(self._unmarked, key=lambda each: each.name)
            if each.name not in kept
        }

    def _without_harm(self, counted: Sequence[BackupSummary]) -> Sequence[BackupSummary]:
        return [each for each in counted if each.name not in self._harmed] if self._harmed else []

    def _by_policy(self, counted: Sequence[BackupSummary]) -> Iterable[tuple[BackupSummary, str]]:
        """What stays of these, as if there were no others; oldest first."""
        whole = [each for each in counted if each.broken is None]
        for each in counted:
            if each.finished_at > self._now + _SKEW:
                yield each, "ends in the future: the clock of who took it was wrong"
            elif each.finished_at >= self._start:
                yield (
                    each,
                    f"in the window of {_days(self._policy.days)}"
                    + (", though it is broken" if each.broken else ""),
                )
            elif not whole:
                yield each, "no backup of the shard is whole"
        before = [each for each in whole if each.finished_at < self._start]
        if before:
            yield before[-1], _LEADS
        # One with a date in the future would take the place of one that is known to be new.
        past = [each for each in whole if each.finished_at <= self._now + _SKEW]
        fulls = [each for each in past if each.kind == "full"][::-1]
        if whole:
            yield whole[-1], "the newest that is whole"
        for each in fulls[: self._policy.minimum_fulls]:
            yield each, _newest_of(self._policy.minimum_fulls)
        periods = [periods_of(each.finished_at) for each in fulls]
        in_window = sum(each.finished_at >= self._start for each in fulls)
        counts = (self._policy.keep_daily, self._policy.keep_weekly, self._policy.keep_monthly)
        for number, period in newest_of_periods(periods, in_window, counts):
            yield fulls[number], f"the newest full of its {period}"

    def _add_chains(self, reasons: dict[BackupName, list[str]]) -> None:
        """What a kept backup rests on stays, with or without a mark, as far down as it is there."""
        for name in list(reasons):
            met, below = {name}, self._base(name)
            while below is not None and below not in met:
                met.add(below)
                if not any(reason.startswith("base of ") for reason in reasons[below]):
                    reasons[below].append(f"base of {name.label}")
                below = self._base(below)

    def _resting_on(self, names: Collection[BackupName]) -> frozenset[BackupName]:
        """These, and all whose chain has one of them."""
        found = {name for name in names if name in self._by_name}
        size = -1
        while found and size < len(found):
            size = len(found)
            found |= {name for name in self._by_name if self._base(name) in found}
        return frozenset(found)

    def _base(self, name: BackupName) -> BackupName | None:
        base = self._by_name[name].base
        below = BackupName(name.shard, base) if base else None
        return below if below in self._by_name else None

    def _why_not(self, backup: BackupSummary) -> str:
        age = (self._now - backup.finished_at) / timedelta(days=1)
        told = f"{_days(age)} old, and the window is {_days(self._policy.days)}"
        return f"{told}; broken: {backup.broken}" if backup.broken else told


def _age(backup: BackupSummary) -> tuple[datetime, str]:
    return backup.finished_at, backup.label


def _days(days: float) -> str:
    if days < 1:
        return duration(days * 86400)
    return f"{round(days, 1):,g} day{'' if round(days, 1) == 1 else 's'}"


def _newest_of(count: int) -> str:
    return "the newest full" if count == 1 else f"one of the newest {count} fulls"
