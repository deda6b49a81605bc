"""Time as an argument: whoever waits or dates something is handed a clock, so a test never waits."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Three readings of time.

    ``now``: the aware UTC time of day, for what people read and labels carry; it may jump.
    ``monotonic``: seconds from an unknown start; it never goes back, so durations and deadlines use it.
    ``sleep``: wait that many seconds; zero or less returns at once.
    """

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(seconds)
