"""Capacity planning: what the repository tells of each shard, what the config asks for, and what follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from backup.archive.report import SourceLag
from backup.archive.status import shard_status
from backup.capacity_report import CapacityPlan, Costs, MonthlyCost, Rules, ShardCapacity
from fleet.clock import Clock, SystemClock
from fleet.cron import firings
from fleet.errors import Cancelled, ToolError
from fleet.figures import duration, plural
from fleet.finding import Finding, Level
from fleet.model import Fleet, Shard
from fleet.prices import Prices
from repository import forecast, kept_alone, layout
from repository.archive.archive import ShardArchive
from repository.archive.cover import ArchivedFile
from repository.catalog import Catalog
from repository.fitting import fit
from repository.forecast import (
    LONGEST_DAYS,
    Keeping,
    Load,
    Past,
    Slot,
    Usage,
    plateau,
    sum_usage,
    take_all,
    usage_over,
)
from repository.manifest import Manifest, Proof
from repository.measured import Figure, complete, measure, past_of
from repository.repository import Repository
from repository.ways_back import loss, ways_back

_DAY = 86400
_MONTH_DAYS = 30
_GB = 10**9
_LONGEST_LOOK = 35
"""Days in which every schedule that fires monthly or more often shows its longest gap."""


class Wish(NamedTuple):
    """What the caller gives: the days to look ahead, figures to assume, prices, a storage to fit into."""

    days: int = 30
    assumed: Mapping[str, float] = {}
    prices: Prices | None = None
    fit_bytes: int | None = None


class _Given(NamedTuple):
    """What all shards share."""

    fleet: Fleet
    keeping: Keeping
    slots: tuple[Slot, ...]
    wish: Wish


class _History(NamedTuple):
    """What is known of a shard without an assumption."""

    measured: Mapping[str, Figure]
    past: Past
    backups: int
    archived: bool
    lag: SourceLag | None
    findings: tuple[Finding, ...]


def plan_capacity(
    fleet: Fleet,
    shards: Sequence[str] = (),
    *,
    repository: Repository | None,
    wish: Wish,
    clock: Clock | None = None,
) -> CapacityPlan:
    """The forecast of the named shards, or of all. Without a ``repository`` nothing is measured.

    The lag of the archive is asked of its source; one that does not answer is a finding. Raises ``NotFound``
    and what the store raises.
    """
    clock = clock or SystemClock()
    chosen = [fleet.shard(name) for name in shards] or list(fleet.shards)
    given = _Given(fleet, _keeping(fleet, clock), _slots(fleet, clock), wish)
    found = [(shard, _look_at(fleet, shard, repository, clock)) for shard in chosen]
    told = tuple(_tell(shard.name, history, given) for shard, history in found)
    loads = [load for each in told if (load := _load(each.figures)) is not None]
    is_known = len(loads) == len(told)
    beyond = [each.beyond for each in told if each.beyond is not None]
    plateaus = [each.plateau for each in told if each.plateau is not None]
    usage = (
        tuple(sum_usage(day) for day in zip(*(each.usage for each in told), strict=True)) if is_known else ()
    )
    top = sum_usage(plateaus) if len(plateaus) == len(told) else None
    now = sum_usage(each.now for each in told)
    prices = wish.prices or fleet.prices
    return CapacityPlan(
        at=clock.now(),
        days=wish.days,
        history=repository is not None,
        rules=_rules(fleet),
        assumed=tuple(wish.assumed),
        now=now,
        usage=usage,
        plateau=top,
        beyond=kept_alone.sum_kept(beyond) if is_known else None,
        costs=_costs(given, prices, loads, [now, *usage[-1:]], top) if prices else None,
        fit=fit(loads, *given[1:3], wish.fit_bytes) if wish.fit_bytes is not None and is_known else None,
        shards=told,
        findings=(*(finding for _, each in found for finding in each.findings), *_busy(told, given.slots)),
    )


def _rules(fleet: Fleet) -> Rules:
    return Rules(
        full=fleet.backup.full,
        full_cron=fleet.schedule.full_cron,
        incremental_cron=fleet.schedule.incremental_cron,
        timezone=fleet.schedule.timezone,
        retention_days=fleet.retention.days,
        minimum_fulls=fleet.retention.minimum_fulls,
        grace_hours=fleet.retention.grace_hours,
        keep_daily=fleet.retention.keep_daily,
        keep_weekly=fleet.retention.keep_weekly,
        keep_monthly=fleet.retention.keep_monthly,
        rebase_every=fleet.backup.rebase_every,
        max_chain=fleet.backup.max_chain,
        rto_seconds=fleet.targets.rto_seconds,
        rpo_seconds=fleet.targets.rpo_seconds,
    )


def _keeping(fleet: Fleet, clock: Clock) -> Keeping:
    retention = fleet.retention
    return Keeping(
        full=fleet.backup.full,
        rebase_every=fleet.backup.rebase_every,
        max_chain=fleet.backup.max_chain,
        days=retention.days,
        minimum_fulls=retention.minimum_fulls,
        grace_days=retention.grace_hours / 24,
        beyond=kept_alone.Rules(
            daily=retention.keep_daily,
            weekly=retention.keep_weekly,
            monthly=retention.keep_monthly,
            repack_below=retention.repack_below,
            today=clock.now(),
        ),
    )


def _slots(fleet: Fleet, clock: Clock) -> tuple[Slot, ...]:
    """When backups are due from now on. A full and an incremental of the same moment are the full."""
    now, schedule = clock.now(), fleet.schedule
    zone, end = ZoneInfo(schedule.timezone), now + timedelta(days=LONGEST_DAYS)
    fulls = set(firings(schedule.full_cron, zone, now, end))
    rest = set(firings(schedule.incremental_cron, zone, now, end)) - fulls
    due = sorted([*((at, True) for at in fulls), *((at, False) for at in rest)])
    return tuple(Slot((at - now).total_seconds() / _DAY, full) for at, full in due)


def _look_at(fleet: Fleet, shard: Shard, repository: Repository | None, clock: Clock) -> _History:
    if repository is None:
        return _History({}, Past(), 0, archived=True, lag=None, findings=())
    catalog, archive = Catalog(repository), ShardArchive(repository, shard.name)
    there = [layout.parse_manifest(info.key) for info in repository.store.list(layout.manifests(shard.name))]
    manifests = catalog.manifests(shard.name)
    findings: list[Finding] = []
    if lost := sum(each is not None for each in there) - len(manifests):
        message = f"{plural(lost, 'manifest')} cannot be read and are not counted"
        findings.append(Finding(Level.WARN, f"shard {shard.name}", message, "See: backstay backup list"))
    epochs = archive.epochs()
    files: list[ArchivedFile] = [file for epoch in epochs for file in archive.files(epoch.epoch)]
    lag = None
    if epochs:
        status = shard_status(fleet, shard, repository, clock)
        lag, findings = (
            status.lag,
            [*findings, *(each for each in status.findings if each.level is not Level.OK)],
        )
    now = clock.now()
    measured = measure(manifests, _proofs(repository, catalog, manifests), files, now)
    past = past_of(manifests, files, now)
    return _History(measured, past, len(manifests), bool(epochs), lag, tuple(findings))


def _proofs(repository: Repository, catalog: Catalog, manifests: Sequence[Manifest]) -> list[Proof]:
    """Those that can be read: a proof that is damaged measures nothing, and stands in nobody's way."""
    found: list[Proof] = []
    backups = {each.backup for each in manifests}
    for shard in {each.shard for each in manifests}:
        for info in repository.store.list(f"{layout.PROOFS}{shard}/"):
            parsed = layout.parse_proof(info.key)
            if parsed is None or parsed[0] not in backups:
                continue
            try:
                found.append(catalog.proof(parsed[0], info.key))
            except ToolError as error:
                if error.retryable or isinstance(error, Cancelled):
                    raise
    return found


