"""``backstay archive verify``: read every archived segment of a shard again; no MySQL is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import typer
from rich.console import RenderableType

from cli.backups import Shard
from cli.configured import open_fleet
from cli.opening import open_repository
from cli.progress import Display
from cli.render import render_text, show
from cli.tables import facts, grid, level, lines
from fleet import figures
from fleet.errors import CheckFailed, NotFound
from fleet.finding import Level
from repository.archive.archive import ShardArchive
from repository.archive.verify import ArchiveReport, verify_archive
from repository.verify import Reading
from repository.verify_tally import Damage, VerifyProgress

# The archiver goes on where the newest file ends without a hole; older files are never fetched again.
_WAY_OUT = (
    "Take a backup now: what comes after it does not need what was lost. Only the newest binlog file can be "
    "fetched again, while the source has it: delete its damaged object, and start the archiver anew."
)


@dataclass(frozen=True, slots=True)
class ArchiveVerified:
    """What was read of a shard's archive, and everything that was wrong. Sizes in bytes.

    ``listed``: segments that are there, ``segments`` those of them that were read. ``transactions`` of these:
    each once, in however many segments and epochs it is.
    """

    shard: str
    sound: bool
    epochs: int
    files: int
    segments: int
    transactions: int
    events_bytes: int
    stored_bytes: int
    seconds: float
    damages: tuple[Damage, ...]
    holes: tuple[Damage, ...]
    listed: int

    @classmethod
    def of(cls, report: ArchiveReport) -> Self:
        return cls(
            shard=report.shard,
            sound=report.is_sound,
            epochs=report.epochs,
            files=report.files,
            segments=report.segments,
            transactions=report.transactions,
            events_bytes=report.events_bytes,
            stored_bytes=report.stored_bytes,
            seconds=report.seconds,
            damages=report.damages,
            holes=report.holes,
            listed=report.listed,
        )


def verify_segments(context: typer.Context, shard: Shard) -> None:
    """Read all that is archived of a shard again, without MySQL.

    Every segment is fetched, unsealed and decompressed, its events are walked and compared with its index: a
    flipped bit, a missing or swapped segment is named. `archive status` says which transactions are missing.
    """
    fleet = open_fleet(context)
    archive = ShardArchive(open_repository(fleet), shard)
    verified = _verify(archive, fleet.parallelism.download_threads)
    if not verified.epochs and verified.sound:
        fleet.shard(shard)
        raise NotFound(
            f"shard {shard} has no archive", hint=f"To archive its binlogs, run: backstay archive run {shard}"
        )
    wrong = figures.plural(len(verified.damages) + len(verified.holes), "place")
    failure = CheckFailed(
        f"the archive of shard {shard} is damaged in {wrong}",
        hint=_WAY_OUT,
    )
    show(context, verified, None if verified.sound else failure)


def _verify(archive: ShardArchive, threads: int) -> ArchiveVerified:
    with Display(archive.shard) as display:
        display.stage("verifying", 0)

        def follow(progress: VerifyProgress) -> None:
            display.reach(progress.bytes_done, progress.bytes_total)

        return ArchiveVerified.of(verify_archive(archive, follow, reading=Reading(threads=threads)))


@render_text.register
def _(verified: ArchiveVerified) -> RenderableType:
    read = f"{figures.size(verified.stored_bytes)} in {figures.plural(verified.segments, 'segment')}"
    table = facts(
        [
            ("archive", f"{verified.shard}, {figures.plural(verified.epochs, 'epoch')}"),
            ("read", f"{read}, of {figures.plural(verified.files, 'binlog file')}"),
            ("transactions", figures.number(verified.transactions)),
            (
                "took",
                f"{figures.duration(verified.seconds)}, "
                f"{figures.rate(verified.stored_bytes, verified.seconds)}",
            ),
            ("verdict", "every stored byte is as it was written" if verified.sound else "damaged"),
        ]
    )
    if verified.sound:
        return table
    rows: list[tuple[RenderableType, ...]] = []
    for one in (*verified.damages, *verified.holes):
        rows.append((level(Level.FAIL), one.name))
        rows.append(("", one.problem.removeprefix(one.name).removeprefix(" is damaged").lstrip(" :")))
    return lines(table, "", grid(rows))
