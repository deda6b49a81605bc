"""How long a shard is away, and what is lost with it: known, bounded from below, or not known at all."""

from __future__ import annotations

import pytest

from repository.measured import complete
from repository.ways_back import Loss, Way, loss, ways_back

TB = 10**12
HOUR = 3600


def ways(gap_days: float | None = 0.25, **assumed: float) -> dict[str, Way]:
    return {way.name: way for way in ways_back(complete({}, assumed), gap_days, HOUR)}


ALL = {
    "size": 20.0 * TB,
    "change": 2.0,
    "compression": 3.0,
    "log": 150e9,
    "network": 1.25e9,
    "disk": 4e9,
    "replay": 20e6,
    "start": 120.0,
    "promote": 60.0,
}


def test_nothing_is_invented_where_nothing_is_known() -> None:
    for way in ways().values():
        assert way.seconds is None
        assert way.keeps is None
        assert way.at_least_seconds == 0
        assert way.unknown


def test_twenty_terabytes_at_ten_gigabits_take_four_hours_and_a_half() -> None:
    cold = ways(size=20.0 * TB, rate=1.25e9)["cold"]
    assert cold.at_least_seconds == pytest.approx(16_000)
    assert cold.seconds is None
    # What is lacking can only make it longer.
    assert cold.keeps is False
    assert cold.unknown == ("log", "replay", "start")
    assert cold.largest_bytes == pytest.approx(4.5 * TB)


def test_the_slowest_of_network_and_disk_counts() -> None:
    told = ways(**ALL)
    assert told["cold"].stages["fetch"] == pytest.approx(20e12 / 3 / 1.25e9)
    assert ways(**ALL | {"disk": 1e9})["cold"].stages["fetch"] == pytest.approx(20_000)
    assert ways(**ALL | {"rate": 0.5e9})["cold"].stages["fetch"] == pytest.approx(40_000)
    assert told["cold"].stages["replay"] == pytest.approx(150e9 / 4 / 20e6)
    assert told["cold"].seconds == pytest.approx(sum(told["cold"].stages.values()))


def test_a_shard_of_the_largest_size_is_back_just_in_time() -> None:
    largest = ways(**ALL)["cold"].largest_bytes
    assert largest is not None
    again = ways(**ALL | {"size": largest})["cold"]
    assert again.seconds == pytest.approx(HOUR)


def test_a_delta_reads_all_and_fetches_what_changed() -> None:
    delta = ways(**ALL)["delta"]
    assert delta.stages["compare"] == pytest.approx(5_000)
    assert delta.stages["fetch changes"] == pytest.approx(20e12 * 0.02 / 3 / 1.25e9)
    assert delta.keeps is False


def test_a_standby_does_not_depend_on_the_size() -> None:
    assert ways(**ALL)["standby"].seconds == 60
    assert ways(**ALL | {"size": 1.0})["standby"].seconds == 60
    assert ways(**ALL)["standby"].keeps


def told(mode: str = "async", **changes: object) -> Loss:
    known: dict[str, object] = {
        "archived": True,
        "lag_seconds": None,
        "mode_holds": None,
        "segment_seconds": 1.0,
        "gap_days": 0.25,
        "target_seconds": 900,
    }
    return loss(mode, **known | changes)  # pyright: ignore[reportArgumentType, reportCallIssue]


def test_what_is_lost_follows_from_the_mode_of_the_archive() -> None:
    assert told(lag_seconds=0.5).seconds == 1.5
    assert told(lag_seconds=0.5).keeps
    assert told(lag_seconds=1000.0).keeps is False
    assert told().seconds is None
    assert told("store-sync", mode_holds=True).seconds == 0
    assert told("local-sync", mode_holds=False).keeps is None
    assert "NOT HELD" in told("local-sync", mode_holds=False).because


def test_without_an_archive_the_time_between_two_backups_is_lost() -> None:
    lost = told(archived=False)
    assert (lost.mode, lost.seconds, lost.keeps) == ("none", 6 * HOUR, False)
