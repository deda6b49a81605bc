"""How runs ended, over every kind of store: what one machine puts another reads, and it never grows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from repository import layout
from repository.outcomes import KEPT, Outcome, OutcomeDocument, Outcomes, OutcomesKnown, new_token
from repository.repository import Repository
from repository.stores.interface import Store
from tests.unit.repository.sealed_backups import TickingClock, file_keyring

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVERY_STORE = ["memory", "filesystem", *(pytest.param(kind, marks=pytest.mark.s3) for kind in ("s3", "oss"))]


def ended(minutes: int) -> Outcome:
    at = NOON + timedelta(minutes=minutes)
    told = OutcomeDocument(started_at=at, ended_at=at, outcome="failed", message="no room", host="h1")
    return Outcome("shard", "s1", "full", new_token(), told)


@pytest.mark.parametrize("store", EVERY_STORE, indirect=True)
def test_the_last_few_of_a_duty_are_told_and_stay(store: Store, tmp_path: Path) -> None:
    """Some stores tell whole seconds: of what was put in one, the later name counts."""
    here = Outcomes(Repository.create(store, file_keyring(tmp_path), TickingClock()))
    there = Outcomes(Repository.open(store, file_keyring(tmp_path)))
    told = [ended(minutes) for minutes in range(KEPT + 3)]
    for each in told:
        here.put(each)
    known: OutcomesKnown = {}
    assert there.all(known=known) == tuple(told[-KEPT:])
    assert there.trim() == 3
    assert len(list(store.list(layout.OUTCOMES))) == KEPT
    assert there.all(known=known) == here.all() == tuple(told[-KEPT:])
