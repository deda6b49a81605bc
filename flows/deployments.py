"""What is scheduled for a fleet: one deployment for each shard, and one for each duty of the fleet. Pure.

A shard's full and incremental backups are two schedules of one deployment, because a deployment's limit is
its own: two deployments would not exclude each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from fleet.model import Fleet, Server, Shard
from fleet.schedule import KINDS, cron_of

TAG = "backstay"

EVERY_FIVE_MINUTES = "*/5 * * * *"
BETWEEN_THEM = "2-59/5 * * * *"

ENTRYPOINTS: Mapping[str, str] = {
    "archive-health": "flows.archive_health.archive_health",
    "backup": "flows.backup.backup",
    "proof": "flows.proof.proof",
    "reconcile": "flows.reconcile.reconcile",
    "retention": "flows.retention.retention",
    "verify": "flows.verify.verify",
}
"""Where the flow of each name is."""

SHORT: frozenset[str] = frozenset({"archive-health", "reconcile"})
"""Duties of some seconds, every five minutes. No backup of hours may hold them off."""
SHORT_QUEUE = "short"
"""Theirs, in the pool of the fleet. What waits in it is taken before all else."""


class Place(NamedTuple):
    """Where it runs: only workers of that pool and queue take it."""

    pool: str
    queue: str


class CronLine(NamedTuple):
    """When a deployment runs. ``kind`` is the parameter it runs with, if it has one."""

    slug: str
    line: str
    timezone: str
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """What the scheduler is told. ``place``: None for one that the runner of `serve` takes itself.

    ``limit`` runs go on at once; what becomes of the ``next`` one: it waits, or does not come.
    """

    flow: str
    name: str
    entrypoint: str
    description: str
    tags: frozenset[str]
    schedules: tuple[CronLine, ...]
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    place: Place | None = None
    limit: int = 1
    next: Literal["waits", "is cancelled"] = "is cancelled"

    @property
    def full_name(self) -> str:
        """As Prefect names it: ``backup/shop.s1``."""
        return f"{self.flow}/{self.name}"


def tags_of(fleet: Fleet) -> frozenset[str]:
    """What everything of the fleet is tagged with."""
    return frozenset({TAG, f"fleet:{fleet.name}"})


def wanted_deployments(fleet: Fleet, *, in_pools: bool) -> tuple[Deployment, ...]:
    """All that the configuration asks for; ``in_pools`` for workers, otherwise for a runner that serves."""
    return (*_of_shards(fleet, in_pools=in_pools), *_of_fleet(fleet, in_pools=in_pools))


def pools_of(deployments: Iterable[Deployment]) -> dict[str, tuple[str, ...]]:
    """The pools that they need, and the queues of each but the default one, sorted."""
    places = sorted({each.place for each in deployments if each.place is not None})
    pools: dict[str, list[str]] = {place.pool: [] for place in places}
    for place in places:
        if place.queue != "default":
            pools[place.pool].append(place.queue)
    return {pool: tuple(queues) for pool, queues in pools.items()}


def near(fleet: Fleet, shard: Shard) -> Server:
    """The server that is likely to be copied from: what works on the shard had best run near it."""
    named = [server for name in fleet.backup.donors for server in shard.servers if server.name == name]
    role = "primary" if fleet.backup.donor == "primary" else "replica"
    fitting = [server for server in shard.servers if server.role == role]
    return (*named, *fitting, *shard.servers)[0]


def _of_shards(fleet: Fleet, *, in_pools: bool) -> Iterator[Deployment]:
    for shard in fleet.shards:
        zone = fleet.schedule_of(shard).timezone
        yield Deployment(
            "backup",
            f"{fleet.name}.{shard.name}",
            ENTRYPOINTS["backup"],
            f"Backups of shard {shard.name} of fleet {fleet.name}.",
            tags_of(fleet) | {f"shard:{shard.name}", "kind:backup"},
            tuple(CronLine(kind, cron_of(fleet, shard, kind), zone, kind) for kind in KINDS),
            {"shard": shard.name},
            _place_of_shard(fleet, shard) if in_pools else None,
            # A full must not be lost to an incremental. What waited in vain is skipped when its time comes.
            next="waits",
        )


def _of_fleet(fleet: Fleet, *, in_pools: bool) -> Iterator[Deployment]:
    schedule = fleet.schedule
    duties = [
        ("archive-health", EVERY_FIVE_MINUTES, "Looks whether all is archived, and whether all is well."),
        # In between, so that the two do not always meet.
        ("reconcile", BETWEEN_THEM, "Ends runs whose process died, and takes a full that was missed."),
        ("retention", schedule.retention_cron, "Ends backups, and deletes what was ended."),
        ("verify", schedule.verify_cron, f"Reads {schedule.verify_percent:g} % of all that is stored again."),
    ]
    if fleet.proof.enabled:
        duties.append(("proof", fleet.proof.cron, "Restores a shard, to prove that it can be restored."))
    for flow, line, description in duties:
        yield Deployment(
            flow,
            fleet.name,
            ENTRYPOINTS[flow],
            description,
            tags_of(fleet) | {f"kind:{flow}"},
            (CronLine(flow, line, schedule.timezone),),
            {},
            Place(_pool(fleet), SHORT_QUEUE if flow in SHORT else "default") if in_pools else None,
        )


def _place_of_shard(fleet: Fleet, shard: Shard) -> Place:
    server = near(fleet, shard)
    match fleet.scheduler.pools:
        case "one":
            return Place(_pool(fleet), server.region)
        case "region":
            return Place(f"{_pool(fleet)}.{server.region}", "default")
        case "server":
            return Place(f"{_pool(fleet)}.{server.name}", "default")


def _pool(fleet: Fleet) -> str:
    return f"{TAG}-{fleet.name}"
