"""Everything that a restore to a point asks before it decides; the deciding itself is in ``point_plan``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from fleet.errors import DiskFull, KeyUnusable, NotFound, TargetUnreachable, ToolError
from fleet.figures import size
from fleet.gtid import GtidSet
from fleet.model import Fleet
from fleet.moments import from_microseconds, microseconds
from repository import layout
from repository.archive.beyond import HeldBeyond, held_beyond
from repository.catalog import LATEST, Catalog
from repository.findings import Findings
from repository.manifest import Manifest
from repository.repository import Repository
from restore.archived import ArchivedLine
from restore.choice import (
    LOST,
    Choice,
    PassedOver,
    choose_chain,
    choose_fetched,
    is_in_place,
    label_for,
    pointing_elsewhere,
    unreadable_after,
    whole_chain,
)
from restore.plan import Mode, RestorePlan, plan_restore
from restore.point import Point, RecoveryTarget, TargetKind, resolve
from restore.point_plan import Candidate, PointPlan, Stretch, choose_base, estimate
from restore.program import find_mysqld, read_version
from restore.replay_server import RELAY_LOG_BYTES
from restore.sparing import look_sparing
from restore.target import TargetFacts
from restore.untold import untold
from restore.walk import Branch, WalkedLine


def plan_on_line(
    fleet: Fleet,
    line: ArchivedLine,
    into: Path,
    target: RecoveryTarget,
    *,
    repository: Repository,
    label: str = LATEST,
    passed_over: tuple[PassedOver, ...] = (),
    delta: bool = False,
) -> PointPlan:
    """The plan of bringing ``into`` to ``target`` on a line that was looked at. Touches nothing.

    ``passed_over``: what an earlier plan left aside before it chose ``label``. Raises ``TargetUnreachable``,
    ``NotFound``, and what planning a plain restore raises.
    """
    point = resolve(line, target)
    facts = look_sparing(fleet, into)
    label = label_for(repository, line.shard, label, facts, delta=delta)
    # What a server that has begun to replay still needs, it will be asked itself.
    replaying = not delta and _is_replaying(facts)
    in_place = is_in_place(repository, line.shard, label, facts, delta=delta)
    choice = base_for(repository, line, point, label, replaying=replaying, in_place=in_place)
    manifest = choice.chain.newest
    server_version = read_version(find_mysqld(fleet.restore.mysqld))
    base = plan_restore(
        choice.chain,
        facts,
        server_version,
        delta=delta,
        to_point=True,
        passed_over=passed_over or choice.passed_over,
    )
    have = GtidSet.parse(manifest.gtid.low)
    needed = point.gtids - have - point.skipped
    stretch = line.stretch(have, needed)
    check_room(base, stretch)
    return PointPlan(
        target=target,
        point=point,
        base=base,
        epoch=line.epoch,
        stretch=stretch,
        transactions=needed.count(),
        estimate=estimate(
            base.stored_bytes,
            needed.count(),
            stretch.log_bytes,
            promised_seconds=fleet.targets.rto_seconds,
            goes_on=replaying,
        ),
        replaying=replaying,
        branches=_left_behind(line, point, target, manifest),
        beyond=beyond_the_archive(repository, line, point, target, behind=manifest.label),
    )


def beyond_the_archive(
    repository: Repository, line: WalkedLine, point: Point, target: RecoveryTarget, *, behind: str
) -> HeldBeyond | None:
    """The newest backup, ``behind`` that label, that holds more than the end of the archive, if that is where
    it goes.

    An exact set is what was asked for, whatever else there is. Expired backups, those that cannot be read and
    those whose GTID set is not that of their data are no way to more.
    """
    if point.stop is not None or target.kind is TargetKind.GTIDS:
        return None
    catalog = Catalog(repository)
    try:
        if catalog.name(line.shard).label <= behind:
            return None
    except NotFound:
        return None
    held = [
        (each.label, GtidSet.parse(each.gtid_low))
        for each in catalog.survey(line.shard).backups
        if each.expired_at is None and each.broken is None
    ]
    branches = [branch.gtids for branch in line.branches]
    found = held_beyond(held, point.gtids, branches)
    if found is None:
        return None
    wrong = untold(catalog.manifests(line.shard), line.branches)
    return held_beyond([each for each in held if each[0] not in wrong], point.gtids, branches)


def _left_behind(
    line: ArchivedLine, point: Point, target: RecoveryTarget, manifest: Manifest
) -> tuple[Branch, ...]:
    """What was committed up to the point, and lies on a branch. At the end of the archive that would be all
    there ever was: of that, what is newer than the backup.
    """
    if target.at is not None:
        return line.left_behind(after_us=None, to_us=microseconds(target.at))
    if point.stop is not None:
        return line.left_behind(after_us=None, to_us=point.stop.committed_at_us)
    return line.left_behind(after_us=microseconds(_held_at(manifest)), to_us=None)


def _held_at(manifest: Manifest) -> datetime:
    """When what it holds began to be read. A full that was made of a chain is younger; its label is not."""
    label = layout.parse_label(manifest.label)
    return min(manifest.timings.started_at, label.at) if label else manifest.timings.started_at


def check_room(base: RestorePlan, stretch: Stretch) -> None:
    """Besides the backup, binlogs wait on the disk to be applied. Raises ``DiskFull``.

    A replay that goes on has its binlogs there, may have grown into what is spared, and looks itself.
    """
    if base.mode is Mode.PROVE and _is_replaying(base.target):
        return
    waiting_bytes = min(stretch.log_bytes, RELAY_LOG_BYTES)
    needed = base.needed_bytes + waiting_bytes
    if needed > base.target.room_bytes:
        raise DiskFull(
            f"{base.directory}: {size(needed)} are needed, {size(waiting_bytes)} of them for binlogs "
            f"that wait to be applied, {base.target.free_told}",
            hint="Free some space or restore to a larger disk.",
        )


def base_for(
    repository: Repository,
    line: ArchivedLine,
    point: Point,
    label: str,
    *,
    replaying: bool = False,
    in_place: bool = False,
) -> Choice:
    """The backup that is named, or the newest that leads to the point and is whole.

    Those that retention has ended are passed over; those that are lost too, with the errors of
    ``choose_chain``; those whose GTID set is not that of their data too: ``TargetUnreachable`` if one is
    named. ``in_place``: nothing of the backup is fetched;
    ``replaying``: the server is beyond it already.
    """
    if label != LATEST:
        choose = choose_fetched if in_place else choose_chain
        choice = choose(repository, line.shard, label)
        if not replaying:
            wrong = untold(Catalog(repository).manifests(line.shard), line.branches)
            if choice.chain.newest.label in wrong:
                raise _untold(line.shard, choice.chain.newest.label, wrong)
            choose_base([Candidate.of(choice.chain.newest)], line, point, line.lives)
        return choice
    return _newest_base(repository, line, point)


def _newest_base(repository: Repository, line: ArchivedLine, point: Point) -> Choice:
    catalog = Catalog(repository)
    survey = catalog.survey(line.shard)
    if survey.unreadable and not survey.backups:
        raise survey.unreadable[-1].error
    manifests = {each.label: catalog.manifest(line.shard, each.label) for each in survey.backups}
    ended = {each.label for each in survey.backups if each.expired_at is not None}
    lost: dict[str, ToolError] = {}
    wrong = untold(manifests.values(), line.branches)
    known = _known_damage(repository, line.shard)
    damaged = {name: why for name, why in known.items() if name in manifests and name not in ended}
    while True:
        left = [
            Candidate.of(each) for each in manifests.values() if each.label not in {*lost, *wrong, *ended}
        ]
        try:
            chosen = _undamaged_first(left, damaged, line, point)
        except ToolError:
            # What would lead there is lost: that, and not the distance of the others, is the trouble.
            for name, error in lost.items():
                with pointing_elsewhere(repository, line.shard, name):
                    raise error from None
            if (name := _leading_there(manifests, wrong, line, point)) is not None:
                raise _untold(line.shard, name, wrong) from None
            if (name := _leading_there(manifests, ended - {*wrong}, line, point)) is not None:
                raise _ended(line.shard, name) from None
            raise
        try:
            chain = whole_chain(repository, manifests[chosen.label])
        except LOST as error:
            lost[chosen.label] = error
            continue
        except KeyUnusable as error:
            with pointing_elsewhere(repository, line.shard, chosen.label):
                raise error from None
        ends_at = from_microseconds(point.stop.committed_at_us) if point.stop else None
        passed = [PassedOver(name, error.message) for name, error in lost.items()]
        damaged = {name: why for name, why in damaged.items() if name not in lost}
        passed += unreadable_after(survey, chosen.label, before=ends_at)
        passed += (
            PassedOver(name, reason)
            for name, reason in {**damaged, **wrong}.items()
            if name > chosen.label and (ends_at is None or _held_at(manifests[name]) < ends_at)
        )
        return Choice(chain, tuple(sorted(passed, key=lambda each: each.label, reverse=True)))


def _known_damage(repository: Repository, shard: str) -> dict[str, str]:
    """Labels of backups of the shard of which something was found damaged, and what."""
    found = Findings(repository).all(shard)
    return {label: each.short for each in reversed(found) for label in each.labels}


def _undamaged_first(
    candidates: Sequence[Candidate], damaged: Collection[str], line: ArchivedLine, point: Point
) -> Candidate:
    """A finding is no proof that a restore fails: where no other backup leads there, such a one is tried."""
    if whole := [each for each in candidates if each.label not in damaged]:
        with suppress(ToolError):
            return choose_base(whole, line, point, line.lives)
    return choose_base(candidates, line, point, line.lives)


def _leading_there(
    manifests: Mapping[str, Manifest], left_out: Collection[str], line: ArchivedLine, point: Point
) -> str | None:
    """Which of those ``left_out`` would be the base if it were not."""
    if not left_out:
        return None
    try:
        return choose_base(
            [Candidate.of(manifests[name]) for name in left_out], line, point, line.lives
        ).label
    except ToolError:
        return None


def _ended(shard: str, label: str) -> TargetUnreachable:
    return TargetUnreachable(
        f"retention has ended every backup that leads to that point; the best of them is {shard}/{label}",
        hint=f"It is still there: name it with --backup {label}. "
        f"`backstay expire {shard} --take-back {label}` keeps it from being deleted.",
    )


def _untold(shard: str, label: str, wrong: Mapping[str, str]) -> TargetUnreachable:
    return TargetUnreachable(
        f"backup {shard}/{label} cannot be the base of a restore to a point: {wrong[label]}",
        hint="Its donor was reset: transactions would be replayed on it a second time. Choose a point that "
        "another backup leads to, or take a new backup of a server whose gtid_executed holds all it has.",
    )


def _is_replaying(facts: TargetFacts) -> bool:
    return facts.journal is not None and facts.journal.replay is not None
