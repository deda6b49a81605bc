"""What a backup held goes with its last user: nothing waits for the garbage collector."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import suppress

import pytest
from sealed_backups import TickingClock

from fleet.errors import ObjectMissing
from fleet.parallelism import Parallelism
from repository.repository import Repository
from repository.stores.memory import MemoryStore
from repository.stores.retrying import Retrying
from repository.writer import begin_backup


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def test_a_lane_with_its_buffers_goes_before_the_writer(repository: Repository) -> None:
    with begin_backup(
        repository,
        "s1",
        "full",
        parallelism=Parallelism(),
        pack_size=4096,
        level=1,
        clock=TickingClock(),
    ) as writer:
        lane = writer.open_lane()
        lane.close()
        seen = weakref.ref(lane)
        del lane
        assert seen() is None
        assert writer.statistics().received_bytes == 0


class Buffers:
    """Something large."""


def test_an_object_that_is_not_there_keeps_nothing_of_who_asked() -> None:
    store = Retrying(MemoryStore())

    def ask() -> weakref.ref[Buffers]:
        large = Buffers()
        with suppress(ObjectMissing):
            store.stat("keys/none")
        return weakref.ref(large)

    assert ask()() is None
