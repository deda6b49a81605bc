"""Everything that a restore to a point asks before it decides; the deciding itself is in ``point_plan``."""

from __future__ import annotations

from pathlib import Path

from fleet.errors import DiskFull
from fleet.figures import size
from fleet.gtid import GtidSet
from fleet.model import Fleet
from fleet.moments import microseconds
from repository.catalog import LATEST, Catalog
from repository.manifest import Manifest
from repository.repository import Repository
from restore.archived import ArchivedLine
from restore.full import label_for
from restore.plan import RestorePlan, plan_restore
from restore.point import Point, RecoveryTarget, resolve
from restore.point_plan import Candidate, PointPlan, Stretch, choose_base, estimate
from restore.program import find_mysqld, read_version
from restore.replay_server import RELAY_LOG_BYTES
from restore.target import TargetFacts, look_at
from restore.walk import Branch


def plan_on_line(
    fleet: Fleet,
    line: ArchivedLine,
    into: Path,
    target: RecoveryTarget,
    *,
    repository: Repository,
    label: str = LATEST,
    delta: bool = False,
) -> PointPlan:
    """The plan of bringing ``into`` to ``target`` on a line that was looked at. Touches nothing.

    Raises ``TargetUnreachable``, ``NotFound``, and what planning a plain restore raises.
    """
    point = resolve(line, target)
    facts = look_at(into)
    label = label_for(repository, line.shard, label, into, delta=delta)
    # What a server that has begun to replay still needs, it will be asked itself.
    replaying = not delta and _is_replaying(facts)
    manifest = _base(Catalog(repository), line, point, label, replaying=replaying)
    server_version = read_version(find_mysqld(fleet.restore.mysqld))
    base = plan_restore(manifest, facts, server_version, delta=delta, to_point=True)
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
            manifest.sizes.stored_bytes,
            needed.count(),
            stretch.log_bytes,
            promised_seconds=fleet.targets.rto_seconds,
            goes_on=replaying,
        ),
        replaying=replaying,
        branches=_left_behind(line, point, target, manifest),
    )


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
    return line.left_behind(after_us=microseconds(manifest.timings.started_at), to_us=None)


def check_room(base: RestorePlan, stretch: Stretch) -> None:
    """Besides the backup, binlogs wait on the disk to be applied. Raises ``DiskFull``."""
    waiting_bytes = min(stretch.log_bytes, RELAY_LOG_BYTES)
    needed, free = base.needed_bytes + waiting_bytes, base.target.free_bytes
    if needed > free:
        raise DiskFull(
            f"{base.directory}: {size(needed)} are needed, {size(waiting_bytes)} of them for binlogs "
            f"that wait to be applied, {size(free)} are free",
            hint="Free some space or restore to a larger disk.",
        )


def _base(catalog: Catalog, line: ArchivedLine, point: Point, label: str, *, replaying: bool) -> Manifest:
    """The manifest of the backup that is named, or of the newest that leads to the point."""
    if label != LATEST:
        manifest = catalog.manifest(line.shard, label)
        if not replaying:
            choose_base([Candidate.of(manifest)], line, point, line.lives)
        return manifest
    labels = [each.label for each in catalog.backups(line.shard)]
    manifests = {each: catalog.manifest(line.shard, each) for each in labels}
    chosen = choose_base([Candidate.of(each) for each in manifests.values()], line, point, line.lives)
    return manifests[chosen.label]


def _is_replaying(facts: TargetFacts) -> bool:
    return facts.journal is not None and facts.journal.replay is not None
