"""What a month shows: its tables, and in what it failed. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from benchmarks.month_kills import VICTIMS, Killed
from benchmarks.month_watch import Taken
from benchmarks.served import kind_of, since
from benchmarks.story import Sheet
from drills.status.report import FleetStatus, Judged
from drills.status.run_journal import RunEnded

OUTCOMES = ("Completed", "Skipped", "Failed", "Crashed", "Cancelled", "Late")
REASONS = 12

_PARTICULAR = re.compile(r"\d[\dTZ:.\-]*(?:-(?:full|incremental))?|\b[0-9a-f]{8,}\b")


def outcome_sheet(runs: Iterable[Mapping[str, Any]]) -> Sheet:
    """Flow runs by what they were for and how they ended; those that are ahead are left out."""
    counted: dict[str, Counter[str]] = {}
    for run in runs:
        name = str(run["state_name"])
        if name != "Scheduled":
            counted.setdefault(kind_of(run), Counter())[name if name in OUTCOMES else "other"] += 1
    columns = (*OUTCOMES, "other")
    rows = [
        (kind, *(str(names[name]) for name in columns), str(names.total()))
        for kind, names in sorted(counted.items())
    ]
    return Sheet("runs by outcome", ("run", *columns, "all"), tuple(rows))


def due_sheet(status: FleetStatus) -> Sheet:
    """What each shard's schedule asked for, by what came of it."""
    states = ("done", "not run", "failed", "running", "waiting")
    rows: list[tuple[str, ...]] = []
    for shard in status.shards:
        for kind in ("full", "incremental"):
            counted = Counter(run.state for run in shard.runs if run.kind == kind)
            rows.append((f"{shard.shard}, {kind}", *(str(counted[state]) for state in states)))
    return Sheet("what was due", ("shard", *states), tuple(rows))


def backup_sheet(taken: Sequence[Taken], kept: Mapping[str, int]) -> Sheet:
    """Backups that were there at some time, and those that are in the end."""
    rows: list[tuple[str, ...]] = []
    for shard in sorted({each.shard for each in taken}):
        own = [each for each in taken if each.shard == shard]
        kinds = Counter(each.kind for each in own)
        longest = max((each.ended - each.began).total_seconds() for each in own)
        rows.append((shard, str(kinds["full"]), str(kinds["incremental"]), str(kept.get(shard, 0)),
                     f"{longest:.1f}"))  # fmt: skip
    return Sheet("backups", ("shard", "fulls", "incrementals", "kept in the end", "longest s"), tuple(rows))


def kill_sheet(kills: Sequence[Killed]) -> Sheet:
    """How often each victim died."""
    rows = [
        (victim, str(sum(each.victim == victim and bool(each.what) for each in kills)),
         str(sum(each.victim == victim and not each.what for each in kills)))
        for victim in VICTIMS
    ]  # fmt: skip
    return Sheet("kill -9", ("victim", "killed", "not there"), tuple(rows))


def reasons(status: FleetStatus, journal: Iterable[RunEnded], runs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Why something was missed, the commonest first: what stands for one backup alone is left out."""
    told: Counter[str] = Counter()
    for shard in status.shards:
        told.update(
            f"{run.kind} {run.state}: {general(run.because or '')}"
            for run in shard.runs
            if run.state in ("not run", "failed")
        )
    told.update(
        f"{run.flow} {run.outcome}: {general(run.message or '')}"
        for run in journal
        if run.outcome in ("failed", "cancelled")
    )
    told.update(
        f"{kind_of(run)} {run['state_name']}: {general(run['state'].get('message') or '')}"
        for run in runs
        if run["state_name"] in ("Crashed", "Cancelled")
    )
    shown = [f"{count} x {text}" for text, count in told.most_common(REASONS)]
    more = len(told) - len(shown)
    return [*shown, f"and {more} other reasons"] if more > 0 else shown


def general(text: str) -> str:
    """``text`` without times, labels and other numbers, cut to a line."""
    return _PARTICULAR.sub("#", " ".join(text.split()))[:160]


def status_notes(status: FleetStatus) -> list[str]:
    """How the fleet does in the end."""
    found: list[tuple[str, Judged]] = [("fleet", each) for each in status.findings]
    found += [(shard.shard, each) for shard in status.shards for each in shard.findings]
    told = [f"{each.health} {each.code}, {where}: {each.message}" for where, each in found]
    return [f"status in the end: {status.health}", *dict.fromkeys(told)]


def stuck(runs: Iterable[Mapping[str, Any]], before: datetime) -> list[str]:
    """Runs that began before that time, have not ended, and that nobody ends any more."""
    return [
        f"{run['name']} ({kind_of(run)}) is {run['state_name']} since {since(run):%T}"
        for run in runs
        if run["state_type"] in ("RUNNING", "PENDING", "CANCELLING") and since(run) < before
    ]
