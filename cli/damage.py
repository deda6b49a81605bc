"""What is known to be damaged, in lists and checks, with the way out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from fleet import figures
from fleet.finding import Finding, Level
from repository.catalog import BackupSummary
from repository.findings import RecordedFinding
from repository.layout import BackupName

_TOLD = 5


def with_damage(
    backups: Iterable[BackupSummary], harms: Mapping[BackupName, RecordedFinding]
) -> tuple[BackupSummary, ...]:
    """The same, those that suffer with what was found."""
    return tuple(
        replace(each, damaged=harms[each.name].short) if each.name in harms else each for each in backups
    )


def damage_told(backups: Sequence[BackupSummary]) -> Iterator[Finding]:
    """A warning for each object that was found damaged: it stops no backup. ``backups`` by shard and time."""
    by_object: dict[tuple[str, str], list[str]] = {}
    for each in backups:
        if each.damaged:
            by_object.setdefault((each.shard, each.damaged), []).append(each.label)
    for (shard, told), labels in list(by_object.items())[:_TOLD]:
        fact = f"{told}: {figures.plural(len(labels), 'backup')} cannot be restored whole"
        yield Finding(Level.WARN, f"backups {shard}", fact, _way_out(shard, backups))
    if (left := len(by_object) - _TOLD) > 0:
        yield Finding(Level.WARN, "backups", f"{figures.plural(left, 'more object')} damaged")


def _way_out(shard: str, backups: Sequence[BackupSummary]) -> str:
    kept = [each for each in backups if each.shard == shard and each.expired_at is None]
    if kept and not kept[-1].damaged and not kept[-1].broken:
        lead = f"Nothing more is built on it, and the newest backup, {kept[-1].label}, needs none of it."
    else:
        lead = f"Run `backstay backup full {shard} --stored`: it needs nothing of what is damaged."
    return f"{lead} If it was put back from another copy, `backstay verify {shard} --all` sees that."
