"""Shards that the repository has and the configuration lacks."""

from __future__ import annotations

from datetime import timedelta

from drills.status.shelf import ShardShelf
from drills.status.unconfigured import judge_renamed, seen_unconfigured
from fleet.errors import ObjectDamaged
from tests.unit.drills.test_judge import DAY, FLEET, NOW, backup

MONTH = timedelta(days=30)
HAS = ShardShelf(backups=(backup(9), backup(3)))


def test_a_shard_that_nobody_configured_is_told_with_the_end_of_its_window() -> None:
    (seen,) = seen_unconfigured(["old"], {"old": HAS}, window=MONTH)
    assert (seen.shard, seen.backups) == ("old", 2)
    assert seen.newest == backup(3)
    assert seen.kept_until == NOW + 27 * DAY


def test_one_that_retention_has_ended_wholly_is_not_there() -> None:
    assert seen_unconfigured(["old"], {"old": ShardShelf()}, window=MONTH) == ()


def test_one_that_cannot_be_read_is_there_all_the_same() -> None:
    shut = ShardShelf(unreadable={"x": ObjectDamaged("is cut")})
    (seen,) = seen_unconfigured(["old"], {"old": shut}, window=MONTH)
    assert (seen.backups, seen.newest, seen.kept_until) == (1, None, None)


def test_a_shard_that_was_only_removed_is_no_finding() -> None:
    left = seen_unconfigured(["old"], {"old": HAS}, window=MONTH)
    assert list(judge_renamed(FLEET, {"s1": HAS, "old": HAS}, left)) == []


def test_a_shard_that_was_renamed_is_found_and_both_names_are_told() -> None:
    shelves = {"s1": ShardShelf(), "old": HAS}
    (found,) = judge_renamed(FLEET, shelves, seen_unconfigured(["old"], shelves, window=MONTH))
    assert (found.code, found.health.value) == ("settings", "warning")
    assert found.message == "s1 has no backup, and old, which the configuration does not name, has 2 backups"
    assert found.hint is not None
    assert "Was old renamed?" in found.hint
    assert found.hint.endswith(": backstay backup full s1")


def test_a_new_shard_alone_is_not_taken_for_a_renamed_one() -> None:
    assert list(judge_renamed(FLEET, {"s1": ShardShelf()}, ())) == []


def test_a_shard_whose_backups_cannot_be_read_has_some() -> None:
    shut = ShardShelf(unreadable={"x": ObjectDamaged("is cut")})
    left = seen_unconfigured(["old"], {"old": HAS}, window=MONTH)
    assert list(judge_renamed(FLEET, {"s1": shut, "old": HAS}, left)) == []
