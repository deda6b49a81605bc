"""What ``backstay verify`` answers: one backup, or all of them."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import RenderableType

from cli.cmd_backup_list import UnreadableBackup
from cli.render import render_text
from cli.tables import facts, findings_table, lines, listing
from fleet import figures
from fleet.finding import Finding, Level
from repository.verify import Damage


@dataclass(frozen=True, slots=True)
class Verified:
    """What was read, and everything that was wrong; ``links`` are the labels that were read, newest first."""

    shard: str
    label: str
    sound: bool
    objects: int
    stored_bytes: int
    frames: int
    seconds: float
    damages: tuple[Damage, ...]
    links: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AllVerified:
    """Every backup that was read, by shard and time, and those whose manifest cannot be read."""

    sound: bool
    backups: tuple[Verified, ...]
    unreadable: tuple[UnreadableBackup, ...]


@render_text.register
def _(verified: Verified) -> RenderableType:
    rate = figures.rate(verified.stored_bytes, verified.seconds)
    table = facts(
        [
            ("backup", f"{verified.shard}/{verified.label}"),
            *_chain(verified.links),
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
    return lines(table, "", findings_table(_damages_of(verified)))


@render_text.register
def _(every: AllVerified) -> RenderableType:
    if not every.backups and not every.unreadable:
        return "There is no backup yet. Take one: backstay backup full --all"
    rows = [
        (
            one.shard,
            one.label,
            "sound" if one.sound else "damaged",
            figures.size(one.stored_bytes),
            figures.number(one.objects),
            figures.duration(one.seconds),
        )
        for one in every.backups
    ]
    table = listing(("shard", "backup", "verdict", ">stored", ">objects", ">took"), rows)
    found = [damage for one in every.backups for damage in _damages_of(one)]
    found += [
        Finding(Level.FAIL, f"{one.shard}/{one.label}", one.error.message, one.error.hint)
        for one in every.unreadable
    ]
    # A base that is gone is told once, not by each backup above it.
    found = list(dict.fromkeys(found))
    parts = [*([table] if rows else []), *([findings_table(found)] if found else [])]
    return lines(*parts) if len(parts) == 1 else lines(parts[0], "", parts[1])


def _chain(links: tuple[str, ...]) -> list[tuple[str, RenderableType]]:
    return [("chain", f"{len(links)} links, back to {links[-1]}")] if links[1:] else []


def _damages_of(verified: Verified) -> list[Finding]:
    """What is wrong, by object; the table names the object already."""
    return [
        Finding(Level.FAIL, damage.name, damage.problem.removeprefix(damage.name).lstrip(" :"))
        for damage in verified.damages
    ]
