"""What prune looks at before it decides: every backup in short, and who keeps what. Deletes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from fleet.clock import Clock
from fleet.figures import moment
from fleet.policy import Retention
from repository import layout
from repository.findings import Findings
from repository.holds import Hold, Holds
from repository.layout import BackupName
from repository.leases import Lease, Leases
from repository.marks import Marks, MarksSeen
from repository.outcomes import Outcomes
from repository.outlines import Outline, Outlines, read_outlines
from repository.reach import Known
from repository.repository import Repository
from repository.retention import apply_policy
from repository.shorts import Shorts
from repository.store_clock import ask_store_time, check_clock
from repository.stores.interface import ObjectInfo, Store
from repository.turns import Turns

_ROOMS = frozenset(
    {
        layout.MANIFESTS,
        layout.KEYS,
        layout.DATA,
        layout.PROOFS,
        layout.HOLDS,
        layout.FINDINGS,
        layout.EXPIRED,
    }
)
_TRIALS_AGE = timedelta(days=1)
WANTED = "the present policy keeps it: run `backstay expire`, which takes its mark back"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What there is of a label without a manifest. ``newest_at``: the time of its newest object."""

    newest_at: datetime
    objects: int
    stored_bytes: int


@dataclass(frozen=True)
class Surveyed:
    """The repository as it was at ``now``, by the store's clock.

    ``shorts`` read the manifests. ``pruning``, ``reducing``, ``reduced``: since when each such object is
    there. ``untold``: backups without a mark that the policy would end; they have not had their grace time
    yet. ``wanted``: those with a mark that it would keep. ``harmed``: what a finding harms.
    """

    now: datetime
    shorts: Shorts
    outlines: Outlines
    marks: MarksSeen
    pruning: Mapping[BackupName, datetime]
    reducing: Mapping[BackupName, datetime]
    reduced: Mapping[BackupName, datetime]
    holds: tuple[Hold, ...]
    leases: tuple[Lease, ...]
    attempts: Mapping[BackupName, Attempt]
    untold: frozenset[BackupName]
    wanted: frozenset[BackupName]
    harmed: frozenset[BackupName]

    @property
    def needs(self) -> dict[BackupName, list[BackupName]]:
        """Of each backup, those that it names."""
        return {name: each.needs for name, each in self.outlines.backups.items()}

    def whole(self) -> dict[BackupName, Outline]:
        """The backups whose chain goes down to a full."""
        backups = self.outlines.backups
        return {name: each for name, each in backups.items() if self.outlines.broken(name) is None}

    def known(self, grace: timedelta, given_up: Collection[BackupName]) -> Known:
        """What decides which backups are needed."""
        marked = {name: mark.marked_at for name, mark in self.marks.marks.items()}
        kept = keepers(self.holds, self.leases, {*self.outlines.backups, *self.attempts})
        # Only `expire` takes marks back; it was not run since the policy changed.
        kept |= {name: (*kept.get(name, ()), WANTED) for name in self.wanted}
        return Known(
            needs=self.needs,
            now=self.now,
            grace=grace,
            unreadable=frozenset(self.outlines.unreadable),
            marks=marked,
            kept=kept,
            given_up=given_up,
            attempts={name: each.newest_at for name, each in self.attempts.items()},
        )


def survey(repository: Repository, policy: Retention, clock: Clock) -> Surveyed:
    """Look at the whole repository: a backup of one shard may be needed by one of another.

    Manifests are read in short, and nothing of ``data/`` is listed but for labels without a manifest. Raises
    ``RetentionRefused`` if this machine's clock is wrong, and what the store raises.
    """
    time = ask_store_time(repository.store, clock)
    check_clock(time)
    # A backup that ends while we look lets its lease go: whose lease was seen at either end counts.
    leases = Leases(repository).in_force(time.now)
    shorts = Shorts()
    outlines = read_outlines(repository, {*_labels(repository.store), *_named_by(leases)}, shorts)
    marks = Marks(repository).survey()
    pruning, reducing = Marks(repository).pruning(), Marks(repository).reducing()
    reduced = Marks(repository).reduced()
    attempts = _attempts(repository.store, outlines)
    holds = Holds(repository).in_force(time.now)
    leases = tuple({each.token: each for each in (*leases, *Leases(repository).in_force(time.now))}.values())
    summaries = [
        replace(each.summary, broken=outlines.broken(name)) for name, each in outlines.backups.items()
    ]
    kept = keepers(holds, leases, outlines.backups)
    marked, lacking = frozenset(marks.marks), frozenset(reduced)
    harmed = frozenset(Findings(repository).harmed(outlines.backups))
    decision = apply_policy(
        summaries, policy, time.now, frozenset(kept), marked, reduced=lacking, harmed=harmed
    )
    # A lease keeps a backup too, but no mark is taken back for it.
    held = {each.backup for each in holds}
    wanted = apply_policy(summaries, policy, time.now, held, marked, reduced=lacking, harmed=harmed).unmark
    return Surveyed(
        now=time.now,
        shorts=shorts,
        outlines=outlines,
        marks=marks,
        pruning=pruning,
        reducing=reducing,
        reduced=reduced,
        holds=holds,
        leases=leases,
        attempts=attempts,
        untold=frozenset(decision.expire),
        wanted=frozenset(wanted),
        harmed=harmed,
    )


