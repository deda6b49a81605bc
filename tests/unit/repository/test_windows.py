"""Which window retention goes by: told in steps, any of which may be the last one of a run that dies."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from fleet.errors import StoreUnreachable
from repository.repository import Repository
from repository.stores.memory import MemoryStore
from repository.windows import go_by, in_force, windows_of
from tests.conftest import ManualClock
from tests.unit.repository.sealed_backups import DyingStore, file_keyring

GRACE = timedelta(hours=72)
LONG, SHORT = timedelta(days=30), timedelta(days=3)
STEPS = 4


@pytest.fixture
def repository(tmp_path: Path, clock: ManualClock) -> Repository:
    """One that has gone by the long window for longer than the grace time."""
    repository = Repository.create(MemoryStore(clock), file_keyring(tmp_path), clock)
    go_by(repository, "s1", LONG, GRACE, clock.now())
    clock.advance(100 * 3600)
    return repository


def dies(repository: Repository, length: timedelta, clock: ManualClock, step: int, *, unheard: bool) -> None:
    """The same run, killed at its operation ``step``, if it has so many."""
    assert isinstance(repository.store, MemoryStore)
    store = DyingStore(repository.store, step, unheard=unheard, forever=True)
    with suppress(StoreUnreachable):
        go_by(Repository(store, repository.description, repository.keys), "s1", length, GRACE, clock.now())


@pytest.mark.parametrize("unheard", [False, True])
@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_shrink_that_is_killed_gives_no_binlog_away_and_the_next_run_goes_on(
    repository: Repository, clock: ManualClock, step: int, *, unheard: bool
) -> None:
    dies(repository, SHORT, clock, step, unheard=unheard)
    assert in_force(windows_of(repository, "s1"), SHORT, GRACE, clock.now()) == LONG
    go_by(repository, "s1", SHORT, GRACE, clock.now())
    assert set(windows_of(repository, "s1")) == {SHORT, LONG}
    clock.advance(GRACE.total_seconds() + 1)
    assert in_force(windows_of(repository, "s1"), SHORT, GRACE, clock.now()) == SHORT
    dies(repository, SHORT, clock, step, unheard=unheard)
    assert in_force(windows_of(repository, "s1"), SHORT, GRACE, clock.now()) == SHORT
    go_by(repository, "s1", SHORT, GRACE, clock.now())
    assert set(windows_of(repository, "s1")) == {SHORT}


@pytest.mark.parametrize("unheard", [False, True])
@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_correction_that_is_killed_counts_at_once_and_the_next_run_forgets_the_mistake(
    repository: Repository, clock: ManualClock, step: int, *, unheard: bool
) -> None:
    go_by(repository, "s1", SHORT, GRACE, clock.now())
    dies(repository, LONG, clock, step, unheard=unheard)
    assert in_force(windows_of(repository, "s1"), LONG, GRACE, clock.now()) == LONG
    go_by(repository, "s1", LONG, GRACE, clock.now())
    assert set(windows_of(repository, "s1")) == {LONG}
    clock.advance(100 * 3600)
    # The next mistake waits anew.
    go_by(repository, "s1", SHORT, GRACE, clock.now())
    assert in_force(windows_of(repository, "s1"), SHORT, GRACE, clock.now()) == LONG
