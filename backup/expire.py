"""``expire``: retention ends backups. Nothing is deleted: they get a mark, which can be taken back.

The plan only reads; acting puts marks and takes some back. Killed at any point it leaves a repository in
which every kept backup still has all that it rests on, and the next run does what is left.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from backup.keeping import take_mark_back
from backup.promise import Promise, leading, why_promise_breaks
from fleet.clock import Clock, SystemClock
from fleet.errors import Cancelled, NotFound, RetentionRefused, ToolError
from fleet.figures import plural
from fleet.policy import Retention
from repository import layout
from repository.archive.archive import ShardArchive
from repository.archive.line import Line
from repository.catalog import BackupSummary, Catalog
from repository.findings import Findings
from repository.holds import Holds
from repository.layout import BackupName
from repository.leases import Leases
from repository.locks import prolong_kept
from repository.marks import Marks, MarksSeen
from repository.outlines import read_outlines
from repository.reach import needed_by
from repository.repository import Repository
from repository.retention import Decision, apply_policy, overdue, window_start
from repository.store_clock import StoreTime, ask_store_time, check_clock
from repository.stores.interface import Store
from repository.windows import go_by, length_of, windows_of

_KEPT_AHEAD = timedelta(days=7)
_SUFFERS = "Is the archive whole? `backstay archive status` shows its windows. Nothing was marked."


@dataclass(frozen=True, slots=True)
class Kept:
    """A backup that stays. ``reasons``: every rule that keeps it."""

    label: str
    kind: str
    finished_at: datetime
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """A backup that retention ends, or has ended: then ``marked_at`` says when, by the store's clock.

    ``stays_until``: before that moment it can be taken back for certain, and later until ``prune`` has
    deleted it; never if it is ``reduced`` to what others refer to. ``referred_by``: labels of backups that
    stay, oldest first; they need its pages, or what it builds on, and as far as they do it stays stored.
    ``stored_bytes``: its own objects; how much becomes free, ``prune`` tells.
    """

    label: str
    kind: str
    finished_at: datetime
    stored_bytes: int
    reason: str
    marked_at: datetime | None
    stays_until: datetime
    reduced: bool = False
    referred_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RefusedMark:
    """An object that looks like a mark, and counts for nothing."""

    label: str
    problem: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing of a shard is marked, and the way out."""

    message: str
    hint: str | None


@dataclass(frozen=True, slots=True)
class ShardExpiry:
    """One shard. ``expires`` are ended by this run, ``expired`` were by an earlier one.

    ``taken_back``: labels whose marks go, since the policy keeps them today, a hold does, or a kept backup
    rests on them. With ``refused`` nothing of the shard is marked; ``expires`` is then what would have been.
    """

    shard: str
    kept: tuple[Kept, ...]
    expires: tuple[Ended, ...]
    expired: tuple[Ended, ...]
    taken_back: tuple[str, ...]
    refused_marks: tuple[RefusedMark, ...]
    refused: Refusal | None


@dataclass(frozen=True, slots=True)
class Expiry:
    """What ``expire`` does, or with ``done`` has done. ``at``: the store's time; the window begins at
    ``window_from``.
    """

    done: bool
    at: datetime
    window_from: datetime
    grace_hours: float
    shards: tuple[ShardExpiry, ...]


def plan_expire(
    repository: Repository,
    policy: Retention,
    shards: Sequence[str] = (),
    *,
    clock: Clock | None = None,
    may_shrink: bool = False,
) -> Expiry:
    """Decide on the backups of ``shards``, or of all that have any. But for the store's clock it only reads.

    ``may_shrink``: more than half of a shard's backups may go at once. Raises ``RetentionRefused`` if the
    clocks disagree, ``KeyUnusable`` where no key opens anything, and what the store raises.
    """
    repository.keys.require_opener("expire")
    time = ask_store_time(repository.store, clock or SystemClock())
    check_clock(time)
    names = dict.fromkeys(shards or Catalog(repository).shards())
    planned = (_Shard(repository, policy, time, name).plan(may_shrink=may_shrink) for name in names)
    start = window_start(policy, time.now)
    return Expiry(
        done=False, at=time.now, window_from=start, grace_hours=policy.grace_hours, shards=tuple(planned)
    )


