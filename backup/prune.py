"""Prune: delete what retention has ended, and nothing that a promise rests on (FORMAT.md, section 14).

Look at everything, decide, show that all that is promised can still be planned from what will be left, and
only then delete, in an order that leaves a readable repository at every step. A run that dies is carried on
by the next. A backup goes in two runs with an hour between them: the first says that it will go, and from
then on nobody builds on it; the second looks at everything again, and deletes it.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from backup.prune_act import Deleting, resting_on
from backup.prune_archive import ShardArchivePlan, plan_archive
from backup.prune_check import PlanPoints, PointCheck, check_archives, check_backups, later_view
from backup.prune_plan import (
    BackupGoing,
    BackupKept,
    ForgedMark,
    LeftoverGoing,
    PrunePlan,
    PruneResult,
    Spared,
    Tally,
    UnreadableSeen,
)
from backup.prune_reduce import AGAIN, ReducePlan, plan_reducing
from backup.prune_sizes import Size, sizes_of
from backup.prune_survey import Surveyed, left_over, survey
from fleet.clock import Clock, SystemClock
from fleet.errors import Cancelled, NotFound, RetentionRefused, ToolError, UsageError
from fleet.figures import plural
from fleet.policy import Retention
from fleet.progress import Progress, Silent
from repository import layout
from repository.layout import BackupName
from repository.marks import Marks
from repository.reach import Reach, reach
from repository.repository import Repository
from repository.retention import window_start

PAUSE = timedelta(hours=1)
"""Between the run that says that a backup will go, and the one that deletes it."""

_EDGE = 1


@dataclass(frozen=True, slots=True)
class Deeds:
    """What a plan means. ``needs``: of each backup, those that it names.

    ``stale``: backups that are not free, and have a ``pruning``. ``names``: what ``left_over`` found.
    """

    given_up: frozenset[BackupName]
    needs: Mapping[BackupName, Sequence[BackupName]]
    archives: tuple[ShardArchivePlan, ...]
    stale: tuple[BackupName, ...]
    names: tuple[str, ...]
    reducing: ReducePlan
    repack_below: float


@dataclass(frozen=True, slots=True)
class _Choice:
    """What was found and decided. ``start``: where the recovery window begins."""

    surveyed: Surveyed
    sizes: Mapping[BackupName, Size]
    reached: Reach
    shards: tuple[str, ...]
    start: datetime
    pause: timedelta
    going: tuple[BackupGoing, ...]
    leftovers: tuple[LeftoverGoing, ...]
    reducing: ReducePlan
    archives: list[ShardArchivePlan] = field(default_factory=list[ShardArchivePlan])


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan that was checked, and what it means. With a ``refusal`` nothing of it may be done."""

    plan: PrunePlan
    deeds: Deeds
    refusal: RetentionRefused | None


def prepare_prune(
    repository: Repository,
    policy: Retention,
    shards: Collection[str] = (),
    *,
    archived: Iterable[str] = (),
    clock: Clock | None = None,
    pause: timedelta = PAUSE,
    again: timedelta = AGAIN,
    give_up: Collection[BackupName] = (),
    plan_points: PlanPoints | None = None,
) -> Prepared:
    """Look, decide and check; deletes nothing but the object by which it asks the time.

    ``shards``: those of which something may go; all if empty. ``archived``: shards that may have an archive
    and no backup. ``give_up``: backups whose manifests cannot be read, and that a person gives up.
    ``plan_points`` plans restores, from what will be left.

    Raises ``RetentionRefused`` if this machine's clock is wrong, ``UsageError``, ``NotFound``, and what the
    store raises; what else forbids to delete is in ``refusal``.
    """
    surveyed = survey(repository, policy, clock or SystemClock())
    _check_given_up(surveyed, give_up)
    sizes = sizes_of(repository, surveyed, give_up)
    choice = _choose(
        surveyed, sizes, policy, shards, pause=pause, again=again, give_up=give_up, archived=archived
    )
    refusal = _refuse_unreadable(choice)
    try:
        for shard in choice.shards:
            if (found := plan_archive(repository, shard, surveyed, choice.reached, policy)) is not None:
                choice.archives.append(found)
        if refusal is None:
            _check(repository, choice, plan_points)
    except ToolError as error:
        refusal = refusal or _as_refusal(error)
    names = left_over(repository, surveyed.now)
    plan = _plan(choice, give_up, names, refusal)
    free = {each.name for each in choice.going}
    stale = tuple(name for name in surveyed.pruning if name not in free and name in surveyed.outlines.backups)
    deeds = Deeds(
        frozenset(give_up),
        surveyed.needs,
        tuple(choice.archives),
        stale,
        names,
        choice.reducing,
        policy.repack_below,
    )
    return Prepared(plan, deeds, refusal)


