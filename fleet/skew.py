"""How far another machine's clock is off this one's: asked once, known to half of what the answer took."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fleet.figures import duration

TELLING_SECONDS = 5.0
"""Clocks that follow a time service agree far closer than that."""
HARMFUL_SECONDS = 60.0
"""A time that a person names for a restore is off by a minute; at five minutes retention refuses."""


@dataclass(frozen=True, slots=True)
class Skew:
    """``ahead_seconds``: how far the other clock is ahead of this machine's, negative where it is behind;
    more or less by ``give_or_take_seconds``.
    """

    ahead_seconds: float
    give_or_take_seconds: float

    @classmethod
    def of(cls, theirs: datetime, *, answered_at: datetime, took_seconds: float) -> Skew:
        """``theirs`` was told in an answer that came ``answered_at``, so long after it was asked for."""
        least = (theirs - answered_at).total_seconds()
        return cls(least + took_seconds / 2, took_seconds / 2)

    @property
    def least_seconds(self) -> float:
        """The clocks differ by that at least."""
        return max(0.0, abs(self.ahead_seconds) - self.give_or_take_seconds)

    def age_seconds(self, dated: datetime, now: datetime) -> float:
        """How old it is what the other clock has ``dated``, when this machine's says ``now``."""
        return max(0.0, (now - dated).total_seconds() + self.ahead_seconds)

    def agrees_with(self, other: Skew) -> bool:
        """Both clocks may show the same time, or nearly."""
        apart = abs(self.ahead_seconds - other.ahead_seconds)
        return apart <= TELLING_SECONDS + self.give_or_take_seconds + other.give_or_take_seconds

    @property
    def told(self) -> str:
        """``72 s ahead of``, ``3 min 05 s behind``."""
        return f"{duration(abs(self.ahead_seconds))} {'ahead of' if self.ahead_seconds >= 0 else 'behind'}"
