"""What ``backstay verify`` answers: one backup, or all of them and the archives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from rich.console import RenderableType

from cli.cmd_archive_verify import ArchiveVerified
from cli.cmd_backup_list import UnreadableBackup
from cli.render import render_text
from cli.tables import facts, findings_below, lines, listing
from cli.text_noted import noted_rows
from fleet import figures
from fleet.finding import Finding, Level
from repository.archive.loss import WindowLoss
from repository.breakage import BrokenBackup, BrokenFile, LostRange
from repository.findings import Noted
from repository.verification import Verification
from repository.verify import Reading, VerifyReport
from repository.verify_tally import Damage

_LEFT_OUT = (
    "not looked at: the data in packs, and of the archive all but which segments there are. One that was cut "
    "or changed is not seen, one that is gone inside of a binlog file is"
)
_FILES_NAMED = 8
_RANGES_NAMED = 4
_LONGEST_GTIDS = 200


@dataclass(frozen=True, slots=True)
class Verified:
    """What was read, and everything that was wrong; ``links`` are the labels that were read, newest first.

    ``pages``: whose checksums were looked at; ``donor_pages`` of them were damaged on the donor already.
    """

    shard: str
    label: str
    sound: bool
    objects: int
    stored_bytes: int
    frames: int
    seconds: float
    damages: tuple[Damage, ...]
    links: tuple[str, ...]
    records: int
    pages: int
    donor_pages: int

    @classmethod
    def of(cls, report: VerifyReport, *, sound: bool) -> Self:
        """One backup alone; not ``sound`` is also one that builds on what is damaged."""
        return cls(
            shard=report.shard,
            label=report.label,
            sound=sound,
            objects=report.objects,
            stored_bytes=report.stored_bytes,
            frames=report.frames,
            seconds=report.seconds,
            damages=report.damages,
            links=(report.label,),
            records=report.records,
            pages=report.pages,
            donor_pages=report.donor_pages,
        )


@dataclass(frozen=True, slots=True)
class HowVerified:
    """How it was read. ``seed``: of a sample. ``went_on_from``: when the run was begun that this one ends;
    ``known_objects`` and ``known_bytes`` were found sound by then, and not read again.
    """

    mode: str
    seed: str | None
    went_on_from: datetime | None
    known_objects: int = 0
    known_bytes: int = 0

    @classmethod
    def of(cls, mode: str, reading: Reading) -> Self:
        journal = reading.journal
        return cls(
            mode=mode,
            seed=str(reading.sample) if reading.sample else None,
            went_on_from=journal.begun_at if journal and journal.goes_on else None,
            known_objects=journal.known.objects if journal else 0,
            known_bytes=journal.known.stored_bytes if journal else 0,
        )

    @property
    def goes_on(self) -> str | None:
        """``goes on from an earlier run of TIME: 12 objects, 1.2 GB are not read again``."""
        if self.went_on_from is None:
            return None
        known = f"{figures.plural(self.known_objects, 'object')}, {figures.size(self.known_bytes)}"
        at = figures.moment(self.went_on_from)
        return f"goes on from an earlier run of {at} UTC: {known} are not read again"


@dataclass(frozen=True, slots=True)
class ChainVerified:
    """One backup with its chain, as one; ``broken``: every backup of the shard that the damage breaks."""

    shard: str
    label: str
    sound: bool
    objects: int
    stored_bytes: int
    frames: int
    seconds: float
    damages: tuple[Damage, ...]
    links: tuple[str, ...]
    records: int
    pages: int
    donor_pages: int
    how: HowVerified
    broken: tuple[BrokenBackup, ...]
    findings: Noted


@dataclass(frozen=True, slots=True)
class AllVerified:
    """Every backup that was read, by time, and those whose manifest cannot be read or is gone (``missing``).

    ``broken``: what cannot be restored any more; ``windows``: which points can be reached, and which were
    lost; ``unlooked``: archives of which that cannot be told; ``pruned``: backups that retention deleted
    meanwhile. Objects, bytes, pages, segments and transactions are those that were read.
    """

    sound: bool
    backups: tuple[Verified, ...]
    unreadable: tuple[UnreadableBackup, ...]
    how: HowVerified
    seconds: float
    objects: int
    stored_bytes: int
    pages: int
    donor_pages: int
    segments: int
    transactions: int
    archives: tuple[ArchiveVerified, ...]
    missing: tuple[Damage, ...]
    broken: tuple[BrokenBackup, ...]
    windows: tuple[WindowLoss, ...]
    unlooked: tuple[Damage, ...]
    pruned: tuple[str, ...]
    findings: Noted


def way_out(found: Verification, *, every: bool, at_mirror: bool, has_versions: bool) -> str:
    """What to do about it: what is whole, how a whole window begins, and how what is damaged comes back.

    ``every``: all backups of the shards were looked at. ``has_versions``: the store may keep them.
    """
    if at_mirror:
        return "Copy it again from the repository: run `backstay mirror run --once --recheck`."
    bad = [(each.shard, each.label) for each in (*found.broken, *found.unreadable)]
    bad += [(report.shard, report.label) for report in found.backups if report.damages]
    shards = {shard for shard, _ in bad}
    shards |= {report.shard for report in found.archives if not report.is_sound}
    shards |= {window.shard for window in found.windows if window.uncovered}
    uncovered = {window.shard for window in found.windows if window.uncovered}
    uncovered |= {damage.name.removeprefix("archive/").rstrip("/") for damage in found.unlooked}
    told: list[str] = []
    lacking: list[str] = []
    for shard in sorted(shards):
        whole = [
            report.label
            for report in found.backups
            if report.shard == shard and not report.pruned and (shard, report.label) not in bad
        ]
        newest = max(whole, default="")
        if newest > max((label for name, label in bad if name == shard), default="") and (
            shard not in uncovered
        ):
            told.append(f"{newest} of {shard} is whole, and so is the window from it on: take no new one.")
            continue
        lacking.append(shard)
        if whole:
            told.append(f"{newest} of {shard} is whole.")
        elif every:
            told.append(f"No whole backup of {shard} was seen.")
        else:
            told.append(f"`backstay verify {shard} --all` says which of its others are whole.")
    lead = ""
    if lacking or not shards:
        name = lacking[0] if len(lacking) == 1 else "--all"
        lead = (
            f"Run `backstay backup full {name} --stored`: it needs nothing of what is damaged, and a whole "
            "window begins with it. "
        )
    back = "What is damaged can be put back from another copy"
    if has_versions:
        back += "; if somebody overwrote it in a bucket with versions, `backstay undelete` brings it back"
    return f"{lead}{' '.join([*told, back])}."


@render_text.register
def _(verified: ChainVerified) -> RenderableType:
    rate = figures.rate(verified.stored_bytes, verified.seconds)
    table = facts(
        [
            ("backup", f"{verified.shard}/{verified.label}"),
            *_chain(verified.links),
            *_how(verified.how),
            (
                "listed" if verified.how.mode == "quick" else "read",
                f"{figures.size(verified.stored_bytes)} in {figures.plural(verified.objects, 'object')}",
            ),
            *_pages(verified.pages, verified.donor_pages),
            ("took", f"{figures.duration(verified.seconds)}, {rate}"),
            *noted_rows(verified.findings),
            ("verdict", _verdict(verified.how.mode) if verified.sound else "damaged"),
        ]
    )
    if verified.sound:
        return table
    found = [*_damages_of(verified.damages), *_broken_findings(verified.broken)]
    return lines(table, "", findings_below(found))


@render_text.register
def _(every: AllVerified) -> RenderableType:
    if not (every.backups or every.unreadable or every.archives or every.missing):
        return "There is no backup yet. Take one: backstay backup full --all"
    rows = [
        (
            one.shard,
            one.label,
            _word(one.sound, every.how.mode),
            figures.size(one.stored_bytes),
            figures.number(one.objects),
            figures.duration(one.seconds),
        )
        for one in every.backups
    ]
    rows += [
        (
            one.shard,
            _archive_read(one, every.how.mode),
            _word(one.sound, every.how.mode),
            figures.size(one.stored_bytes),
            figures.number(one.listed if every.how.mode == "quick" else one.segments),
            figures.duration(one.seconds),
        )
        for one in every.archives
    ]
    table = listing(("shard", "backup", "verdict", ">stored", ">objects", ">took"), rows)
    found = list(dict.fromkeys(_all_findings(every)))
    parts = [*([table] if rows else []), facts(_totals(every)), *([findings_below(found)] if found else [])]
    return lines(*(each for part in parts for each in ("", part)[part is parts[0] :]))


def _archive_read(one: ArchiveVerified, mode: str) -> str:
    match mode:
        case "quick":
            return "archive, only listed"
        case "sample":
            return f"archive, {figures.number(one.segments)} of {figures.plural(one.listed, 'segment')}"
        case _:
            return f"archive, {figures.plural(one.transactions, 'transaction')}"


def _word(sound: bool, mode: str) -> str:
    """Nothing is said to be sound that was not read."""
    if not sound:
        return "damaged"
    return {"quick": "there", "sample": "no damage"}.get(mode, "sound")


def _totals(every: AllVerified) -> Iterator[tuple[str, RenderableType]]:
    yield from _how(every.how)
    verb = "listed" if every.how.mode == "quick" else "read"
    yield verb, f"{figures.size(every.stored_bytes)} in {figures.plural(every.objects, 'object')}"
    yield from _pages(every.pages, every.donor_pages)
    yield "took", f"{figures.duration(every.seconds)}, {figures.rate(every.stored_bytes, every.seconds)}"
    for loss in every.windows:
        reach = "\n".join(_span(window.first_at, window.last_at) for window in loss.windows)
        yield f"{loss.shard} recoverable", reach or "nothing"
    if every.pruned:
        yield "pruned", f"meanwhile: {', '.join(every.pruned)}"
    yield from noted_rows(every.findings)
    yield "verdict", _verdict(every.how.mode) if every.sound else "damaged"


def _all_findings(every: AllVerified) -> Iterator[Finding]:
    """A base that is gone is told once, not by each backup above it."""
    for one in every.backups:
        yield from _damages_of(one.damages)
    for unread in every.unreadable:
        yield Finding(Level.FAIL, f"{unread.shard}/{unread.label}", unread.error.message, unread.error.hint)
    yield from _damages_of(every.missing)
    for archive in every.archives:
        yield from _damages_of((*archive.damages, *archive.holes))
    yield from _damages_of(every.unlooked)
    yield from _broken_findings(every.broken)
    for loss in every.windows:
        yield from _loss_findings(loss)


def _loss_findings(loss: WindowLoss) -> Iterator[Finding]:
    for window in loss.lost:
        told = f"points from {_span(window.first_at, window.last_at)} can no longer be reached"
        yield Finding(Level.FAIL, loss.shard, told)
    if loss.gtids:
        when = f", committed {_span(loss.from_at, loss.until_at)}" if loss.from_at and loss.until_at else ""
        yield Finding(Level.FAIL, loss.shard, f"lost transactions: {_short(loss.gtids)}{when}")
    if loss.beyond:
        told = f"the archive ends before the newest backup: {loss.beyond.told}"
        hint = f"Is `backstay archive run {loss.shard}` alive? `backstay archive status` tells."
        yield Finding(Level.WARN, loss.shard, told, hint)
    for gap in loss.uncovered:
        where = f"before {gap.before}" if gap.after is None else f"behind {gap.after}"
        told = f"{_short(gap.gtids)} are not archived {where}, and no sound backup holds them"
        yield Finding(Level.FAIL, loss.shard, f"{told}: what came later cannot be reached")


def _broken_findings(broken: Iterable[BrokenBackup]) -> Iterator[Finding]:
    for one in broken:
        name = f"{one.shard}/{one.label}"
        if one.reason:
            yield Finding(Level.FAIL, name, f"cannot be restored: {one.reason}")
        for file in one.files[:_FILES_NAMED]:
            yield Finding(Level.FAIL, name, f"cannot restore {_lost(file)}")
        if more := one.files[_FILES_NAMED:]:
            yield Finding(
                Level.FAIL, name, f"cannot restore parts of {figures.plural(len(more), 'more file')}"
            )


def _lost(file: BrokenFile) -> str:
    """``app.orders pages 100-163``."""
    name = f"{file.table} ({file.name})" if file.table and "#" in file.name else file.table or file.name
    ranges = ", ".join(map(_range, file.ranges[:_RANGES_NAMED]))
    more = f" ...: {figures.plural(file.lost, file.unit)} in all" if file.ranges[_RANGES_NAMED:] else ""
    return f"{name} {file.unit}{'s' if file.lost > 1 else ''} {ranges}{more}"


def _range(lost: LostRange) -> str:
    return str(lost.first) if lost.first == lost.last else f"{lost.first}-{lost.last}"


def _span(first: datetime, last: datetime) -> str:
    return f"{figures.moment(first)} to {figures.moment(last)} UTC"


def _short(gtids: str) -> str:
    return gtids if len(gtids) <= _LONGEST_GTIDS else f"{gtids[:_LONGEST_GTIDS]}..."


def _verdict(mode: str) -> str:
    match mode:
        case "quick":
            return "all is there, as far as it is seen without reading data\n" + _LEFT_OUT
        case "sample":
            return "every byte that was read is as it was written"
        case _:
            return "every stored byte is as it was written"


def _how(how: HowVerified) -> Iterator[tuple[str, RenderableType]]:
    if how.seed:
        yield "sample", f"--seed {how.seed} reads the same again"
    if how.goes_on:
        yield "goes on", how.goes_on.removeprefix("goes on ")


def _pages(pages: int, donor_pages: int) -> Iterator[tuple[str, RenderableType]]:
    if pages:
        yield "pages", f"{figures.number(pages)} with their checksums looked at"
    if donor_pages:
        verb = "was" if donor_pages == 1 else "were"
        yield (
            "at the donor",
            f"{figures.plural(donor_pages, 'page')} {verb} damaged when copied; see backup show",
        )


def _chain(links: Sequence[str]) -> list[tuple[str, RenderableType]]:
    return [("chain", f"{len(links)} links, back to {links[-1]}")] if links[1:] else []


def _damages_of(damages: Iterable[Damage]) -> Iterator[Finding]:
    """What is wrong, by object; the table names the object already."""
    for damage in damages:
        yield Finding(Level.FAIL, damage.name, damage.problem.removeprefix(damage.name).lstrip(" :"))
