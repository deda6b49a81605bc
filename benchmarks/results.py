"""What was measured, as values: outcomes of runs, medians, ratios, percentiles. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.cases import Group
from benchmarks.measuring import Usage

NOISE = 0.1
STAGES = ("receive", "compress", "seal", "store")


@dataclass(frozen=True)
class Outcome:
    """All rounds of one case. ``stored_bytes``: what the last one left. ``reports``: our own figures."""

    name: str
    title: str
    group: Group
    ours: bool
    encrypted: bool
    usages: tuple[Usage, ...]
    stored_bytes: int
    reports: tuple[Mapping[str, Any], ...] = ()
    error: str | None = None

    @property
    def usage(self) -> Usage:
        """The median of every figure; the highest memory."""
        return median_usage(self.usages)


@dataclass(frozen=True)
class Row:
    """One line of a table. ``ratio``: its throughput to that of the best encrypted peer of its group."""

    outcome: Outcome
    megabytes_per_second: float
    ratio: float | None


@dataclass(frozen=True)
class Latency:
    """Seconds from when a transaction was due until it was done. ``done``: how many were."""

    done: int
    p50: float
    p99: float
    longest: float


@dataclass(frozen=True)
class DonorCost:
    """A steady load on the donor while ``title`` ran for ``seconds``."""

    title: str
    seconds: float
    latency: Latency


@dataclass(frozen=True)
class Measured:
    """All that one run of the harness found. ``data_bytes``: what a physical copy of the donor holds."""

    data_bytes: int
    facts: Mapping[str, str]
    outcomes: tuple[Outcome, ...] = ()
    costs: tuple[DonorCost, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def noisy(self) -> tuple[Outcome, ...]:
        """The cases whose figures others spoiled: they used more than a tenth of the machine meanwhile."""
        return tuple(outcome for outcome in self.outcomes if outcome.usages and outcome.usage.noise > NOISE)


def median_usage(usages: Sequence[Usage]) -> Usage:
    """The median of every figure; the highest memory."""
    servers = usages[0].servers_cpu_seconds
    return Usage(
        median(usage.seconds for usage in usages),
        median(usage.cpu_seconds for usage in usages),
        max(usage.peak_bytes for usage in usages),
        {name: median(usage.servers_cpu_seconds[name] for usage in usages) for name in servers},
        median(usage.others_cpu_seconds for usage in usages),
    )


def rows(outcomes: Sequence[Outcome], group: Group, data_bytes: int) -> list[Row]:
    """The rows of one group, fastest first. All rates are of the same data, whatever a tool reads."""
    finished = [outcome for outcome in outcomes if outcome.group is group and outcome.usages]
    rates = {outcome.name: data_bytes / 1e6 / outcome.usage.seconds for outcome in finished}
    best = best_encrypted_peer(finished)
    ordered = sorted(finished, key=lambda outcome: -rates[outcome.name])
    return [
        Row(outcome, rates[outcome.name], rates[outcome.name] / rates[best.name] if best else None)
        for outcome in ordered
    ]


def best_encrypted_peer(outcomes: Sequence[Outcome]) -> Outcome | None:
    """The fastest of those that are not ours and leave nothing in clear."""
    peers = [outcome for outcome in outcomes if outcome.encrypted and not outcome.ours]
    return min(peers, key=lambda outcome: outcome.usage.seconds, default=None)


def cpu_by_stage(outcome: Outcome, data_bytes: int) -> dict[str, float] | None:
    """CPU seconds a GB of data by stage, the median over rounds; what no stage claims is ``other``.

    None if the case left no such figures.
    """
    told = [report["cpu_seconds"] for report in outcome.reports if "cpu_seconds" in report]
    if not told:
        return None
    gigabytes = data_bytes / 1e9
    stages = {stage: median(cpu.get(stage, 0.0) for cpu in told) / gigabytes for stage in STAGES}
    return stages | {"other": max(0.0, outcome.usage.cpu_seconds / gigabytes - sum(stages.values()))}


def latency(seconds: Sequence[float]) -> Latency:
    """Percentiles of latencies; all zero if there are none."""
    ordered = sorted(seconds)
    if not ordered:
        return Latency(0, 0.0, 0.0, 0.0)
    return Latency(len(ordered), percentile(ordered, 50), percentile(ordered, 99), ordered[-1])


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that at least ``percent`` of all values do not exceed (the nearest-rank method)."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
