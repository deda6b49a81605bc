"""The fleet's status as Prometheus reads it. What is not known is left out, and never a zero."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from drills.status.report import BackupSeen, Cell, FleetStatus, Health, ShardStatus
from fleet import metrics
from fleet.metrics import Metric
from fleet.skew import Skew

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[Metric, tuple[str, ...], float | None]


def exposition(status: FleetStatus, looked_at: datetime) -> bytes:
    """``status`` in the text format of Prometheus; ``looked_at``: when a new one was last asked for."""
    return generate_latest(registry_of(lambda: (status, looked_at)))


def registry_of(look: Callable[[], tuple[FleetStatus, datetime]]) -> CollectorRegistry:
    """For a server of ``prometheus_client``: each scrape asks ``look``."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told(look))
    return registry


class _Told(Collector):
    def __init__(self, look: Callable[[], tuple[FleetStatus, datetime]]) -> None:
        self._look = look

    def collect(self) -> Iterator[GaugeMetricFamily]:
        families: dict[str, GaugeMetricFamily] = {}
        status, looked_at = self._look()
        for metric, labels, value in samples(status, looked_at):
            if value is None:
                continue
            family = families.get(metric.name)
            if family is None:
                family = GaugeMetricFamily(metric.name, metric.meaning, labels=("fleet", *metric.labels))
                families[metric.name] = family
            family.add_metric((status.fleet, *labels), value)
        yield from families.values()


def samples(status: FleetStatus, looked_at: datetime) -> Iterator[Sample]:
    """Every value with its labels, but for ``fleet``; None is not exported."""
    yield metrics.SEEN, (), status.seen_at.timestamp()
    yield metrics.LOOKED, (), looked_at.timestamp()
    yield metrics.REACHABLE, (), float(status.unreachable is None)
    yield metrics.TARGET_RTO, (), status.rto_target_seconds
    yield metrics.TARGET_RPO, (), status.rpo_target_seconds
    yield from _findings(status)
    yield metrics.STORE_CLOCK, (), _ahead(status.store_clock)
    for lone in status.unconfigured:
        yield metrics.UNCONFIGURED, (lone.shard,), lone.backups
    for disk in status.disks:
        yield metrics.DISK_USED, (disk.path,), disk.used_percent / 100
        yield metrics.DISK_FREE, (disk.path,), disk.free_bytes
    for shard in status.shards:
        yield metrics.HEALTH, (shard.shard,), float(list(Health).index(shard.health))
        yield from _of_backups(shard)
        yield from _of_the_archive(shard)
        yield from _of_proofs(shard)
        for server in shard.servers:
            yield metrics.SERVER_UP, (shard.shard, server.name), float(server.problem is None)
            yield metrics.REPLICATION_LAG, (shard.shard, server.name), server.lag_seconds
            yield metrics.SERVER_CLOCK, (shard.shard, server.name), _ahead(server.clock)


def _findings(status: FleetStatus) -> Iterator[Sample]:
    counted: dict[tuple[str, str, str], int] = {}
    of_shards = [(shard.shard, finding) for shard in status.shards for finding in shard.findings]
    for shard, finding in [*(("", each) for each in status.findings), *of_shards]:
        labels = (shard, finding.code, finding.health.value)
        counted[labels] = counted.get(labels, 0) + 1
    for labels, count in counted.items():
        yield metrics.FINDINGS, labels, count


def _of_backups(shard: ShardStatus) -> Iterator[Sample]:
    name = shard.shard
    newest: dict[str, BackupSeen | None] = {"full": shard.last_full, "incremental": shard.last_incremental}
    for kind, last in newest.items():
        labels = (name, kind)
        yield metrics.BACKUPS, labels, sum(backup.kind == kind for backup in shard.backups)
        missed = [run for run in shard.runs if run.kind == kind and run.state in ("not run", "failed")]
        yield metrics.MISSED, labels, len(missed)
        if last is not None:
            yield metrics.LAST_BACKUP, labels, last.finished_at.timestamp()
            yield metrics.LAST_SECONDS, labels, (last.finished_at - last.started_at).total_seconds()
            yield metrics.LAST_STORED, labels, last.stored_bytes
    yield metrics.DAMAGED, (name,), sum(backup.damage is not None for backup in shard.backups)
    if shard.next_run is not None:
        yield metrics.NEXT_RUN, (name, shard.next_run.kind), shard.next_run.due_at.timestamp()


def _of_the_archive(shard: ShardStatus) -> Iterator[Sample]:
    name = (shard.shard,)
    yield metrics.ARCHIVE_LAG, name, shard.archive_lag_seconds
    yield metrics.ARCHIVED_UNTIL, name, _seconds(shard.archived_until)
    yield metrics.GAPS, name, len(shard.gaps)
    yield metrics.MIRROR_LAG, name, shard.mirror_lag_seconds
    if shard.windows:
        yield metrics.RECOVERABLE_FROM, name, shard.windows[-1].first_at.timestamp()
        yield metrics.RECOVERABLE_UNTIL, name, shard.windows[-1].last_at.timestamp()
    for cell in Cell:
        yield metrics.HOURS, (shard.shard, cell.value), shard.recovery.cells.count(cell)


def _of_proofs(shard: ShardStatus) -> Iterator[Sample]:
    name = (shard.shard,)
    proven = [proof.at for proof in shard.proofs if proof.proven]
    yield metrics.PROVEN, name, _seconds(max(proven, default=None))
    yield metrics.FORECAST_RTO, name, shard.forecast_rto_seconds
    if shard.last_proof is not None:
        yield metrics.PROOF_OK, name, float(shard.last_proof.proven)
        yield metrics.PROOF_RTO, name, shard.last_proof.rto_seconds
        yield metrics.PROOF_RPO, name, shard.last_proof.rpo_seconds


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


def _ahead(clock: Skew | None) -> float | None:
    return None if clock is None else clock.ahead_seconds
