"""The status page: one HTML file that needs nothing else, made of a ``FleetStatus``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, cast

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, select_autoescape

from drills.status import drawings
from drills.status.drawings import Drawing, Stretch
from drills.status.report import Cell, FleetStatus, Health, Judged, RunSeen, ShardStatus
from fleet import figures
from fleet.skew import TELLING_SECONDS

_TEMPLATES = Path(__file__).parent / "templates"
_SHOWN_BACKUPS = 12

SIGNS = {Health.OK: "\u2713", Health.UNKNOWN: "?", Health.WARNING: "!", Health.CRITICAL: "\u2715"}
"""A shape beside the colour: not everybody sees the difference of the colours."""


@dataclass(frozen=True, slots=True)
class ShardView:
    """A shard and its drawings. ``health`` is what may be shown: what is not known now is not well."""

    status: ShardStatus
    health: Health
    recovery: Drawing
    stretches: tuple[Stretch, ...]
    lag: Drawing | None
    sizes: Drawing | None
    missed: tuple[RunSeen, ...]


def render_page(status: FleetStatus, now: datetime, *, reload_seconds: int | None = None) -> str:
    """``status`` as a page that is looked at ``now``. With ``reload_seconds`` it asks for itself again."""
    return _template().render(
        status=status,
        shards=[_view(shard, status) for shard in _worst_first(status.shards)],
        verdict=verdict(status),
        now=now,
        age_seconds=max(0.0, (now - status.seen_at).total_seconds()),
        cells=[(cell, drawings.WORDS[cell]) for cell in Cell],
        signs=SIGNS,
        figures=figures,
        shown_backups=_SHOWN_BACKUPS,
        reload_seconds=reload_seconds,
        clock_off=TELLING_SECONDS,
    )


def verdict(status: FleetStatus) -> str:
    """What a person wants to know first, in one sentence."""
    if status.unreachable is not None:
        return "Nobody can say how things stand now."
    ill = [shard for shard in status.shards if shard.health is not Health.OK]
    if status.health is Health.OK:
        return "Every shard can be recovered."
    if not ill:
        return "Every shard can be recovered, but something else is wrong."
    whole = f"{len(ill)} of {figures.plural(len(status.shards), 'shard')}"
    if status.health is Health.CRITICAL:
        return f"{whole} {'needs' if len(ill) == 1 else 'need'} you now."
    return f"{whole} {'wants' if len(ill) == 1 else 'want'} attention."


def _view(shard: ShardStatus, status: FleetStatus) -> ShardView:
    return ShardView(
        status=shard,
        health=Health.UNKNOWN if status.unreachable and shard.health is Health.OK else shard.health,
        recovery=drawings.recovery_drawing(shard.recovery),
        stretches=drawings.stretches(shard.recovery),
        lag=drawings.lag_drawing(shard.lag_history, status.seen_at, status.rpo_target_seconds),
        sizes=drawings.backups_drawing(shard.backups, status.seen_at),
        missed=tuple(run for run in shard.runs if run.state in ("not run", "failed")),
    )


def _worst_first(shards: Sequence[ShardStatus]) -> list[ShardStatus]:
    order = list(Health)
    return sorted(shards, key=lambda shard: (-order.index(shard.health), shard.shard))


def _moment(at: datetime | None, now: datetime | None = None) -> str:
    """``Nov 23 11:20``; a moment of another year with its year; a dash for none. It is not broken in two."""
    if at is None:
        return "\u2013"
    at = at.astimezone(UTC)
    year = "" if now is None or now.year == at.year else f"{at:%Y} "
    return _unbroken(f"{year}{at:%b} {at.day} {at:%H:%M}")


def _ago(at: datetime | None, now: datetime) -> str:
    return "never" if at is None else _unbroken(f"{_duration(max(0.0, (now - at).total_seconds()))} ago")


def _duration(seconds: float) -> str:
    return _unbroken(figures.duration(seconds))


def _unbroken(text: str) -> str:
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def _ordered(findings: Sequence[Judged]) -> list[Judged]:
    order = list(Health)
    return sorted(findings, key=lambda finding: -order.index(finding.health))


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Jinja's own type of a filter is the union of those it brings.
    filters = {"moment": _moment, "ago": _ago, "duration": _duration, "worst_first": _ordered}
    environment.filters.update(cast(Any, filters))
    return environment.get_template("page.html.j2")