def left_over(repository: Repository, now: datetime) -> tuple[str, ...]:
    """Names of what passes: leases that are over, turns that were renewed, outcomes but for the last few of a
    duty, and objects that tried the store a day ago or more. Raises what the store raises.
    """
    trials = {
        info.key for info in repository.store.list(layout.TRIALS) if info.modified_at <= now - _TRIALS_AGE
    }
    return (
        *Leases(repository).left_over(now),
        *Turns(repository).left_over(),
        *Outcomes(repository).left_over(),
        *sorted(trials),
    )


def keepers(
    holds: Iterable[Hold], leases: Iterable[Lease], names: Iterable[BackupName]
) -> dict[BackupName, tuple[str, ...]]:
    """Who keeps which of the backups, and of those that a hold or a lease names beside them."""
    found: dict[BackupName, list[str]] = {}
    for hold in holds:
        until = f"held until {moment(hold.until)}" if hold.until else "held: the hold cannot be read"
        found.setdefault(hold.backup, []).append(f"{until}: {hold.reason}" if hold.reason else until)
    named = {*names, *found}
    for lease in leases:
        of_shard = {BackupName(lease.shard, label) for label in lease.labels}
        for name in sorted(named | of_shard):
            if lease.keeps(name):
                told = f"in use by {lease.kind} of {lease.told_by} until {moment(lease.until)}"
                found.setdefault(name, []).append(told)
    return {name: tuple(told) for name, told in found.items()}


def attempt(store: Store, backup: BackupName) -> Attempt | None:
    """What there is of a label; None if there is nothing."""
    seen = {info.key: info for info in objects_of(store, backup)}
    if not seen:
        return None
    newest = max(info.modified_at for info in seen.values())
    return Attempt(newest, len(seen), sum(info.size for info in seen.values()))


def objects_of(store: Store, backup: BackupName) -> Iterator[ObjectInfo]:
    """Every object of a label, in the order in which they are deleted; an object may come twice.

    Proofs, holds and findings, index parts before packs (their names sort so), what stands under
    ``expired/``, and the wrapped keys last. The manifest, which goes before all of them, is not among them.
    """
    for prefix in (
        layout.proofs(backup),
        layout.holds(backup),
        layout.findings(backup),
        layout.packs_and_parts(backup),
    ):
        yield from store.list(prefix)
    yield from store.list(f"{layout.EXPIRED}{backup}/")
    yield from store.list(layout.wrapped_keys(backup))


def owner_of(key: str) -> BackupName | None:
    """The backup that an object belongs to, by its name; None of an archive's, of leases, and the like."""
    parts = key.split("/")
    return BackupName(parts[1], parts[2]) if len(parts) > 2 and f"{parts[0]}/" in _ROOMS else None


def _labels(store: Store) -> Iterator[BackupName]:
    """All labels of which anything is listed: a list of manifests that lacks one must not be believed."""
    for room in sorted(_ROOMS - {layout.DATA}):
        for info in store.list(room):
            name = owner_of(info.key)
            if name and layout.is_name(name.shard) and layout.parse_label(name.label):
                yield name


def _named_by(leases: Iterable[Lease]) -> Iterator[BackupName]:
    for lease in leases:
        yield from (BackupName(lease.shard, label) for label in lease.labels if layout.parse_label(label))


def _attempts(store: Store, outlines: Outlines) -> dict[BackupName, Attempt]:
    found = {name: attempt(store, name) for name in sorted(outlines.missing)}
    return {name: each for name, each in found.items() if each is not None}
