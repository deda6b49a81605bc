"""Drawings of the status page, as geometry."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from seen_fleets import NOW, backup, shard_that_is_well

from drills.status.drawings import (
    Stretch,
    backups_drawing,
    lag_drawing,
    recovery_drawing,
    stretches,
)
from drills.status.report import Cell, LagPoint, RecoveryMap

FIRST = datetime(2026, 3, 1, 10, tzinfo=UTC)


def test_equal_hours_in_a_row_are_one_stretch() -> None:
    recovery = RecoveryMap(FIRST, (Cell.ARCHIVED,) * 3 + (Cell.LOST,))
    assert stretches(recovery) == (
        Stretch(FIRST, FIRST + timedelta(hours=3), Cell.ARCHIVED),
        Stretch(FIRST + timedelta(hours=3), FIRST + timedelta(hours=4), Cell.LOST),
    )


def test_a_stretch_over_midnight_is_one_box_in_each_of_its_days() -> None:
    drawing = recovery_drawing(RecoveryMap(FIRST, (Cell.PROVEN,) * 20))
    assert len(drawing.boxes) == 2
    first, second = drawing.boxes
    assert first.text == "Mar 01 10:00 to Mar 02 00:00: proven by a restore"
    assert second.x > first.x
    assert second.y < first.y


@given(st.lists(st.sampled_from(Cell), min_size=1, max_size=72), st.integers(0, 23))
def test_every_hour_is_in_one_box_inside_of_the_drawing(cells: list[Cell], hour: int) -> None:
    drawing = recovery_drawing(RecoveryMap(FIRST.replace(hour=hour), tuple(cells)))
    assert sum(round((box.height + (1 if box.height < 120 else 0)) / 5) for box in drawing.boxes) == len(
        cells
    )
    for box in drawing.boxes:
        assert 0 <= box.x <= box.x + box.width <= drawing.width
        assert 0 <= box.y <= box.y + box.height <= drawing.height
        assert box.width > 0
        assert box.height > 0


def test_a_lag_that_nobody_looked_at_is_no_drawing() -> None:
    assert lag_drawing((), NOW, 900) is None
    assert lag_drawing((LagPoint(NOW - timedelta(days=2), 3.0),), NOW, 900) is None


def test_points_between_which_nobody_looked_are_not_joined() -> None:
    minutes = (60, 59, 58, 20, 19)
    points = [LagPoint(NOW - timedelta(minutes=each), 1.0) for each in minutes]
    drawing = lag_drawing(points, NOW, 900)
    assert drawing is not None
    assert drawing.path.count("M") == 2


def test_the_target_is_drawn_only_where_it_is_in_sight() -> None:
    low = lag_drawing((LagPoint(NOW, 1.0),), NOW, 900)
    high = lag_drawing((LagPoint(NOW, 2000.0),), NOW, 900)
    assert low is not None
    assert high is not None
    assert low.rule is None
    assert high.rule is not None
    assert 0 < high.rule < high.height


def test_the_worst_moment_is_never_thinned_out() -> None:
    points = list(shard_that_is_well().lag_history)
    points[1717] = replace(points[1717], seconds=500.0)
    drawing = lag_drawing(points, NOW, 900)
    assert drawing is not None
    assert drawing.label.endswith("most 8 min 20 s, target 15 min 00 s.")
    heights = [float(height) for height in re.findall(r"[ML][\d.]+ ([\d.]+)", drawing.path)]
    assert min(heights) < 10


def test_a_backup_that_stored_next_to_nothing_is_still_to_be_seen() -> None:
    drawing = backups_drawing((backup(NOW - timedelta(hours=2)), backup(NOW, "incremental", 1)), NOW)
    assert drawing is not None
    assert min(box.height for box in drawing.boxes) >= 1
    assert drawing.boxes[1].text.startswith("20260331T094112Z-incremental: 1 B stored in 2 min")


def test_a_damaged_backup_is_drawn_as_such() -> None:
    damaged = replace(backup(NOW), damage="a page cannot be read")
    drawing = backups_drawing((damaged,), NOW)
    assert drawing is not None
    assert drawing.boxes[0].style == "damaged"


def test_backups_of_before_the_month_are_not_drawn() -> None:
    assert backups_drawing((backup(NOW - timedelta(days=31)),), NOW) is None
