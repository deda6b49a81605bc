"""A backup in its turn: of a shard one at a time, of a region so many, and all of them within one budget.

That holds for all machines that write into the repository, whoever starts them: people, a schedule, two
schedules by mistake. What is copied from is asked last, when everybody else has had a say.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from backup.decision import Decision, decide
from backup.order import Order
from fleet.clock import Clock
from fleet.errors import Cancelled
from fleet.progress import Progress
from repository.repository import Repository
from repository.stores.throttled import Throttled, TokenBucket
from repository.turns import HeldTurn, Turns, TurnTerms, one_turn_of, turn

SHARD = "shard"
REGION = "region"

_STALE_SECONDS = 30.0
_WATCH_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class ShardTurn:
    """The turn of a shard. ``cancelled`` is set when the user cancels, or when the turn is lost."""

    held: HeldTurn
    cancelled: threading.Event

    def check(self) -> None:
        """Right before the manifest is put. Raises ``TurnTaken``, and what the store raises."""
        self.held.check()


@contextmanager
def turn_of_shard(
    repository: Repository,
    shard: str,
    *,
    clock: Clock,
    progress: Progress,
    cancelled: threading.Event,
    on_renewal: Callable[[HeldTurn], None] | None = None,
) -> Generator[ShardTurn]:
    """Nobody else backs up ``shard`` until the block is left. Never waits.

    Raises ``TurnTaken`` if somebody does, or has taken over meanwhile.
    """
    with turn(repository, TurnTerms(SHARD, shard), clock, note=progress.note, on_renewal=on_renewal) as held:
        try:
            yield ShardTurn(held, _Either(cancelled, held.lost))
        except Cancelled:
            if not cancelled.is_set():
                held.check()
            raise


@contextmanager
def in_turn(order: Order) -> Generator[tuple[Order, ShardTurn]]:
    """The order as it is carried out in its turn: cancelled with the turn, and slowed down to its share."""
    rate = order.fleet.budget.bytes_per_second
    bucket = TokenBucket(rate, order.clock) if rate is not None else None

    def share(held: HeldTurn) -> None:
        if bucket is not None and rate is not None and held.put_at is not None:
            bucket.set_rate(rate / max(1, len(Turns(order.repository).in_force(held.put_at, SHARD))))

    with turn_of_shard(
        order.repository,
        order.shard.name,
        clock=order.clock,
        progress=order.progress,
        cancelled=order.cancelled,
        on_renewal=share,
    ) as mine:
        share(mine.held)
        repository = order.repository
        if bucket is not None:
            store = Throttled(repository.store, bucket)
            repository = Repository(store, repository.description, repository.keys)
        yield replace(order, repository=repository, cancelled=mine.cancelled), mine


@contextmanager
def decided_in_turn(order: Order, *, no_base_because: str | None = None) -> Generator[Decision]:
    """What to do, and room for it in the donor's region until the block is left.

    Waits up to ``budget.wait_seconds`` while others fill the region; after a wait everything is asked anew.
    Raises ``TurnTaken`` when that was too short, ``Cancelled``, and as ``decide`` does.
    """
    decision = decide(order, no_base_because=no_base_because)
    while True:
        region = decision.donor.server.region
        began = order.clock.monotonic()
        with _place_in(region, order):
            if order.clock.monotonic() - began >= _STALE_SECONDS:
                decision = decide(order, no_base_because=no_base_because)
            if decision.donor.server.region == region:
                yield decision
                return


@contextmanager
def _place_in(region: str, order: Order) -> Generator[None]:
    budget = order.fleet.budget
    places = [TurnTerms(REGION, f"{region}.{number}") for number in range(budget.backups_per_region)]
    with one_turn_of(
        order.repository,
        places,
        order.clock,
        note=order.progress.note,
        wait_seconds=budget.wait_seconds,
        cancelled=order.cancelled,
    ):
        yield


class _Either(threading.Event):
    """Set as soon as one of the two is."""

    def __init__(self, first: threading.Event, second: threading.Event) -> None:
        super().__init__()
        self._first = first
        self._second = second

    def is_set(self) -> bool:
        return self._first.is_set() or self._second.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        until = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left = _WATCH_SECONDS if until is None else min(until - time.monotonic(), _WATCH_SECONDS)
            if left <= 0:
                break
            self._first.wait(left)
        return self.is_set()
