from datetime import UTC, datetime

from drills.proof_turn import Standing, choose_to_prove

MARCH, APRIL = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)


def in_turn(*standings: Standing) -> list[str]:
    return [each.shard for each in choose_to_prove(standings)]


def test_the_shard_whose_proof_is_oldest_comes_first() -> None:
    found = in_turn(Standing("s1", APRIL, True), Standing("s2", MARCH, True))
    assert found == ["s2", "s1"]


def test_one_that_was_never_proven_comes_before_all_others() -> None:
    found = in_turn(Standing("s1", MARCH, True), Standing("s3", None, True), Standing("s2", None, True))
    assert found == ["s3", "s2", "s1"]


def test_a_shard_without_a_backup_has_no_turn() -> None:
    assert in_turn(Standing("s1", None, False), Standing("s2", MARCH, True)) == ["s2"]
