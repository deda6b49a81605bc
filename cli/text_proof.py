"""What ``backstay proof`` answers: the plan, what it came to, and the list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from rich.console import RenderableType

from cli.backups import by_uuid
from cli.render import render_text
from cli.tables import facts, findings_table, lines, listing
from cli.text_restore import stages
from drills.proof import ProofPlan, ProofResult
from drills.proof_list import ProofList, ProofRecord
from drills.proof_result import PURPOSE
from fleet import figures
from fleet.finding import Finding, Level
from fleet.moments import precise


@dataclass(frozen=True, slots=True)
class ProofPlanned:
    """What a proof would do. Bytes; ``alone``: why nothing would be replayed, None if something would."""

    shard: str
    label: str
    tried_at: datetime | None
    target: Path
    steps: tuple[str, ...]
    alone: str | None
    transactions: int
    needed_bytes: int
    free_bytes: int

    @classmethod
    def of(cls, plan: ProofPlan) -> Self:
        """The plan as it is told."""
        return cls(
            shard=plan.shard,
            label=plan.label,
            tried_at=plan.tried_at,
            target=plan.directory,
            steps=plan.steps(),
            alone=plan.alone,
            transactions=plan.transactions,
            needed_bytes=plan.needed_bytes,
            free_bytes=plan.free_bytes,
        )


@render_text.register
def _(planned: ProofPlanned) -> RenderableType:
    last = f"tried last {figures.moment(planned.tried_at)} UTC" if planned.tried_at else "never tried"
    steps = facts((f"{number:>2}.", step) for number, step in enumerate(planned.steps, start=1))
    return lines(f"The plan of a proof: shard {planned.shard}, {last}", "", steps)


@render_text.register
def _(result: ProofResult) -> RenderableType:
    checks = findings_table(
        Finding(Level.OK if check.passed else Level.FAIL, check.name, check.detail) for check in result.checks
    )
    below = ["", checks] if result.checks else []
    notes = list(_notes(result))
    return lines(facts(_facts(result)), *below, *(["", findings_table(notes)] if notes else []))


def _facts(result: ProofResult) -> Iterator[tuple[str, str]]:
    yield "proven" if result.proven else "NOT PROVEN", f"{result.shard}/{result.label}"
    if result.problem is not None:
        yield "because", result.problem
        yield "took", figures.duration(result.seconds)
        return
    if result.rto_seconds is not None:
        yield "back in", f"{_against(result.rto_seconds, result.rto_target_seconds)} (RTO)"
    if result.rpo_seconds is not None:
        most = "at most " if result.rpo_transactions else ""
        lost = figures.plural(result.rpo_transactions or 0, "transaction")
        yield (
            "would lose",
            f"{lost}, {most}{_against(result.rpo_seconds, result.rpo_target_seconds)} (RPO)",
        )
    else:
        yield "would lose", f"unknown (RPO): {result.rpo_unknown}"
    if result.reached_at is not None:
        yield "last commit", f"{precise(result.reached_at)} UTC"
    if result.alone is None:
        yield "replayed", figures.plural(result.transactions, "transaction")
    yield "took", f"{figures.duration(result.seconds)}{stages(result.stage_seconds)}"
    yield "started on", f"MySQL {result.server_version}"
    yield "GTID set", by_uuid(result.gtid_executed)


def _against(seconds: float, target_seconds: float) -> str:
    late = ": LONGER THAN PROMISED" if seconds > target_seconds else ""
    return f"{figures.duration(seconds)}, where {figures.duration(target_seconds)} are promised{late}"


def _notes(result: ProofResult) -> Iterator[Finding]:
    for each in result.passed_over:
        yield Finding(Level.WARN, "passed over", each.problem, f"It was the turn of {each.shard}.")
    if result.alone is not None:
        yield Finding(Level.WARN, "no replay", result.alone, "The backup is proven, the archive is not.")
    if result.unrecorded is not None:
        yield Finding(Level.WARN, "no record", result.unrecorded, "`proof list` will not show this.")
    if result.kept is not None:
        yield Finding(Level.OK, "kept", str(result.kept), "Delete it when it is no longer needed.")


@render_text.register
def _(listed: ProofList) -> RenderableType:
    parts: list[RenderableType] = []
    if listed.proofs:
        columns = ("shard", "at (UTC)", "backup", "", ">RTO", ">RPO")
        parts.append(listing(columns, map(_row, listed.proofs)))
    if listed.more:
        parts += ["", f"{figures.plural(listed.more, 'older one')} not shown: --newest N"]
    failed = [
        Finding(Level.FAIL, f"{each.shard} {figures.moment(each.at)}", each.problem)
        for each in listed.proofs
        if each.problem is not None
    ]
    never = [
        Finding(Level.WARN, shard, "was never proven", f"backstay proof run {shard}")
        for shard in listed.unproven
    ]
    if failed or never:
        parts += [*([""] if parts else []), findings_table([*failed, *never])]
    return lines(*parts) if parts else "There is no backup of any shard yet."


def _row(each: ProofRecord) -> tuple[str, ...]:
    proven = "proven" if each.purpose == PURPOSE else "restored"
    outcome = {True: proven, False: "FAILED", None: "unreadable"}[each.proven]
    return (
        each.shard,
        f"{each.at:%Y-%m-%d %H:%M}",
        each.label,
        outcome,
        "-" if each.rto_seconds is None else figures.duration(each.rto_seconds),
        "-" if each.rpo_seconds is None else figures.duration(each.rpo_seconds),
    )
