"""Expire with findings: what is damaged takes no other one's place, and is not ended for it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from test_expire import TODAY, WEEK, Place

from backup.prune import prepare_prune
from fleet.policy import Retention
from repository import layout
from repository.damage_notes import DamageNotes
from repository.manifest import Manifest
from repository.marks import Marks

ONE = Retention(days=7.0, minimum_fulls=1)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def damage(place: Place, of: Manifest) -> None:
    DamageNotes(place.repository).put(layout.pack(of.backup, 0), "frame 0 does not unseal")


def expires(place: Place, policy: Retention = ONE) -> set[str]:
    (shard,) = place.plan(policy).shards
    assert shard.refused is None
    return {each.label for each in shard.expires}


def test_a_damaged_full_is_none_of_the_newest_and_does_not_lead_into_the_window(place: Place) -> None:
    oldest, older, old, newer = (place.take(age) for age in (40, 30, 20, 10))
    new = place.take(3)
    assert expires(place) == {oldest.label, older.label, old.label}
    damage(place, newer)
    assert expires(place) == {oldest.label, older.label}
    damage(place, new)
    damage(place, old)
    # What is needed instead stays; what was damaged goes when it would go anyway.
    assert expires(place) == {oldest.label, old.label}


def test_a_forged_finding_ends_nothing_that_would_stay_without_it(place: Place) -> None:
    every = [place.take(age) for age in (40, 30, 20, 10, 3)]
    before = expires(place, WEEK)
    for each in every:
        place.store.put(layout.finding(layout.pack(each.backup, 0), "0" * 8), b"forged")
        assert expires(place, WEEK) <= before
    # Where all are said to be damaged, all is as without a finding.
    assert expires(place, WEEK) == before


def test_what_continues_a_damaged_backup_is_none_of_the_newest_either(place: Place) -> None:
    old = place.take(20)
    base = place.take(10)
    link = place.take(9, base)
    assert expires(place) == {old.label}
    damage(place, base)
    assert not expires(place)
    assert link.base is not None


def test_what_was_ended_before_the_finding_came_is_taken_back_while_it_is_there(place: Place) -> None:
    old, newer = place.take(20), place.take(10)
    place.take(3)
    place.expire(ONE)
    assert place.marked() == [old.label]
    damage(place, newer)
    place.clock.time = TODAY + timedelta(hours=1)
    (shard,) = place.plan(ONE).shards
    assert shard.taken_back == (old.label,)
    place.expire(ONE)
    assert not place.marked()
    assert not Marks(place.repository).all()


def test_without_any_undamaged_backup_the_policy_is_what_it_is(place: Place) -> None:
    old, newer = place.take(20), place.take(10)
    damage(place, newer)
    damage(place, old)
    assert expires(place) == {old.label}


def test_prune_leaves_what_is_needed_instead_of_a_damaged_one_though_it_was_ended(place: Place) -> None:
    old, newer = place.take(20), place.take(10)
    place.take(3)
    place.expire(ONE)
    place.clock.time = TODAY + timedelta(hours=25)

    def going() -> list[str]:
        return [each.label for each in prepare_prune(place.repository, ONE, clock=place.clock).plan.backups]

    assert going() == [old.label]
    damage(place, newer)
    assert not going()
