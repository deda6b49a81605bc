"""What of a bucket's settings stands against backups."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fleet.finding import Finding, Level
from fleet.policy import Retention
from fleet.repository_config import RepositoryConfig
from repository.bucket_survey import check_bucket, judge_bucket, refuse_bucket
from repository.stores.s3_bucket import BucketSeen, LifecycleRule

if TYPE_CHECKING:
    from tests.conftest import ManualClock

PLAIN = RepositoryConfig(url="s3://bucket/mysql", region="x")
LOCKED = RepositoryConfig(url="s3://bucket/mysql", region="x", lock_days=31.0)
GOOD = BucketSeen("mysql/", "", False, None, (), None)
LOCKING = BucketSeen("mysql/", "Enabled", True, None, (), frees_versions=True)


def rule(
    prefix: str = "", *, expires: str | None = "3 days after they are put", **what: object
) -> LifecycleRule:
    made = LifecycleRule("r1", prefix, expires, (), frees_versions=False, by_tag=False)
    return replace(made, **what)


def judged(
    seen: BucketSeen, config: RepositoryConfig = PLAIN, retention: Retention | None = None
) -> list[Finding]:
    found = judge_bucket(seen, config, retention or Retention())
    for each in found:
        assert each.subject == "bucket"
        assert (each.hint is None) == (each.level is Level.OK)
        assert not each.message.endswith(".")
    return found


def levels(found: list[Finding]) -> set[Level]:
    return {each.level for each in found}


@pytest.mark.parametrize(("seen", "config"), [(GOOD, PLAIN), (LOCKING, PLAIN), (LOCKING, LOCKED)])
def test_a_good_bucket_is_told_to_be_good(seen: BucketSeen, config: RepositoryConfig) -> None:
    assert levels(judged(seen, config)) == {Level.OK}


@pytest.mark.parametrize(
    "prefix", ["", "my", "mysql", "mysql/", "mysql/data/", "mysql/manifests/s1/2", "mysql/l"]
)
def test_a_rule_that_deletes_backups_fails(prefix: str) -> None:
    (found,) = judged(replace(GOOD, rules=(rule(prefix),)))
    assert found.level is Level.FAIL
    assert "lifecycle rule r1" in found.message and "deletes objects 3 days" in found.message


@pytest.mark.parametrize("prefix", ["logs/", "mysql2/", "mysql-old", "mysql/trials/", "mysql/leases/s1/"])
def test_a_rule_that_deletes_something_else_is_fine(prefix: str) -> None:
    assert levels(judged(replace(GOOD, rules=(rule(prefix),)))) == {Level.OK}


def test_a_rule_for_objects_with_tags_is_not_for_ours_which_have_none() -> None:
    assert levels(judged(replace(GOOD, rules=(rule(by_tag=True),)))) == {Level.OK}


def test_a_rule_that_moves_objects_out_of_reach_fails_and_one_that_makes_them_cheaper_does_not() -> None:
    (found,) = judged(replace(GOOD, rules=(rule(expires=None, moves=("STANDARD_IA", "GLACIER")),)))
    assert found.level is Level.FAIL and "GLACIER" in found.message
    cheaper = rule(expires=None, moves=("STANDARD_IA", "GLACIER_IR", "INTELLIGENT_TIERING"))
    assert levels(judged(replace(GOOD, rules=(cheaper,)))) == {Level.OK}


def test_a_lock_that_the_bucket_cannot_give_fails() -> None:
    found = [each for each in judged(GOOD, LOCKED) if each.level is Level.FAIL]
    assert ["Object Lock" in each.message for each in found] == [True]


def test_a_lock_that_is_shorter_than_what_is_kept_is_told_with_what_it_should_be() -> None:
    found = [each for each in judged(LOCKING, LOCKED, Retention(days=35.0)) if each.level is Level.WARN]
    assert [(each.message, each.hint) for each in found] == [
        (
            "lock_days is 31, and backups are kept for 36 days: retention.days and the grace time",
            "With lock_days = 36 nobody can delete what the recovery window needs.",
        )
    ]


def test_a_bucket_that_locks_everything_by_default_is_told() -> None:
    found = judged(replace(LOCKING, default_lock="for 7 days (governance)"), LOCKED)
    assert [each.level for each in found] == [Level.WARN, Level.OK]
    assert "leases, turns and trials" in found[0].message


def test_versions_that_nobody_frees_are_told_unless_a_rule_frees_them() -> None:
    hidden = replace(LOCKING, frees_versions=False)
    assert levels(judged(hidden)) == {Level.WARN}
    frees = rule(expires=None, frees_versions=True)
    assert levels(judged(replace(hidden, rules=(frees,)))) == {Level.OK}
    elsewhere = rule("logs/", expires=None, frees_versions=True)
    assert levels(judged(replace(hidden, rules=(elsewhere,)))) == {Level.WARN}


def test_what_may_not_be_asked_is_told_and_fails_nothing() -> None:
    found = judged(BucketSeen("mysql/", None, None, None, None, None), LOCKED)
    assert {each.level for each in found} == {Level.WARN, Level.OK}
    assert [each.hint for each in found if "GetLifecycleConfiguration" in (each.hint or "")]


def test_a_folder_has_no_bucket_to_judge(clock: ManualClock) -> None:
    folder = RepositoryConfig(url="file:///srv/backups")
    assert check_bucket(folder, Retention(), clock) == []
    refuse_bucket(folder, Retention(), clock)


def test_a_bucket_that_nobody_answers_for_fails_the_check_and_is_left_to_init_to_tell(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    nobody = RepositoryConfig(url="s3://bucket", endpoint="http://127.0.0.1:1")
    (found,) = check_bucket(nobody, Retention(), clock)
    assert found.level is Level.FAIL
    refuse_bucket(nobody, Retention(), clock)
