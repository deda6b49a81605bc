"""``backstay verify``: read again everything that is stored of a backup; no MySQL is needed."""

from __future__ import annotations

from dataclasses import dataclass

import typer
from rich.console import RenderableType

from cli import figures
from cli.backups import Label, Shard
from cli.configured import open_fleet
from cli.opening import open_repository
from cli.progress import Display
from cli.render import render_text, show
from cli.tables import facts, findings_table, lines
from fleet.clock import SystemClock
from fleet.errors import CheckFailed
from fleet.finding import Finding, Level
from repository.catalog import LATEST, Catalog
from repository.verify import Damage, VerifyProgress, verify_backup


@dataclass(frozen=True, slots=True)
class Verified:
    """What was read, and everything that was wrong."""

    shard: str
    label: str
    sound: bool
    objects: int
    stored_bytes: int
    frames: int
    seconds: float
    damages: tuple[Damage, ...]


def verify(context: typer.Context, shard: Shard, label: Label = LATEST) -> None:
    """Read all that is stored of a backup again, without MySQL.

    Every object is fetched, unsealed, decompressed and compared with the index: a flipped bit, a missing or
    swapped object is named. What it cannot tell is whether MySQL starts on the data; `restore` proves that.
    """
    fleet = open_fleet(context)
    repository = open_repository(fleet)
    manifest = Catalog(repository).manifest(shard, label)
    clock = SystemClock()
    start = clock.monotonic()
    with Display(shard) as display:
        display.stage("verifying", manifest.sizes.stored_bytes)

        def follow(progress: VerifyProgress) -> None:
            display.reach(progress.bytes_done, progress.bytes_total)

        report = verify_backup(repository, manifest, follow, threads=fleet.parallelism.download_threads)
    verified = Verified(
        shard=report.shard,
        label=report.label,
        sound=report.is_sound,
        objects=report.objects,
        stored_bytes=report.stored_bytes,
        frames=report.frames,
        seconds=round(clock.monotonic() - start, 3),
        damages=report.damages,
    )
    failure = CheckFailed(
        f"backup {shard}/{report.label} is damaged in {figures.plural(len(report.damages), 'object')}",
        hint="Take a new full backup now, and restore an older one if you need to.",
    )
    show(context, verified, None if verified.sound else failure)


@render_text.register
def _(verified: Verified) -> RenderableType:
    rate = figures.rate(verified.stored_bytes, verified.seconds)
    table = facts(
        [
            ("backup", f"{verified.shard}/{verified.label}"),
            (
                "read",
                f"{figures.size(verified.stored_bytes)} in {figures.plural(verified.objects, 'object')}",
            ),
            ("took", f"{figures.duration(verified.seconds)}, {rate}"),
            ("verdict", "every stored byte is as it was written" if verified.sound else "damaged"),
        ]
    )
    if verified.sound:
        return table
    damages = (
        # The table names the object already.
        Finding(Level.FAIL, damage.name, damage.problem.removeprefix(damage.name).lstrip(" :"))
        for damage in verified.damages
    )
    return lines(table, "", findings_table(damages))
