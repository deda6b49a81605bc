"""Latencies in a histogram of fixed size: any number of them, percentiles within 5 %."""

from __future__ import annotations

import math
from dataclasses import dataclass

_SHORTEST_SECONDS = 1e-5
_GROWTH = 1.05
_BUCKETS = 400  # up to 50 minutes


@dataclass(frozen=True)
class LatencySummary:
    """Seconds; all zero when ``count`` is."""

    count: int
    p50_seconds: float
    p95_seconds: float
    p99_seconds: float
    longest_seconds: float


class Latencies:
    """A histogram; not thread-safe, so each thread has its own and ``add`` joins them."""

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self._longest = 0.0

    def record(self, seconds: float) -> None:
        """One more event that took ``seconds``."""
        bucket = int(math.log(max(seconds, _SHORTEST_SECONDS) / _SHORTEST_SECONDS, _GROWTH))
        self._counts[min(bucket, _BUCKETS - 1)] += 1
        self._longest = max(self._longest, seconds)

    def add(self, other: Latencies) -> None:
        """All events of ``other`` too."""
        self._counts = [ours + theirs for ours, theirs in zip(self._counts, other._counts, strict=True)]
        self._longest = max(self._longest, other._longest)

    def summary(self) -> LatencySummary:
        """What was recorded so far."""
        count = sum(self._counts)
        return LatencySummary(
            count, self._percentile(count, 0.5), self._percentile(count, 0.95), self._percentile(count, 0.99),
            self._longest,
        )  # fmt: skip

    def _percentile(self, count: int, share: float) -> float:
        seen = 0
        for bucket, here in enumerate(self._counts):
            seen += here
            if here and seen >= count * share:
                return min(_SHORTEST_SECONDS * _GROWTH ** (bucket + 1), self._longest)
        return 0.0
