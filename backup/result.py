"""What a backup would do, and what one that exists is: the answers of every verb that takes one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from backup.copying import Copied
from backup.decision import Decision
from fleet.finding import Finding
from repository.manifest import DamagedPage, Manifest
from repository.writer import WriterStatistics


@dataclass(frozen=True, slots=True)
class BackupPlan:
    """What a backup would do: the donor and why, the size it will read, and what was found. Bytes.

    ``kind``, ``base``, ``built_on`` and ``became_full_because`` as in ``BackupResult``; ``saving`` says
    whether the donor would be asked to send only what changed.
    """

    shard: str
    kind: str
    donor: str
    reason: str
    passed_over: tuple[str, ...]
    data_bytes: int
    repository: str
    findings: tuple[Finding, ...]
    base: str | None = None
    built_on: str | None = None
    became_full_because: str | None = None
    saving: str = ""


@dataclass(frozen=True, slots=True)
class BackupResult:
    """A backup that exists. Bytes, CPU seconds by stage; ``interruptions``: how earlier tries ended.

    ``kind`` is what it became: ``full``, though an incremental was asked for, if ``became_full_because`` has
    a reason; that also tells why a full that should refer stores all pages. ``base`` is the label of the
    backup that an incremental continues, ``built_on`` of the one that a full refers to. Of the data that
    arrived, ``unchanged_bytes`` were left out: the base has them, or newer ones came; ``skipped_bytes`` the
    donor was asked not to send, and ``saving`` says why, or why it was not asked; ``referred_bytes`` lie in
    packs of other backups. ``damaged_pages``: the first 1,000 pages with a wrong checksum at the donor.
    """

    shard: str
    label: str
    kind: str
    donor: str
    reason: str
    started_at: datetime
    finished_at: datetime
    seconds: float
    files: int
    files_bytes: int
    received_bytes: int
    stored_bytes: int
    spilled_bytes: int
    resumes: int
    gtid_low: str
    gtid_high: str
    stage_seconds: Mapping[str, float]
    cpu_seconds: Mapping[str, float]
    interruptions: tuple[str, ...] = ()
    base: str | None = None
    built_on: str | None = None
    became_full_because: str | None = None
    unchanged_bytes: int = 0
    skipped_bytes: int = 0
    referred_bytes: int = 0
    saving: str = ""
    damaged_pages: tuple[DamagedPage, ...] = ()


def result_of(
    manifest: Manifest,
    decision: Decision,
    copied: Copied,
    statistics: WriterStatistics,
    *,
    saving: str,
    seconds: float,
) -> BackupResult:
    """What there is to say of the backup ``manifest``; ``saving`` and ``seconds`` are those of the result."""
    sizes = manifest.sizes
    return BackupResult(
        shard=manifest.shard,
        label=manifest.label,
        kind=manifest.kind,
        donor=decision.donor.server.name,
        reason=decision.donor.reason,
        started_at=manifest.timings.started_at,
        finished_at=manifest.timings.finished_at,
        seconds=seconds,
        files=len(manifest.files),
        files_bytes=sizes.files_bytes,
        received_bytes=sum(copied.outcome.bytes_by_stage.values()),
        stored_bytes=sizes.stored_bytes,
        spilled_bytes=copied.spilled_bytes,
        resumes=copied.outcome.resumes,
        gtid_low=manifest.gtid.low,
        gtid_high=manifest.gtid.high,
        stage_seconds=manifest.timings.seconds,
        cpu_seconds=statistics.cpu_seconds,
        base=manifest.base.label if manifest.base is not None else None,
        built_on=manifest.built_on,
        became_full_because=decision.became_full_because,
        unchanged_bytes=sizes.unchanged_bytes,
        skipped_bytes=sizes.skipped_bytes,
        referred_bytes=sizes.referred_bytes,
        saving=saving,
        damaged_pages=manifest.damaged_pages,
    )
