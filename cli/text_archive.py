"""What the ``backstay archive`` commands answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from rich.console import RenderableType

from backup.archive.purge_plan import PurgeFile, PurgePlan
from backup.archive.report import ArchiveStatus, ShardArchiveStatus
from cli.backups import by_uuid
from cli.render import render_text
from cli.tables import dim, facts, findings_table, lines, listing
from fleet import figures
from fleet.moments import precise


@render_text.register
def _(status: ArchiveStatus) -> RenderableType:
    if len(status.shards) == 1:
        (shard,) = status.shards
        shown: list[RenderableType] = [facts(_facts(shard))]
    else:
        shown = [_overview(status.shards)]
    findings = [finding for shard in status.shards for finding in shard.findings]
    return lines(*shown, "", findings_table(findings)) if findings else lines(*shown)


def _overview(shards: Iterable[ShardArchiveStatus]) -> RenderableType:
    """One shard a row; ``archive status SHARD`` says the rest."""
    rows = [
        (
            shard.shard,
            str(shard.epoch.number) if shard.epoch else "-",
            lag(shard),
            figures.number(shard.lag.transactions) if shard.lag else "-",
            figures.moment(shard.window.first_at)[:-3] if shard.window else "-",
            figures.size(shard.spool.bytes),
            str(len(shard.gaps)),
        )
        for shard in shards
    ]
    names = ("shard", ">epoch", ">lag", ">behind", "recoverable from (UTC)", ">spool", ">gaps")
    return listing(names, rows)


def _facts(shard: ShardArchiveStatus) -> Iterator[tuple[str, RenderableType]]:
    yield "shard", shard.shard
    if shard.epoch is None:
        yield "archive", f"empty yet; it begins with: backstay archive run {shard.shard}"
    else:
        epoch = shard.epoch
        yield (
            "epoch",
            f"{epoch.number}, {epoch.reason}, on {epoch.server} since {figures.moment(epoch.opened_at)}",
        )
    if shard.last is not None:
        yield "last", f"{shard.last.gtid}\n{precise(shard.last.committed_at)} UTC"
    yield "lag", lag(shard, long=True)
    yield "mode", _mode(shard)
    if shard.epoch is not None:
        yield "recoverable", _recoverable(shard)
    for gap in shard.gaps:
        yield (
            "gap",
            f"{figures.plural(gap.transactions, 'transaction')} before {gap.before}\n{by_uuid(gap.gtids)}",
        )
    for branch in shard.branches:
        what = figures.plural(branch.transactions, "transaction")
        yield "branch", f"{what} that epoch {branch.epoch} left behind\n{by_uuid(branch.gtids)}"
    segments = figures.plural(shard.segments, "segment")
    yield (
        "stored",
        f"{figures.size(shard.stored_bytes)} in {segments} of {figures.plural(shard.files, 'binlog file')}",
    )
    yield "spool", _spool(shard)
    for note in shard.open_notes:
        yield note.kind, f"since {figures.moment(note.at)}: {note.text}"


def lag(shard: ShardArchiveStatus, *, long: bool = False) -> str:
    """``0.4 s``, and in ``long`` also whom it is behind, and by how much."""
    if shard.lag is None:
        return "unknown: no source could be asked" if long else "unknown"
    seconds = "-" if shard.lag.seconds is None else figures.duration(shard.lag.seconds)
    if not long:
        return seconds
    if not shard.lag.transactions:
        return f"none: all that {shard.lag.server} has executed is archived"
    behind = figures.plural(shard.lag.transactions, "transaction")
    if shard.lag.seconds is None:
        return f"{behind} behind {shard.lag.server}, and it is not known for how long"
    return f"{seconds}, {behind} behind {shard.lag.server}"


def _recoverable(shard: ShardArchiveStatus) -> str:
    """A stretch a line; between two of them lies what was never archived."""
    if shard.windows:
        return "\n".join(
            f"{figures.moment(window.first_at)} to {figures.moment(window.last_at)} UTC"
            for window in shard.windows
        )
    why = "no backup leads into the archive" if shard.backups else "there is no backup"
    return f"nothing yet: {why}; take one: backstay backup full {shard.shard}"


def _mode(shard: ShardArchiveStatus) -> str:
    if shard.lag is None or shard.lag.mode_holds is None:
        return shard.mode
    return f"{shard.mode}, commits wait for it" if shard.lag.mode_holds else f"{shard.mode}: NOT HELD NOW"


def _spool(shard: ShardArchiveStatus) -> str:
    spool = shard.spool
    if not spool.bytes:
        return "empty: nothing waits for the store"
    waiting = f"{figures.size(spool.bytes)} of at most {figures.size(spool.max_bytes)}"
    return f"{waiting} in {figures.plural(spool.files, 'file')}, {spool.directory}"


def purge_plan(plan: PurgePlan) -> RenderableType:
    """The binlogs of one source: what goes, what stays, and why."""
    rows = [
        _run_of_files(list(run)) for _, run in groupby(plan.files, key=lambda file: (file.goes, file.reason))
    ]
    table = listing(("binlog files", ">size", "", "why"), rows)
    going = f"{figures.plural(len(plan.going), 'file')}, {figures.size(plan.bytes)}"
    stays = f"; {plan.keep_from} is the oldest that stays" if plan.keep_from else ""
    verdict = f"{going} can be purged{stays}." if plan.going else "There is nothing to purge."
    parts: list[RenderableType] = [f"Server {plan.server}, shard {plan.shard}:", "", table, "", verdict]
    return lines(*parts, "", findings_table(plan.findings)) if plan.findings else lines(*parts)


def _run_of_files(run: list[PurgeFile]) -> tuple[RenderableType, ...]:
    """Files in a row that go, or stay, for one reason are one row: a source may have thousands."""
    names = run[0].name if len(run) == 1 else f"{run[0].name} to {run[-1].name.rpartition('.')[2]}"
    deed = "goes" if run[0].goes else "stays"
    return names, figures.size(sum(file.size_bytes for file in run)), deed, dim(run[0].reason)