def expire(
    repository: Repository, plan: Expiry, *, by: str = "", cancelled: threading.Event | None = None
) -> Expiry:
    """Do what the plan says. Raises ``Cancelled``, ``FormatUnsupported`` and what the store raises.

    What an incremental continues is marked after it, and taken back before it: so nobody who dies here leaves
    a kept backup on a marked one. Two runs at once put the same marks.
    """
    marks = Marks(repository)
    for shard in plan.shards:
        for label in shard.taken_back:
            _check_going_on(cancelled)
            if not take_mark_back(marks, BackupName(shard.shard, label)):
                # What rests on it must not come back without it; the next run decides anew.
                break
        for ended in shard.expires if shard.refused is None else ():
            _check_going_on(cancelled)
            marks.put(BackupName(shard.shard, ended.label), ended.reason, by=by)
        if shard.refused is None and ShardArchive(repository, shard.shard).epochs():
            length, grace = length_of(plan.window_from, plan.at), timedelta(hours=plan.grace_hours)
            go_by(repository, shard.shard, length, grace, plan.at)
    prolong_kept(repository, needed_until(plan), plan.at, cancelled=cancelled)
    return replace(plan, done=True)


def needed_until(plan: Expiry) -> dict[BackupName, datetime]:
    """Until when each kept backup is needed at least, for stores that lock: the end of its own window and
    grace time, or a week where it is kept beyond that. Longer locks would keep what retention will end.
    """
    window = plan.at - plan.window_from + timedelta(hours=plan.grace_hours)
    return {
        BackupName(shard.shard, kept.label): max(kept.finished_at + window, plan.at + _KEPT_AHEAD)
        for shard in plan.shards
        for kept in shard.kept
    }


class _Shard:
    """One shard's backups, looked at once."""

    def __init__(self, repository: Repository, policy: Retention, time: StoreTime, shard: str) -> None:
        self._repository, self._policy, self._now, self._shard = repository, policy, time.now, shard
        # Marks first: what is marked meanwhile is then seen as unmarked, and stays unmarked by us or not.
        self._leases = Leases(repository).in_force(self._now, shard)
        self._marks: MarksSeen = Marks(repository).survey(shard)
        said = Marks(repository).reduced(shard) if self._marks.marks else {}
        self._reduced = said.keys() & self._marks.marks.keys()
        outlines = read_outlines(repository, _labels(repository.store, shard))
        own = sorted(name for name in outlines.backups if name.shard == shard)
        self._by_name = {
            name: replace(outlines.backups[name].summary, broken=outlines.broken(name)) for name in own
        }
        self._harmed = Findings(repository).harmed(outlines.backups).keys()
        self._needs = {name: outlines.backups[name].needs for name in own}
        self._unread = {name: error for name, error in outlines.unreadable.items() if name.shard == shard}

    def plan(self, *, may_shrink: bool) -> ShardExpiry:
        held = {each.backup for each in Holds(self._repository).in_force(self._now, self._shard)}
        # A backup that ends while we look lets its lease go: one that was seen at either end counts.
        leases = (*self._leases, *Leases(self._repository).in_force(self._now, self._shard))
        # A lease takes no mark back: prune goes by leases itself, and anybody can put one.
        unmarked = self._by_name.keys() - self._marks.marks.keys()
        in_use = {name for name in unmarked if any(lease.keeps(name) for lease in leases)}
        decision, refused = self._decide(held, in_use), None
        if decision.expire:
            decision, refused = self._checked(decision, held, in_use, may_shrink=may_shrink)
        if refused is None and not may_shrink:
            refused = self._asked()
        referring = needed_by(decision.keep, self._needs)
        return ShardExpiry(
            shard=self._shard,
            kept=tuple(self._kept(name, reasons) for name, reasons in decision.keep.items()),
            expires=tuple(
                self._ended(name, decision.expire[name], referring.get(name, ()))
                for name in self._newest_link_first(decision.expire)
            ),
            expired=tuple(
                self._ended(name, mark.reason, referring.get(name, ()), mark.marked_at)
                for name, mark in self._marks.marks.items()
                if name in self._by_name and name not in decision.unmark
            ),
            taken_back=tuple(name.label for name in self._newest_link_first(decision.unmark)[::-1]),
            refused_marks=tuple(RefusedMark(each.backup.label, each.problem) for each in self._marks.refused),
            refused=refused,
        )

    def _decide(
        self, held: set[BackupName], in_use: set[BackupName], leads: Iterable[BackupName] = ()
    ) -> Decision:
        backups, marked = tuple(self._by_name.values()), self._marks.marks
        return apply_policy(
            backups,
            self._policy,
            self._now,
            held,
            marked,
            in_use=in_use,
            leads=frozenset(leads),
            reduced=self._reduced,
            harmed=self._harmed,
        )

    def _checked(
        self, decision: Decision, held: set[BackupName], in_use: set[BackupName], *, may_shrink: bool
    ) -> tuple[Decision, Refusal | None]:
        """The decision with what the archive says of it, and why it is refused."""
        if self._unread:
            return decision, self._unreadable()
        unmarked = [each for name, each in self._by_name.items() if name not in self._marks.marks]
        try:
            promise = Promise(
                window_start(self._policy, self._now), self._now, _line_of(self._repository, self._shard)
            )
            # A clock says which backup leads into the window; the archive knows.
            unharmed = [each for each in unmarked if each.name not in self._harmed]
            leads = leading(promise, unmarked) | leading(promise, unharmed)
            decision = self._decide(held, in_use, leads)
            for there in (unmarked, unharmed):
                if why := why_promise_breaks(promise, there, decision.expire.keys()):
                    return decision, Refusal(f"the recovery window would suffer: {why}", _SUFFERS)
        except ToolError as error:
            if error.retryable or isinstance(error, Cancelled):
                raise
            told = f"it cannot be shown that the recovery window stays as it is: {error.message}"
            return decision, Refusal(told, error.hint)
        late = overdue(unmarked, self._policy, self._now, held, in_use) & decision.expire.keys()
        if may_shrink or 2 * len(late) <= len(unmarked):
            return decision, None
        told = (
            f"{len(late):,} of {plural(len(unmarked), 'backup')} would expire at once that this policy would "
            f"have ended two days ago: is retention.days = {self._policy.days:g} what was meant?"
        )
        return decision, Refusal(told, "If it is, or if expire has not run for days, add --yes-shrink.")

    def _asked(self) -> Refusal | None:
        """No backup need expire for archived binlogs to go: where others keep them, only this tells."""
        told = windows_of(self._repository, self._shard)
        length = length_of(window_start(self._policy, self._now), self._now)
        if length in told or 2 * length >= max(told, default=length):
            return None
        before = max(told) / timedelta(days=1)
        return Refusal(
            f"the recovery window would shrink from {before:g} days: is retention.days = "
            f"{self._policy.days:g} what was meant?",
            "If it is, add --yes-shrink: then archived binlogs go by it after the grace time.",
        )

    def _unreadable(self) -> Refusal:
        error = self._unread[max(self._unread)]
        count = plural(len(self._unread), "manifest")
        hint = (
            f"{error.hint or 'Give the key, or put the manifest back from another copy.'} If the backup is "
            f"lost for good: `backstay prune --give-up {max(self._unread)}`, at each run until it is gone."
        )
        return Refusal(f"{count} cannot be read, and may need any backup: {error.message}", hint)

    def _kept(self, name: BackupName, reasons: tuple[str, ...]) -> Kept:
        found = self._by_name[name]
        return Kept(found.label, found.kind, found.finished_at, reasons)

    def _ended(
        self,
        name: BackupName,
        reason: str,
        referring: Iterable[BackupName],
        marked_at: datetime | None = None,
    ) -> Ended:
        found = self._by_name[name]
        until = (marked_at or self._now) + timedelta(hours=self._policy.grace_hours)
        return Ended(
            found.label,
            found.kind,
            found.finished_at,
            found.stored_bytes,
            reason,
            marked_at,
            until,
            name in self._reduced,
            tuple(each.label for each in referring),
        )

    def _newest_link_first(self, names: Iterable[BackupName]) -> list[BackupName]:
        return sorted(names, key=lambda name: (_depth(name, self._by_name), name.label), reverse=True)


