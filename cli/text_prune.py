"""What prune says: what goes, what stays and why, what can be recovered, and when to run it again."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from itertools import groupby

from rich.console import RenderableType

from backup.prune_plan import (
    ArchiveSeen,
    BackupGoing,
    BackupReducing,
    BinlogsGoing,
    PrunePlan,
    PruneResult,
)
from cli.backups import left_told
from cli.render import render_text
from cli.tables import dim, findings_table, grid, lines, listing
from fleet import figures
from fleet.finding import Finding, Level
from repository.archive.line import Window

_STEPS = {"delete": "goes now", "begin": "its hour begins"}


@render_text.register
def _(plan: PrunePlan) -> RenderableType:
    told: list[RenderableType] = [f"The recovery window begins at {figures.moment(plan.window_start)} UTC."]
    for part in (_backups(plan), _binlogs(plan), _leftovers(plan), _archives(plan), _found(plan)):
        if part is not None:
            told += ["", part]
    kept = f"{figures.plural(plan.kept_backups, 'backup')} of {figures.size(plan.left_bytes)}"
    shrunk = plan.left_bytes != plan.kept_bytes
    before = f"; before some were reduced it was {figures.size(plan.kept_bytes)}" if shrunk else ""
    told += ["", f"Kept: {kept}{before}.", _next(plan)]
    return lines(*told)


@render_text.register
def _(result: PruneResult) -> RenderableType:
    counted = [
        *([figures.plural(len(result.backups), "backup")] if result.backups else []),
        *([figures.plural(result.binlog_files, "binlog file")] if result.binlog_files else []),
        *([f"what {figures.plural(len(result.leftovers), 'attempt')} left"] if result.leftovers else []),
    ]
    what = ", ".join(counted) or "no backup"
    shrunk = [each for each in result.reduced if each.reduced]
    told: list[RenderableType] = [
        "",
        f"Deleted: {what}; {figures.plural(result.objects, 'object')} of {figures.size(result.freed_bytes)} "
        f"in {figures.duration(result.seconds)}.",
    ]
    if shrunk:
        packs = sum(each.reduced for each in shrunk)
        freed = figures.size(sum(each.freed_bytes for each in shrunk))
        told.append(
            f"Shrunk: {figures.plural(packs, 'pack')} of {figures.plural(len(shrunk), 'backup')}, "
            f"{freed} of these bytes."
        )
    if whole := [each for each in result.reduced if not each.reduced]:
        names = ", ".join(f"{each.shard}/{each.label}" for each in whole)
        told.append(f"Nothing was to be gained by shrinking {names}.")
    found = [
        Finding(Level.WARN, f"{each.shard}/{each.label}", f"stays: {each.because}") for each in result.spared
    ]
    if result.locked:
        until = [each.until for each in result.locked if each.until]
        when = f" until {figures.moment(max(until))} UTC" if until else ""
        fact = f"the store refuses to delete {figures.plural(len(result.locked), 'object')}{when}"
        found.append(Finding(Level.WARN, "locked", fact, "Run again after that date."))
    if found:
        told.append(findings_table(found))
    told.append(_again(result.next_at, result.next_bytes))
    return lines(*told)


def _backups(plan: PrunePlan) -> RenderableType | None:
    rows: list[tuple[RenderableType, ...]] = [
        (f"{each.shard}/{each.label}", left_told(each.left_bytes, each.stored_bytes), _goes(each))
        for each in plan.backups
    ]
    shrinking = {(each.shard, each.label): _shrinks(each) for each in plan.reducing}
    rows += [
        (
            f"{each.shard}/{each.label}",
            left_told(each.left_bytes, each.stored_bytes),
            shrinking.get((each.shard, each.label)) or dim(f"stays: {'; '.join(each.reasons)}"),
        )
        for each in plan.marked
    ]
    return grid(rows) if rows else None


def _goes(going: BackupGoing) -> str:
    if going.step == "wait" and going.due_at:
        return f"goes after {figures.moment(going.due_at)} UTC: {going.why}"
    return f"{_STEPS[going.step]}: {going.why}"


def _shrinks(reducing: BackupReducing) -> str:
    what = f"to what {figures.plural(reducing.referring, 'backup')} refer to"
    if reducing.referring < 2:
        what = "to what one backup refers to" if reducing.referring else "to nothing: nobody refers to it"
    if reducing.step == "wait" and reducing.due_at:
        return f"shrinks after {figures.moment(reducing.due_at)} UTC {what}"
    return f"shrinks now {what}" if reducing.step == "reduce" else f"its hour begins; then it shrinks {what}"


def _binlogs(plan: PrunePlan) -> RenderableType | None:
    """One row a shard: files of a month are too many to read; --json has each."""
    rows = [_span(shard, list(files)) for shard, files in groupby(plan.binlogs, key=lambda each: each.shard)]
    return listing(("binlogs", ">files", ">stored", "from", "to"), rows) if rows else None


def _span(shard: str, files: Collection[BinlogsGoing]) -> tuple[str, ...]:
    firsts = [each.first_at for each in files if each.first_at]
    lasts = [each.last_at for each in files if each.last_at]
    return (
        shard,
        figures.number(len(files)),
        figures.size(sum(each.stored_bytes for each in files)),
        figures.moment(min(firsts)) if firsts else "-",
        figures.moment(max(lasts)) if lasts else "-",
    )


def _leftovers(plan: PrunePlan) -> RenderableType | None:
    rows = [
        (f"{each.shard}/{each.label}", figures.size(each.stored_bytes), figures.moment(each.newest_at))
        for each in plan.leftovers
    ]
    return listing(("of an attempt that died", ">stored", "last written"), rows) if rows else None


def _archives(plan: PrunePlan) -> RenderableType | None:
    rows = [(each.shard, _windows(each.before), _after(each)) for each in plan.archives]
    return listing(("recoverable", "now", "afterwards"), rows) if rows else None


def _after(seen: ArchiveSeen) -> str:
    told = "the same" if seen.before == seen.after else _windows(seen.after)
    return f"{told}; older binlogs stay for {seen.kept_for}" if seen.kept_for else told


def _windows(windows: Collection[Window]) -> str:
    return (
        "\n".join(f"{figures.moment(each.first_at)} to {figures.moment(each.last_at)}" for each in windows)
        or "no point within the window"
    )


def _found(plan: PrunePlan) -> RenderableType | None:
    found = [*_findings(plan)]
    return findings_table(found) if found else None


def _findings(plan: PrunePlan) -> Iterator[Finding]:
    for each in plan.unreadable:
        told = "given up" if each.given_up else "may need anything"
        level = Level.WARN if each.given_up else Level.FAIL
        yield Finding(level, f"{each.shard}/{each.label}", f"cannot be read, {told}: {each.problem}")
    for each in plan.forged:
        yield Finding(Level.WARN, f"{each.shard}/{each.label}", f"its mark is none: {each.problem}")


def _next(plan: PrunePlan) -> str:
    if plan.refused is not None:
        return "Nothing is deleted: see below."
    waiting = [each for each in plan.backups if each.step == "wait" and each.due_at]
    if plan.is_idle:
        due = [each.due_at for each in (*waiting, *plan.reducing) if each.due_at]
        return _again(max(due, default=None), sum(each.left_bytes for each in waiting))
    # What a backup that shrinks gives back is known when it was compared with who refers to it.
    least = "at least " if any(each.step == "reduce" for each in plan.reducing) else ""
    return f"Free now: {least}{figures.size(plan.freed_bytes)}."


def _again(at: datetime | None, count_bytes: int) -> str:
    if at is None:
        return "Nothing more to do."
    what = f" to free {figures.size(count_bytes)}" if count_bytes else ""
    return f"Run again after {figures.moment(at)} UTC{what}."