def _load(figures: Mapping[str, Figure]) -> Load | None:
    """None if the size is unknown, or what changes; without an archive's figure it takes nothing."""
    size, change = figures["size"].value, figures["change"].value
    compression = figures["compression"].value
    if size is None or change is None or not compression:
        return None
    growth = figures["growth"].value or 0.0
    return Load(size / compression, change / 100, figures["archive"].value or 0.0, growth / 100)


def _tell(name: str, history: _History, given: _Given) -> ShardCapacity:
    fleet, keeping, slots, wish = given
    figures = complete(history.measured, wish.assumed)
    load, past = _load(figures), history.past
    gap = max((b.day - a.day for a, b in pairwise(slots) if b.day <= _LONGEST_LOOK), default=None)
    usage: tuple[Usage, ...] = ()
    if load is not None:
        taken = take_all(load, keeping, [slot for slot in slots if slot.day <= wish.days], past.taken)
        usage = tuple(usage_over(taken, load, keeping, [float(day) for day in range(wish.days + 1)], past))
    size, speed = figures["size"].value, figures["read"].value or figures["rate"].value
    return ShardCapacity(
        shard=name,
        backups=history.backups,
        figures=figures,
        now=_now(past),
        usage=usage,
        plateau=plateau(load, keeping, slots) if load is not None else None,
        beyond=forecast.kept_alone(load, keeping, slots) if load is not None else None,
        full_seconds=size / speed if size is not None and speed else None,
        ways=ways_back(figures, gap, fleet.targets.rto_seconds),
        loss=loss(
            fleet.archive.mode,
            archived=history.archived,
            lag_seconds=history.lag.seconds if history.lag else None,
            mode_holds=history.lag.mode_holds if history.lag else None,
            segment_seconds=fleet.archive.segment_seconds,
            gap_days=gap,
            target_seconds=fleet.targets.rpo_seconds,
        ),
    )


