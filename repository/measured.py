"""What a shard's own history says of its size, its changes and its speeds. Pure.

A figure is measured, or it is not known and says how to measure it; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from fleet.figures import duration, plural, rate, size
from repository import layout
from repository.archive.cover import ArchivedFile
from repository.forecast import Past, Taken
from repository.manifest import INCREMENTAL, Manifest, Proof

SHORTEST_SECONDS = 3600.0
"""Changes and binlogs of a shorter time say nothing of a day."""

_DAY = 86400.0
_GROWTH_DAYS = 7.0

FIGURES: Mapping[str, str] = {
    "size": "take a full backup: backstay backup full",
    "change": "take incrementals for an hour or more: backstay backup incremental",
    "compression": "take a full backup: backstay backup full",
    "growth": "reckoned as none; it is measured by backups of seven days",
    "archive": "archive for an hour or more: backstay archive run",
    "log": "archive for an hour or more: backstay archive run",
    "rate": "restore a backup: backstay restore",
    "start": "restore a backup: backstay restore",
    "read": "take a full backup: backstay backup full",
    "network": "not measured by Backstay; --assume network=1.25GB/s",
    "disk": "not measured by Backstay; --assume disk=2GB/s",
    "replay": "not kept in the repository; restore to a point tells it; --assume replay=20MB/s",
    "promote": "not kept in the repository; backstay standby promote tells it; --assume promote=1m",
}
"""Every figure by name, and how to come by it."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure, None if unknown. Sizes in bytes; bytes or percent a day; bytes a second; seconds.

    ``note`` says what it was measured on, or how to measure it.
    """

    value: float | None
    origin: Literal["measured", "assumed", "unknown"]
    note: str


def unknown(name: str) -> Figure:
    """The figure ``name``, which nobody measured."""
    return Figure(None, "unknown", f"not measured yet: {FIGURES[name]}")


def complete(measured: Mapping[str, Figure], assumed: Mapping[str, float]) -> dict[str, Figure]:
    """Every figure: the assumed one, else the measured one, else an unknown one."""
    given = {name: Figure(value, "assumed", "by --assume") for name, value in assumed.items()}
    return {name: given.get(name) or measured.get(name) or unknown(name) for name in FIGURES}


def measure(
    manifests: Sequence[Manifest], proofs: Iterable[Proof], files: Sequence[ArchivedFile], now: datetime
) -> dict[str, Figure]:
    """What can be told of one shard: its ``manifests``, oldest first, their proofs, its archived binlogs."""
    found = {**_of_fulls(manifests), **_of_changes(manifests), **_of_archive(files, now)}
    return found | _of_proofs(proofs, {each.label: each.sizes.files_bytes for each in manifests})


def past_of(manifests: Sequence[Manifest], files: Sequence[ArchivedFile], now: datetime) -> Past:
    """The history as the model takes it: days before ``now``."""
    taken = sorted(
        Taken(
            min(0.0, -(now - _at(each)).total_seconds() / _DAY),
            "incremental" if each.kind == INCREMENTAL else "referring" if each.refers_to else "stored",
            each.sizes.stored_bytes,
        )
        for each in manifests
    )
    stored = sum(segment.size for file in files for segment in (*file.segments, *file.spare))
    first = min((file.name.created for file in files), default=now.timestamp())
    return Past(tuple(taken), stored, min(0.0, (first - now.timestamp()) / _DAY))


def _at(manifest: Manifest) -> datetime:
    """When what it holds was read: a full that was made of a chain is younger than its label."""
    label = layout.parse_label(manifest.label)
    return label.at if label else manifest.timings.started_at


def _of_fulls(manifests: Sequence[Manifest]) -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    if manifests:
        newest, oldest = manifests[-1], manifests[0]
        found["size"] = _measured(newest.sizes.files_bytes, newest.label)
        days = (_at(newest) - _at(oldest)).total_seconds() / _DAY
        if days >= _GROWTH_DAYS and newest.sizes.files_bytes:
            grown = max(0.0, newest.sizes.files_bytes - oldest.sizes.files_bytes)
            found["growth"] = _measured(
                100 * grown / days / newest.sizes.files_bytes, f"over {days:.0f} days"
            )
    full = next((each for each in reversed(manifests) if _stores_all(each)), None)
    if full is not None:
        sizes, seconds = full.sizes, _seconds(full)
        if sizes.stored_bytes:
            found["compression"] = _measured(sizes.files_bytes / sizes.stored_bytes, full.label)
        if seconds > 0:
            note = f"{full.label}: {rate(sizes.received_bytes, seconds)} for {duration(seconds)}"
            found["read"] = _measured(sizes.received_bytes / seconds, note)
    return found


def _stores_all(manifest: Manifest) -> bool:
    return manifest.kind != INCREMENTAL and not manifest.refers_to


def _seconds(manifest: Manifest) -> float:
    return (manifest.timings.finished_at - manifest.timings.started_at).total_seconds()


def _of_changes(manifests: Sequence[Manifest]) -> dict[str, Figure]:
    """What those that build on another store, against the full below them, by the time between the two."""
    known = {each.label: each for each in manifests}
    full: Manifest | None = None
    parts = seconds = 0.0
    count = 0
    for each in manifests:
        below = known.get(each.base.label if each.base else each.built_on or "")
        if _stores_all(each):
            full = each
        elif below is not None and full is not None and full.sizes.stored_bytes and not each.consolidates:
            parts += each.sizes.stored_bytes / full.sizes.stored_bytes
            seconds += max(0.0, (_at(each) - _at(below)).total_seconds())
            count += 1
    if seconds < SHORTEST_SECONDS:
        return {}
    note = f"{plural(count, 'backup')} of what changed in {duration(seconds)}"
    return {"change": _measured(100 * parts * _DAY / seconds, note)}


def _of_archive(files: Sequence[ArchivedFile], now: datetime) -> dict[str, Figure]:
    """By whole files: the last one is open or may be, so the time goes to where it was begun.

    One file alone is taken up to now: less a day than it was, if its archiver has stopped since.
    """
    ordered = sorted(files, key=lambda each: each.name.created)
    if not ordered:
        return {}
    whole, end = (ordered[:-1], ordered[-1].name.created) if len(ordered) > 1 else (ordered, now.timestamp())
    seconds = end - ordered[0].name.created
    if seconds < SHORTEST_SECONDS:
        whole, seconds = ordered, now.timestamp() - ordered[0].name.created
    if seconds < SHORTEST_SECONDS:
        return {}
    stored = sum(segment.size for file in whole for segment in file.segments)
    plain = sum(part.last - part.first for file in whole for part in file.parts)
    note = f"{plural(len(whole), 'binlog file')} of {duration(seconds)}"
    return {
        "archive": _measured(stored * _DAY / seconds, note),
        "log": _measured(plain * _DAY / seconds, note),
    }


def _of_proofs(proofs: Iterable[Proof], sizes: Mapping[str, int]) -> dict[str, Figure]:
    """Of proven restores the slowest: one that went on, or a delta, looks faster than it was."""
    proven = [each for each in proofs if each.proven]
    found: dict[str, Figure] = {}
    fetched = [
        (sizes[each.label] / seconds, each.label)
        for each in proven
        if (seconds := each.seconds.get("fetch", 0.0)) > 0 and each.label in sizes
    ]
    if fetched:
        slowest, label = min(fetched)
        note = f"slowest of {plural(len(fetched), 'restore')}: {size(sizes[label])} at {rate(slowest, 1)}"
        found["rate"] = _measured(slowest, note)
    started = [sum(each.seconds.get(stage, 0.0) for stage in ("recover", "read", "check")) for each in proven]
    if any(started):
        note = f"slowest of {plural(len(started), 'proof')}: recovery, and looking at it"
        found["start"] = _measured(max(started), note)
    return found


def _measured(value: float, note: str) -> Figure:
    return Figure(value, "measured", note)
