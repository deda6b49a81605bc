"""`archive-health` of a worker and the page of a service on the same machine tell the same people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from drills.status.look import Looker
from drills.status.report import FleetStatus
from fleet.clock import SystemClock
from fleet.errors import StoreUnreachable
from fleet.model import Fleet
from flows import archive_health
from flows.service import sight
from flows.service.sight import Sight
from tests.unit.flows.scheduled_fleets import described


@pytest.fixture
def asks(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each who looks asks the store for its time."""
    asked: list[bool] = []

    class Away(Looker):
        def __init__(self, fleet: Fleet, *, clock: SystemClock, asks_time: bool = False) -> None:
            super().__init__(fleet, clock=clock)
            asked.append(asks_time)

        def look(self, shards: object = ()) -> FleetStatus:
            raise StoreUnreachable("no answer")

    for who in (archive_health, sight):
        monkeypatch.setattr(who, "Looker", Away)
    return asked


def test_both_ask_for_the_same_or_one_would_call_well_what_the_other_found(
    asks: list[bool], tmp_path: Path
) -> None:
    fleet = described(scheduler={"api_url": "http://127.0.0.1:1/api"}, service={"directory": str(tmp_path)})
    tell: Callable[[Fleet], None] = archive_health._tell_who_is_to_be_told  # pyright: ignore[reportPrivateUsage]
    tell(fleet)
    Sight(fleet, tmp_path, SystemClock(), lambda _: None)
    assert asks == [True, True]