def _now(past: Past) -> Usage:
    """What lies there, whether it is still needed or not."""
    whole = sum(each.stored_bytes for each in past.taken)
    links = sum(each.stored_bytes for each in past.taken if each.kind == "incremental")
    total = whole + past.archive_bytes
    return Usage(0.0, whole - links, links, past.archive_bytes, total, total)


def _costs(
    given: _Given, prices: Prices, loads: Sequence[Load], stands: Sequence[Usage], top: Usage | None
) -> Costs:
    """Packs of backups, and the archive's segments: each put, and read once to be composed."""
    requests = 2 * _MONTH_DAYS * _DAY / given.fleet.archive.segment_seconds * len(loads)
    month = [slot for slot in given.slots if slot.day < _MONTH_DAYS]
    stored = sum(each.stored_bytes for load in loads for each in take_all(load, given.keeping, month))
    requests += stored / given.fleet.repository.pack_size_bytes
    asked = requests / 1000 * prices.per_1000_requests
    months: list[MonthlyCost] = []
    for what, each in [*(("now" if not n else "end", one) for n, one in enumerate(stands)), ("plateau", top)]:
        if each is not None:
            storage = each.total_bytes / _GB * prices.per_gb_month
            months.append(MonthlyCost(what, each.total_bytes, storage, asked, storage + asked))
    return Costs(prices, requests, tuple(months))


def _busy(shards: Sequence[ShardCapacity], slots: Sequence[Slot]) -> list[Finding]:
    """Fulls that copy all data take time: is there enough of it between two?"""
    fulls = [slot.day for slot in slots if slot.full]
    known = [each.full_seconds for each in shards if each.full_seconds is not None]
    if len(fulls) < 2 or not known:
        return []
    between, together = (fulls[1] - fulls[0]) * _DAY, sum(known)
    if together <= between:
        return []
    several = f" a shard, {duration(together)} one after another" if len(known) > 1 else ""
    message = (
        f"fulls that copy all data take {duration(max(known))}{several}; {duration(between)} lie between "
        "two of the schedule"
    )
    hint = 'Over one line they do not fit: fewer of them, more lines, or full = "referring".'
    return [Finding(Level.WARN, "schedule", message, hint)]
