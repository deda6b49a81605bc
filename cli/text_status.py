"""How a fleet does, for somebody who was just woken: 80 columns, the worst first, one thing to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli.render import render_text
from cli.tables import copyable, dim, facts, lines, listing
from drills.status.judge import by_urgency
from drills.status.report import (
    BackupSeen,
    Cell,
    FleetStatus,
    Health,
    Judged,
    ProofSeen,
    ReplicaSeen,
    RunSeen,
    ShardStatus,
    UnconfiguredShard,
)
from fleet import figures
from fleet.skew import TELLING_SECONDS

STYLES = {
    Health.OK: "green",
    Health.UNKNOWN: "bold magenta",
    Health.WARNING: "bold yellow",
    Health.CRITICAL: "bold red",
}

_SIGNS = {
    Cell.NOTHING: (".", "dim"),
    Cell.LOST: ("X", "bold red"),
    Cell.ARCHIVED: ("a", ""),
    Cell.VERIFIED: ("v", "green"),
    Cell.PROVEN: ("P", "bold green"),
    Cell.DRILLED: ("D", "bold cyan"),
}
_WIDTH = 80
_INDENT = 10
_RUNS = 5
_TOLD_APART = 2
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))


@render_text.register
def _(status: FleetStatus) -> RenderableType:
    return lines(*_told(status), "", *_to_do(status.what_to_do))


def watched(status: FleetStatus) -> RenderableType:
    """The same for a screen that may be too low for all of it: what is to be done comes first."""
    return lines(*_to_do(status.what_to_do), "", *_told(status))


def _told(status: FleetStatus) -> Iterator[RenderableType]:
    # What is known of long ago is as old as it is now, not as old as it was then.
    now = status.seen_at if status.unreachable is None else max(status.seen_at, datetime.now(UTC))
    found = by_urgency((*status.findings, *(each for shard in status.shards for each in shard.findings)))
    yield _heading(status)
    if len(status.shards) == 1:
        yield from ("", facts(_facts(status.shards[0], status, now)))
    elif status.shards:
        yield from ("", _overview(status, now))
    if status.unconfigured:
        yield from ("", *(_unconfigured(each, now) for each in status.unconfigured))
    if found:
        yield ""
    for same in _alike(found):
        yield from _finding(same[0], now)
        if len(same) > 1:
            others = ", ".join(each.subject.removeprefix("shard ") for each in same[1:])
            yield Padding(Text(f"The same: {others}"), (0, 0, 0, _INDENT))


def _unconfigured(shard: UnconfiguredShard, now: datetime) -> RenderableType:
    """A shard that nobody configured is no finding: it is there, and goes by retention."""
    what = f"{shard.shard}: {figures.plural(shard.backups, 'backup')}, and the configuration does not name it"
    if shard.newest is None or shard.kept_until is None:
        return Text(what)
    end = f"until {shard.kept_until:%Y-%m-%d}" if shard.kept_until > now else "as its newest"
    return lines(
        what, dim(f"  newest {shard.newest.label}, {_ago(shard.newest.finished_at, now)}; kept {end}")
    )


def _alike(findings: Sequence[Judged]) -> Iterator[list[Judged]]:
    """Many shards that are ill in the same way are one thing to read; two are still told one by one."""
    groups: dict[tuple[Health, str], list[Judged]] = {}
    for finding in findings:
        groups.setdefault((finding.health, finding.code), []).append(finding)
    for same in groups.values():
        yield from [same] if len(same) > _TOLD_APART else [[each] for each in same]


def _heading(status: FleetStatus) -> RenderableType:
    health = "ok" if status.health is Health.OK else status.health.upper()
    head = Text.assemble(
        f"fleet {status.fleet}: ",
        (health, STYLES[status.health]),
        (f"   {figures.moment(status.seen_at)} UTC", "dim"),
    )
    if status.unreachable is None:
        return head
    return lines(head, Text(f"NOT NOW: {status.unreachable}", style="bold red"))


def _to_do(what: str) -> Iterator[RenderableType]:
    """A command that does not fit beside its sentence gets a line of its own, for whoever copies it."""
    sentence, command = _apart(what)
    head = Text.assemble(("To do: ", "bold"), sentence)
    if command and len(head) + 1 + len(command) > _WIDTH:
        yield head
        yield copyable(f"  {command}")
    else:
        yield Text.assemble(head, f" {command}" if command else "")


def _apart(hint: str) -> tuple[str, str]:
    """The sentence with its colon, and the command behind it, if there is one."""
    sentence, colon, command = hint.rpartition(": ")
    return (f"{sentence}:", command) if colon else (hint, "")


def _overview(status: FleetStatus, now: datetime) -> RenderableType:
    """A shard a row; ``status SHARD`` says the rest. How far the archive is behind is only known now."""
    rows = [
        (
            shard.shard,
            Text(shard.health, style=STYLES[shard.health]),
            _newest(shard, "full", shard.last_full, now),
            _newest(shard, "incremental", shard.last_incremental, now),
            _age(shard.last_proof and shard.last_proof.at, now),
            _lag(shard) if status.unreachable is None else "?",
            _reach(shard, now),
            Text(str(len(shard.gaps)), style="bold red" if shard.gaps else ""),
            "running" if shard.running_since else _next(shard.next_run, now),
            _rto(shard, status),
        )
        for shard in status.shards
    ]
    target = short(status.rto_target_seconds)
    names = (
        "shard",
        "health",
        ">full",
        ">incr",
        ">proven",
        ">lag",
        ">window",
        ">gaps",
        "next",
        f">RTO/{target}",
    )
    return listing(names, rows)


def _facts(shard: ShardStatus, status: FleetStatus, now: datetime) -> Iterator[tuple[str, RenderableType]]:
    yield "shard", Text.assemble(shard.shard, "  ", (shard.health, STYLES[shard.health]))
    for name, kind, backup in (
        ("last full", "full", shard.last_full),
        ("incremental", "incremental", shard.last_incremental),
    ):
        yield name, "none is whole" if shard.none_is_whole(kind) else _backup(backup, now)
    yield "last proven", _proof(shard.last_proof, now)
    until = f"{figures.moment(shard.archived_until)} UTC" if shard.archived_until else "nothing is archived"
    yield "archived until", f"{until}, {_behind(shard)}, {shard.archive_mode}"
    if shard.mirror_lag_seconds is not None:
        yield "mirror", f"lag {figures.duration(shard.mirror_lag_seconds)}"
    yield "recoverable", _windows(shard)
    yield "gaps", _gaps(shard)
    yield "last 30 days", _map(shard)
    if shard.running_since is not None:
        yield "running since", f"{figures.moment(shard.running_since)} UTC"
    missed = [run for run in shard.runs if run.state != "done"]
    if len(missed) > _RUNS:
        yield "not done", f"{len(missed)} runs of the last two days; the newest:"
    for run in missed[-_RUNS:]:
        yield run.state, _run(run)
    yield "next run", _run(shard.next_run) if shard.next_run else "none"
    yield "RTO", _forecast(shard, status)
    for server in shard.servers:
        yield "server", _server(server)


def _behind(shard: ShardStatus) -> str:
    """An idle source has committed nothing since: that is no lag."""
    if shard.archive_lag_seconds is None:
        return "lag unknown"
    lag = shard.archive_lag_seconds
    return f"lag {figures.duration(lag)}" if lag else "which is all there is"


def _backup(backup: BackupSeen | None, now: datetime) -> str:
    if backup is None:
        return "none"
    took = figures.duration((backup.finished_at - backup.started_at).total_seconds())
    return f"{backup.label}, {_ago(backup.finished_at, now)}, {figures.size(backup.stored_bytes)} in {took}"


def _proof(proof: ProofSeen | None, now: datetime) -> str:
    if proof is None:
        return "never"
    measured = [
        f"{name} {figures.duration(seconds)}"
        for name, seconds in (("RTO", proof.rto_seconds), ("RPO", proof.rpo_seconds))
        if seconds is not None
    ]
    return ", ".join([proof.label, _ago(proof.at, now), *measured])


def _windows(shard: ShardStatus) -> str:
    if not shard.windows:
        return "nothing"
    return "\n".join(
        f"{figures.moment(each.first_at)} to {figures.moment(each.last_at)} UTC" for each in shard.windows
    )


def _gaps(shard: ShardStatus) -> RenderableType:
    if not shard.gaps:
        return "none"
    told = (f"{figures.plural(gap.transactions, 'transaction')} before {gap.before}" for gap in shard.gaps)
    return Text("\n".join(told), style="bold red")


def _map(shard: ShardStatus) -> RenderableType:
    """A sign a day: that of its worst hour that is not nothing."""
    cells = shard.recovery.cells
    days = [
        [cell for cell in cells[at : at + 24] if cell is not Cell.NOTHING] for at in range(0, len(cells), 24)
    ]
    order = list(Cell)
    worst = [min(day, key=order.index, default=Cell.NOTHING) for day in days]
    drawn = Text.assemble(*(_SIGNS[cell] for cell in worst))
    there = [cell for cell in Cell if cell in worst and cell is not Cell.NOTHING]
    legend = ", ".join(f"{_SIGNS[cell][0]} {cell}" for cell in there)
    return lines(drawn, dim(legend)) if legend else drawn


def _run(run: RunSeen) -> str:
    because = f": {run.because}" if run.because else ""
    return f"{run.kind}, {figures.moment(run.due_at)[:-3]} UTC{because}"


def _forecast(shard: ShardStatus, status: FleetStatus) -> RenderableType:
    target = f"{figures.duration(status.rto_target_seconds)} promised"
    if shard.forecast_rto_seconds is None:
        return f"{target}; not known until a restore has measured it"
    over = shard.forecast_rto_seconds > status.rto_target_seconds
    forecast = f"{figures.duration(shard.forecast_rto_seconds)} by {shard.forecast_by}"
    return Text.assemble((forecast, "bold yellow" if over else ""), f", {target}")


def _server(server: ReplicaSeen) -> RenderableType:
    if server.problem is not None:
        return Text.assemble(f"{server.name}, {server.region}: ", (server.problem, "bold red"))
    lag = "" if server.lag_seconds is None else f", lag {figures.duration(server.lag_seconds)}"
    is_off = server.clock is not None and server.clock.least_seconds >= TELLING_SECONDS
    clock = f", its clock {server.clock.told} ours" if server.clock is not None and is_off else ""
    return f"{server.name}, {server.region}: {server.role}{lag}{clock}"


def _finding(finding: Judged, now: datetime) -> Iterator[RenderableType]:
    """How bad, what, its chapter in the runbook, and for how long; the way out below it."""
    age = f", {short((now - finding.since).total_seconds())}" if finding.since else ""
    told = Text.assemble(
        (finding.subject, "bold"), f": {finding.message} ", (f"({finding.code}{age})", "dim")
    )
    head = Table.grid(padding=(0, 1, 0, 0))
    head.add_column(no_wrap=True, width=_INDENT - 1)
    head.add_column(overflow="fold")
    head.add_row(Text(finding.health, style=STYLES[finding.health]), told)
    yield head
    if not finding.hint:
        return
    sentence, command = _apart(finding.hint)
    is_long = bool(command) and _INDENT + len(finding.hint) > _WIDTH
    yield Padding(dim(sentence if is_long else finding.hint), (0, 0, 0, _INDENT))
    if is_long:
        # Not padded: that would cut it off.
        yield Text(" " * _INDENT + command, style="dim", no_wrap=True, overflow="ignore")


def _ago(at: datetime, now: datetime) -> str:
    return f"{figures.duration(max(0.0, (now - at).total_seconds()))} ago"


def _newest(shard: ShardStatus, kind: str, backup: BackupSeen | None, now: datetime) -> str:
    return "damaged" if shard.none_is_whole(kind) else _age(backup and backup.finished_at, now)


def _age(at: datetime | None, now: datetime) -> str:
    return "never" if at is None else short((now - at).total_seconds())


def _lag(shard: ShardStatus) -> str:
    return "?" if shard.archive_lag_seconds is None else short(shard.archive_lag_seconds)


def _reach(shard: ShardStatus, now: datetime) -> RenderableType:
    """How far back every moment can be recovered; red where the newest window does not lead to the end."""
    if not shard.windows:
        return Text("none", style="bold red" if shard.archived_until else "")
    newest = shard.windows[-1]
    if shard.archived_until is not None and newest.last_at < shard.archived_until:
        return Text("ended", style="bold red")
    return short((now - newest.first_at).total_seconds())


def _next(run: RunSeen | None, now: datetime) -> str:
    if run is None:
        return "none"
    return f"{run.kind[:4]} {short((run.due_at - now).total_seconds())}"


def _rto(shard: ShardStatus, status: FleetStatus) -> RenderableType:
    if shard.forecast_rto_seconds is None:
        return "?"
    over = shard.forecast_rto_seconds > status.rto_target_seconds
    return Text(short(shard.forecast_rto_seconds), style="bold yellow" if over else "")


def short(seconds: float) -> str:
    """``0.4s``, ``42s``, ``15m``, ``26h``, ``3d``: one unit, of which there are at least two; cut off."""
    seconds = max(0.0, seconds)
    for length, unit in _UNITS:
        if seconds >= 2 * length:
            return f"{int(seconds // length)}{unit}"
    return f"{seconds:.1f}s" if 0 < seconds < 9.95 else f"{seconds:.0f}s"
