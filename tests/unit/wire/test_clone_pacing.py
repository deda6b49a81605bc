from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wire.clone.pacing import Pace

if TYPE_CHECKING:
    from tests.conftest import ManualClock

MIB = 1024 * 1024


@pytest.mark.parametrize("rate", [100_000, 10 * MIB, 400 * MIB])
def test_reading_goes_at_the_rate_and_never_sleeps_long(rate: int, clock: ManualClock) -> None:
    pace = Pace(rate, clock)
    began, read = clock.monotonic(), 0
    while read < rate * 2:
        pace.spend(pace.step)
        read += pace.step
    assert (clock.monotonic() - began) == pytest.approx(read / rate, rel=0.05)
    assert max(clock.slept) <= 0.05


def test_a_pause_earns_no_burst(clock: ManualClock) -> None:
    pace = Pace(MIB, clock)
    clock.advance(100)
    began = clock.monotonic()
    for _ in range(50):
        pace.spend(pace.step)
    assert clock.monotonic() - began > 45 * pace.step / MIB
