"""What ``backup full`` and ``backup incremental`` answer: plans, or backups and failures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.console import RenderableType

from backup.full import BackupPlan, BackupResult
from cli.backups import gtid_facts
from cli.failure import Failure
from cli.render import render_text
from cli.tables import facts, findings_table, lines
from fleet import figures


@dataclass(frozen=True, slots=True)
class BackupsTaken:
    """Backups that exist now, and why there is none of the other shards."""

    backups: tuple[BackupResult, ...]
    failed: Mapping[str, Failure]


@dataclass(frozen=True, slots=True)
class BackupsPlanned:
    """What would be done."""

    plans: tuple[BackupPlan, ...]


@render_text.register
def _(result: BackupResult) -> RenderableType:
    return facts(_facts(result))


@render_text.register
def _(taken: BackupsTaken) -> RenderableType:
    """The backups were printed one by one; what is left are the shards that have none."""
    summary = f"{figures.plural(len(taken.backups), 'backup')} taken, {len(taken.failed)} failed."
    failed = facts((shard, failure.message) for shard, failure in taken.failed.items())
    return lines("", summary, "", failed) if taken.failed else lines("", summary)


@render_text.register
def _(planned: BackupsPlanned) -> RenderableType:
    parts = [part for plan in planned.plans for part in ("", _plan(plan))]
    return lines(*parts[1:])


def _facts(result: BackupResult) -> Iterator[tuple[str, str]]:
    yield "backup", f"{result.shard}/{result.label}"
    yield "copied from", result.reason
    yield "took", f"{figures.duration(result.seconds)}, {figures.rate(result.received_bytes, result.seconds)}"
    yield "data", f"{figures.size(result.files_bytes)} in {figures.plural(result.files, 'file')}"
    compression = figures.ratio(result.files_bytes, result.stored_bytes)
    yield "stored", f"{figures.size(result.stored_bytes)}, {compression}"
    if result.spilled_bytes:
        yield "spooled", f"{figures.size(result.spilled_bytes)} waited on this host's disk"
    yield from gtid_facts(result.gtid_low, result.gtid_high)
    for number, reason in enumerate(result.interruptions, start=1):
        yield f"attempt {number}", reason


def _plan(plan: BackupPlan) -> RenderableType:
    rows = [
        ("backup", f"{plan.kind}, of shard {plan.shard}"),
        ("copy from", plan.reason),
        *(("passed over" if not number else "", reason) for number, reason in enumerate(plan.passed_over)),
        ("data", figures.size(plan.data_bytes)),
        ("into", plan.repository),
    ]
    return lines(facts(rows), "", findings_table(plan.findings))
