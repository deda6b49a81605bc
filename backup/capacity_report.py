"""What ``backstay plan`` answers: plain facts, for text and for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from fleet.finding import Finding
from fleet.prices import Prices
from repository.fitting import Fit
from repository.forecast import Usage
from repository.kept_alone import KeptAlone
from repository.measured import Figure
from repository.ways_back import Loss, Way


@dataclass(frozen=True, slots=True)
class ShardCapacity:
    """One shard. ``usage``: from today on; empty while a figure that it needs is unknown.

    ``plateau``: the most that is ever kept at today's size; ``beyond``: what of it is there for days, weeks
    and months alone. ``full_seconds``: how long a full that is copied whole takes.
    """

    shard: str
    backups: int
    figures: Mapping[str, Figure]
    now: Usage
    usage: tuple[Usage, ...]
    plateau: Usage | None
    beyond: KeptAlone | None
    full_seconds: float | None
    ways: tuple[Way, ...]
    loss: Loss


@dataclass(frozen=True, slots=True)
class MonthlyCost:
    """What a month costs at a given storage. ``requests_cost`` is at most: of a source that never rests."""

    what: str
    kept_bytes: float
    storage_cost: float
    requests_cost: float
    cost: float


@dataclass(frozen=True, slots=True)
class Costs:
    """By the price table; ``requests`` a month, at most."""

    prices: Prices
    requests: float
    months: tuple[MonthlyCost, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that the forecast follows."""

    full: str
    full_cron: str
    incremental_cron: str
    timezone: str
    retention_days: float
    minimum_fulls: int
    grace_hours: float
    keep_daily: int
    keep_weekly: int
    keep_monthly: int
    rebase_every: int
    max_chain: int
    rto_seconds: int
    rpo_seconds: int


@dataclass(frozen=True, slots=True)
class CapacityPlan:
    """The forecast of a fleet from ``at`` on, over ``days``.

    ``usage``, ``plateau`` and ``beyond`` sum up the shards. ``history``: was the repository looked
    at? ``assumed``: the figures that an option gave.
    """

    at: datetime
    days: int
    history: bool
    rules: Rules
    assumed: tuple[str, ...]
    now: Usage
    usage: tuple[Usage, ...]
    plateau: Usage | None
    beyond: KeptAlone | None
    costs: Costs | None
    fit: Fit | None
    shards: tuple[ShardCapacity, ...]
    findings: tuple[Finding, ...]
