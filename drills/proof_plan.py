"""What a proof will do: the newest backup, and the archive behind it if that leads on from there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from drills.proof_turn import Standing
from fleet.errors import DiskFull, NotFound
from fleet.figures import size
from fleet.gtid import GtidSet
from fleet.model import Fleet
from repository.catalog import Catalog
from repository.manifest import Manifest
from repository.repository import Repository
from restore.archived import ArchivedLine
from restore.full import plan_full_restore
from restore.plan import RestorePlan
from restore.point import RecoveryTarget, resolve
from restore.point_plan import PointPlan
from restore.point_planning import plan_on_line


@dataclass(frozen=True)
class ProofPlan:
    """One proof. ``base`` brings the backup; ``point`` goes on from there to the end of the archive, which is
    ``line``. Where nothing is replayed both are None, and ``alone`` says why. Bytes.
    """

    shard: str
    label: str
    tried_at: datetime | None
    base: RestorePlan
    point: PointPlan | None = None
    line: ArchivedLine | None = None
    alone: str | None = None

    @property
    def directory(self) -> Path:
        """Where it is restored."""
        return self.base.directory

    @property
    def needed_bytes(self) -> int:
        """What the disk must have: the files, and what the replay may add to them."""
        return self.base.needed_bytes + (self.point.replay_bytes if self.point else 0)

    @property
    def certain_bytes(self) -> int:
        """What it takes in any case: the files, and binlogs that wait to be applied."""
        return self.base.needed_bytes + (self.point.stretch.log_bytes if self.point else 0)

    @property
    def free_bytes(self) -> int:
        """What it has."""
        return self.base.target.free_bytes

    @property
    def transactions(self) -> int:
        """What is replayed at most."""
        return self.point.transactions if self.point else 0

    def steps(self) -> tuple[str, ...]:
        """The plan as sentences, in the order of doing."""
        told = self.point.steps() if self.point else self.base.steps()
        alone = (f"replay nothing: {self.alone}",) if self.alone else ()
        return (*told, *alone, "record what it came to, and delete all of it again")


def plan_shard(
    fleet: Fleet, standing: Standing, label: str, *, repository: Repository, into: Path
) -> ProofPlan:
    """The plan of proving backup ``label``. Touches nothing; raises what planning a restore raises.

    The newest backup is what is proven: where it is broken, none that is older takes its place.
    """
    shard = standing.shard
    manifest = Catalog(repository).manifest(shard, label)
    try:
        line = ArchivedLine.read(repository, shard)
    except NotFound:
        line = None
    alone = _why_alone(manifest, line)
    if line is None or alone is not None:
        base = plan_full_restore(fleet, shard, into, repository=repository, label=label)
        return ProofPlan(shard, label, standing.tried_at, base, alone=alone)
    target = RecoveryTarget.latest()
    point = plan_on_line(fleet, line, into, target, repository=repository, label=label)
    plan = ProofPlan(shard, label, standing.tried_at, point.base, point, line)
    _check_room(plan)
    return plan


def _why_alone(manifest: Manifest, line: ArchivedLine | None) -> str | None:
    """Why the archive does not lead on from the backup, though nothing is wrong with either."""
    if line is None:
        return "no binlogs of the shard are archived"
    ahead = GtidSet.parse(manifest.gtid.high) - resolve(line, RecoveryTarget.latest()).gtids
    for branch in line.branches:
        # A backup of a server that was left behind is not ahead, it is beside the line: that is no proof.
        ahead -= branch.gtids
    return "the archive has not come as far as this backup yet" if ahead else None


def _check_room(plan: ProofPlan) -> None:
    """A proof has its disk in common with the service's state: it must not fill it. Raises ``DiskFull``.

    What a replay adds at worst refuses none: the replay looks at the disk, and most take a part of that.
    """
    if plan.certain_bytes > plan.base.target.room_bytes:
        raise DiskFull(
            f"{plan.directory}: {size(plan.certain_bytes)} at least are needed, {plan.base.target.free_told}"
        )