def prune(
    repository: Repository,
    prepared: Prepared,
    *,
    clock: Clock | None = None,
    progress: Progress | None = None,
    cancelled: threading.Event | None = None,
) -> PruneResult:
    """Do what was planned. Each backup's mark, holds and leases are looked at once more before it goes.

    What the store has locked stays, and is told with its date. Raises the plan's ``refusal``, ``Cancelled``,
    ``FormatUnsupported`` and what the store raises; nothing is lost then, and the next run carries on.
    """
    if prepared.refusal is not None:
        raise prepared.refusal
    repository.check_may("delete")
    clock = clock or SystemClock()
    began = clock.monotonic()
    plan, deeds, tally = prepared.plan, prepared.deeds, Tally()
    work = Deleting(repository, tally, progress or Silent(), cancelled or threading.Event())
    # First, so that their hour begins however long the rest takes.
    _announce(repository, plan, deeds, tally)
    stays: set[BackupName] = set()
    for going in plan.of("delete"):
        if going.name in stays:
            tally.spared.append(Spared(going.shard, going.label, "a backup that rests on it stays"))
        elif not work.backup(going, given_up=going.name in deeds.given_up):
            stays |= resting_on([going.name], deeds.needs)
    for leftover in plan.leftovers:
        work.leftover(leftover)
    for archive in deeds.archives:
        work.archive(archive)
    for reducing in deeds.reducing.backups:
        if reducing.step == "reduce":
            referring = deeds.reducing.referring[reducing.name]
            work.reduce(reducing, referring, below=deeds.repack_below)
    work.names(deeds.names)
    return _result(plan, tally, clock.monotonic() - began)


def _announce(repository: Repository, plan: PrunePlan, deeds: Deeds, tally: Tally) -> None:
    """Take back what was said of backups that stay, and say what goes and what shrinks after the hour."""
    marks = Marks(repository)
    for name in deeds.stale:
        repository.store.delete(layout.pruning_mark(name))
    for name in deeds.reducing.stale:
        repository.store.delete(layout.reducing_mark(name))
    for going in plan.of("begin"):
        tally.begun.append((going, marks.begin_pruning(going.name)))
    for reducing in deeds.reducing.backups:
        if reducing.step == "begin":
            tally.announced.append(marks.begin_reducing(reducing.name))


def _check_given_up(surveyed: Surveyed, give_up: Collection[BackupName]) -> None:
    for name in give_up:
        if name in surveyed.outlines.backups:
            raise UsageError(
                f"--give-up: {name} can be read",
                hint="Only a backup that cannot be read is given up; `backstay expire` ends others.",
            )
        if name not in surveyed.outlines.unreadable:
            unreadable = ", ".join(map(str, sorted(surveyed.outlines.unreadable))) or "none"
            raise NotFound(f"--give-up: there is no backup {name}", hint=f"Unreadable are: {unreadable}.")


def _choose(
    surveyed: Surveyed,
    sizes: Mapping[BackupName, Size],
    policy: Retention,
    shards: Collection[str],
    *,
    pause: timedelta,
    again: timedelta,
    give_up: Collection[BackupName],
    archived: Iterable[str],
) -> _Choice:
    grace = timedelta(hours=policy.grace_hours)
    known = surveyed.known(grace, give_up)
    reached = reach(known, leftover_age=max(grace, pause))
    every = {name.shard for name in (*surveyed.outlines.backups, *surveyed.attempts)} | set(archived)
    chosen = tuple(sorted(every & set(shards) if shards else every))
    return _Choice(
        surveyed,
        sizes,
        reached,
        chosen,
        window_start(policy, surveyed.now),
        pause,
        _going(surveyed, sizes, reached, chosen, pause),
        _leftovers(surveyed, reached, chosen),
        plan_reducing(surveyed, known, reached, chosen, policy, pause=pause, again=again),
    )


def _refuse_unreadable(choice: _Choice) -> RetentionRefused | None:
    unreadable = choice.reached.unreadable
    if not unreadable:
        return None
    first = unreadable[0]
    others = f", and {plural(len(unreadable) - 1, 'other')}" if len(unreadable) > 1 else ""
    problem = choice.surveyed.outlines.unreadable[first].message
    return RetentionRefused(
        f"{first}{others} cannot be read, and may need anything: {problem}",
        hint="Give the key, or put the manifest back from another copy of the repository. If the backup is "
        f"lost for good: --give-up {first}, at each run until it is gone.",
    )


def _as_refusal(error: ToolError) -> RetentionRefused:
    """What cannot be looked at cannot be shown to stay. Raises what a retry can cure."""
    if isinstance(error, RetentionRefused):
        return error
    if error.retryable or isinstance(error, Cancelled):
        raise error
    return RetentionRefused(f"it cannot be shown what would stay: {error.message}", hint=error.hint)