def _labels(store: Store, shard: str) -> Iterator[BackupName]:
    """All labels of which something is listed: a list of manifests that lacks one must not be believed."""
    for info in store.list(layout.manifests(shard)):
        if (backup := layout.parse_manifest(info.key)) is not None:
            yield backup
    for info in store.list(f"{layout.KEYS}{shard}/"):
        if (wrapped := layout.parse_wrapped_key(info.key)) is not None:
            yield wrapped[0]


def _line_of(repository: Repository, shard: str) -> Line | None:
    try:
        return Line.of(ShardArchive(repository, shard))
    except NotFound:
        return None


def _depth(name: BackupName, by_name: Mapping[BackupName, BackupSummary]) -> int:
    """How many links lie below it."""
    met: set[BackupName] = set()
    while name in by_name and name not in met:
        met.add(name)
        name = BackupName(name.shard, by_name[name].base or "")
    return len(met)


def _check_going_on(cancelled: threading.Event | None) -> None:
    if cancelled is not None and cancelled.is_set():
        raise Cancelled("expire was stopped", hint="What is marked stays marked; run it again for the rest.")


def refusal_of(expiry: Expiry) -> RetentionRefused | None:
    """The error for the first shard that was refused, or None."""
    for shard in expiry.shards:
        if shard.refused is not None:
            return RetentionRefused(
                f"nothing of shard {shard.shard} expires: {shard.refused.message}", hint=shard.refused.hint
            )
    return None
