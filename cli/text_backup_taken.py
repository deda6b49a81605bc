"""What ``backup full`` and ``backup incremental`` answer: plans, or backups and failures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.console import RenderableType

from backup.result import BackupPlan, BackupResult
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
    yield from _built_on(result)
    yield "copied from", result.reason
    yield "took", f"{figures.duration(result.seconds)}, {figures.rate(result.received_bytes, result.seconds)}"
    yield "data", f"{figures.size(result.files_bytes)} in {figures.plural(result.files, 'file')}"
    yield from _stored(result)
    if result.spilled_bytes:
        yield "spooled", f"{figures.size(result.spilled_bytes)} waited on this host's disk"
    yield from gtid_facts(result.gtid_low, result.gtid_high)
    yield from _damaged(result)
    for number, reason in enumerate(result.interruptions, start=1):
        yield f"attempt {number}", reason


def _built_on(of: BackupResult | BackupPlan) -> Iterator[tuple[str, str]]:
    """What it continues or refers to, or why it does not."""
    if of.base is not None:
        yield "continues", of.base
    if of.built_on is not None:
        yield "refers to", of.built_on
    if of.became_full_because is not None:
        # One that refers to another has all pages, and did not store them all.
        yield "all pages" if of.built_on is None else "full because", of.became_full_because


def _stored(result: BackupResult) -> Iterator[tuple[str, str]]:
    """What became of the data: sent or not, changed or not, stored or referred to."""
    if result.base is None and result.built_on is None:
        compression = figures.ratio(result.files_bytes, result.stored_bytes)
        yield "stored", f"{figures.size(result.stored_bytes)}, {compression}"
        return
    share = 100 * result.stored_bytes / result.files_bytes if result.files_bytes else 0
    yield "unchanged", figures.size(result.unchanged_bytes + result.skipped_bytes)
    if result.skipped_bytes:
        yield "not sent", f"{figures.size(result.skipped_bytes)} of it: {result.saving}"
    elif result.saving:
        yield "sent", f"all: {result.saving}"
    yield "stored", f"{figures.size(result.stored_bytes)}, {share:.1f} % of the data"


def _damaged(result: BackupResult) -> Iterator[tuple[str, str]]:
    if result.damaged_pages:
        first = result.damaged_pages[0]
        count = figures.plural(len(result.damaged_pages), "page")
        yield "damaged", f"{count} at the donor, the first: {first.file}, page {first.page}; CHECK TABLE it"


def _plan(plan: BackupPlan) -> RenderableType:
    rows = [
        ("backup", f"{plan.kind}, of shard {plan.shard}"),
        *_built_on(plan),
        ("copy from", plan.reason),
        *(("passed over" if not number else "", reason) for number, reason in enumerate(plan.passed_over)),
        ("data", figures.size(plan.data_bytes)),
        *([("saving", plan.saving)] if plan.saving else []),
        ("into", plan.repository),
    ]
    return lines(facts(rows), "", findings_table(plan.findings))