def _going(
    surveyed: Surveyed,
    sizes: Mapping[BackupName, Size],
    reached: Reach,
    shards: Collection[str],
    pause: timedelta,
) -> tuple[BackupGoing, ...]:
    """In the order of deleting. A backup goes only when all that rest on it go in the same run, or went."""
    needs = surveyed.needs
    free = reached.would_be_free
    staying = resting_on([name for name in free if name.shard not in shards], needs)
    found: list[BackupGoing] = []
    not_yet: set[BackupName] = set()
    for name in free:
        if name in staying:
            continue
        mark, began = surveyed.marks.marks.get(name), surveyed.pruning.get(name)
        # An older one belongs to a mark that was taken back since.
        due_at = began + pause if began and (mark is None or began >= mark.marked_at) else None
        ready = due_at is not None and due_at <= surveyed.now and name not in not_yet
        if not ready:
            not_yet |= resting_on([name], needs)
        found.append(
            BackupGoing(
                *name,
                *sizes[name],
                mark.reason if mark else "given up",
                "delete" if ready else "begin" if due_at is None else "wait",
                due_at,
            )
        )
    return tuple(found)


def _leftovers(surveyed: Surveyed, reached: Reach, shards: Collection[str]) -> tuple[LeftoverGoing, ...]:
    return tuple(
        LeftoverGoing(*name, seen.newest_at, seen.objects, seen.stored_bytes)
        for name in reached.leftovers
        if name.shard in shards and (seen := surveyed.attempts[name])
    )


def _check(repository: Repository, choice: _Choice, plan_points: PlanPoints | None) -> None:
    """Raise ``RetentionRefused`` unless all that is promised stays."""
    surveyed, needed = choice.surveyed, choice.reached.needed
    gone = {each.name for each in (*choice.going, *choice.leftovers)}
    check_backups(surveyed, gone)
    check_archives(choice.archives, surveyed)
    if plan_points is None:
        return
    later = later_view(repository, gone, choice.archives)
    check = PointCheck(repository, later, plan_points, surveyed.shorts)
    by_shard = {each.shard: each for each in choice.archives}
    touched = {name.shard for name in gone} | {each.shard for each in choice.archives if each.files}
    staying = {name: each for name, each in surveyed.whole().items() if name in needed}
    below = {need for each in staying.values() for need in each.needs}
    for shard in sorted(touched):
        tips = [name.label for name in sorted(staying) if name.shard == shard and name not in below]
        check.shard(shard, by_shard.get(shard), _at_the_edges(tips))


def _at_the_edges(labels: Sequence[str]) -> list[str]:
    """The oldest and the newest: those between are of other chains than what goes, as was shown before."""
    return sorted({*labels[:_EDGE], *labels[-_EDGE:]})


def _plan(
    choice: _Choice,
    give_up: Collection[BackupName],
    names: Collection[str],
    refusal: RetentionRefused | None,
) -> PrunePlan:
    surveyed, needed = choice.surveyed, choice.reached.needed
    marks, leaving = surveyed.marks.marks, {each.name for each in choice.going}
    stay = {name: choice.sizes[name] for name in sorted(surveyed.outlines.backups) if name not in leaving}
    return PrunePlan(
        now=surveyed.now,
        window_start=choice.start,
        pause_seconds=choice.pause.total_seconds(),
        backups=choice.going,
        reducing=choice.reducing.backups,
        marked=tuple(
            BackupKept(*name, *stay[name], marks[name].marked_at, needed.get(name, ("not asked for",)))
            for name in stay
            if name in marks
        ),
        kept_backups=len(stay),
        kept_bytes=sum(each.stored_bytes for each in stay.values()),
        left_bytes=sum(each.left_bytes for each in stay.values()),
        unreadable=tuple(
            UnreadableSeen(*name, error.message, name in give_up)
            for name, error in sorted(surveyed.outlines.unreadable.items())
        ),
        forged=tuple(ForgedMark(*each.backup, each.problem) for each in surveyed.marks.refused),
        leftovers=choice.leftovers,
        binlogs=tuple(file for archive in choice.archives for file in archive.going()),
        archives=tuple(archive.seen for archive in choice.archives),
        leases=sum(name.startswith(layout.LEASES) for name in names),
        trials=sum(name.startswith(layout.TRIALS) for name in names),
        turns=sum(name.startswith(layout.TURNS) for name in names),
        outcomes=sum(name.startswith(layout.OUTCOMES) for name in names),
        refused=refusal.message if refusal else None,
    )


def _result(plan: PrunePlan, tally: Tally, seconds: float) -> PruneResult:
    pause = timedelta(seconds=plan.pause_seconds)
    due = [(at + pause, going.left_bytes) for going, at in tally.begun]
    due += [(going.due_at, going.left_bytes) for going in plan.of("wait") if going.due_at]
    soon = [at + pause for at in tally.announced]
    soon += [each.due_at for each in plan.reducing if each.step == "wait" and each.due_at]
    next_at = max((*(at for at, _ in due), *soon), default=None)
    return PruneResult(
        backups=tuple(tally.backups),
        reduced=tuple(tally.reduced),
        leftovers=tuple(tally.leftovers),
        begun=tuple(str(going.name) for going, _ in tally.begun),
        binlog_files=tally.binlog_files,
        objects=tally.objects,
        freed_bytes=tally.freed_bytes,
        marked=plan.marked,
        archives=plan.archives,
        spared=tuple(tally.spared),
        locked=tuple(tally.locked),
        next_at=next_at,
        next_bytes=sum(stored for _, stored in due),
        seconds=seconds,
    )
