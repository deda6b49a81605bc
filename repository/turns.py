"""Turns: who may do something now, one at a time, on however many machines (FORMAT.md, section 18).

A turn is taken, renewed and released by putting the next number if it is not there: of two who try, the store
lets one. The highest number counts. A turn ends by itself when nobody renews it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime

from fleet.clock import Clock, SystemClock
from fleet.errors import Cancelled, ObjectMissing, ToolError, TurnTaken
from fleet.figures import duration
from repository import layout
from repository.held_turn import TTL_SECONDS, HeldTurn
from repository.repository import Repository
from repository.turn_objects import Turn, TurnTerms, newest_turn, objects_by_turn, read_turn

__all__ = ["HeldTurn", "Turn", "TurnTerms", "Turns", "one_turn_of", "turn"]

_POLL_SECONDS = 5.0
_STEP_SECONDS = 0.2
_LET_GO_SECONDS = 5.0


class Turns:
    """The turns that are in a repository."""

    def __init__(self, repository: Repository) -> None:
        self._store = repository.store

    def in_force(self, store_now: datetime, scope: str | None = None) -> tuple[Turn, ...]:
        """Every turn that somebody has at ``store_now``, by the store's clock; of one scope, or of all.

        Costs a list, and a get for each that was put lately. Raises what the store raises.
        """
        recent = [
            objects[-1]
            for objects in objects_by_turn(self._store, layout.turns(scope))
            if not objects[-1].is_old(store_now)
        ]
        found: list[Turn] = []
        for last in recent:
            try:
                seen = read_turn(self._store, last)
            except ObjectMissing:
                # Renewed, or released, meanwhile.
                seen = newest_turn(self._store, last.terms)
            if seen is not None and seen.is_in_force(store_now):
                found.append(seen)
        return tuple(found)

    def left_over(self) -> tuple[str, ...]:
        """Names of objects that no longer count: of each turn all but the highest number, which stays.

        Raises what the store raises.
        """
        turns = objects_by_turn(self._store, layout.turns())
        return tuple(each.info.key for objects in turns for each in objects[:-1])


def turn(
    repository: Repository,
    terms: TurnTerms,
    clock: Clock | None = None,
    *,
    note: Callable[[str], None] | None = None,
    wait_seconds: float = 0.0,
    cancelled: threading.Event | None = None,
    ttl_seconds: int = TTL_SECONDS,
    on_renewal: Callable[[HeldTurn], None] | None = None,
) -> AbstractContextManager[HeldTurn]:
    """As ``one_turn_of``, of just one."""
    return one_turn_of(
        repository,
        (terms,),
        clock,
        note=note,
        wait_seconds=wait_seconds,
        cancelled=cancelled,
        ttl_seconds=ttl_seconds,
        on_renewal=on_renewal,
    )


@contextmanager
def one_turn_of(
    repository: Repository,
    terms: Sequence[TurnTerms],
    clock: Clock | None = None,
    *,
    note: Callable[[str], None] | None = None,
    wait_seconds: float = 0.0,
    cancelled: threading.Event | None = None,
    ttl_seconds: int = TTL_SECONDS,
    on_renewal: Callable[[HeldTurn], None] | None = None,
) -> Generator[HeldTurn]:
    """Have the turn of one of ``terms`` until the block is left; nobody else has it meanwhile.

    A thread renews it at a third of its ``ttl_seconds``, and calls ``on_renewal`` then; who goes on for long
    looks at ``lost``, and calls ``check`` before what it made becomes lasting. While others have all of them
    it waits up to ``wait_seconds``, and tells ``note`` for whom. An account that may not put turns goes on
    without, and ``note`` is told. Raises ``TurnTaken``, ``Cancelled``, and what the store raises.
    """
    clock = clock or SystemClock()
    tries = [HeldTurn(repository, each, clock, ttl_seconds=ttl_seconds) for each in terms]
    held = _take_one(tries, clock, note or _silent, wait_seconds, cancelled or threading.Event())
    if held.without is not None:
        if note is not None:
            note(f"without a turn, so others may be at work on {held.terms} too: {held.without}")
        yield held
        return
    ended = threading.Event()
    keeper = threading.Thread(
        target=_keep, args=(held, ended, on_renewal or _ignored), name="turn", daemon=True
    )
    keeper.start()
    try:
        yield held
    finally:
        ended.set()
        keeper.join(_LET_GO_SECONDS)


def _take_one(
    tries: Sequence[HeldTurn],
    clock: Clock,
    note: Callable[[str], None],
    wait_seconds: float,
    cancelled: threading.Event,
) -> HeldTurn:
    until, told = clock.monotonic() + wait_seconds, False
    while True:
        taken: list[Turn] = []
        for held in tries:
            if cancelled.is_set():
                raise Cancelled("cancelled while others had their turn", hint="Nothing was begun.")
            last = held.take()
            if last is None:
                return held
            taken.append(last)
        left = until - clock.monotonic()
        if left <= 0:
            raise _taken(taken, wait_seconds)
        if not told:
            note(f"waiting up to {duration(left)} for its turn: {_all(taken)}")
            told = True
        soonest = min(held.free_in_seconds for held in tries)
        _pause(min(left, _POLL_SECONDS, max(soonest, _STEP_SECONDS)), clock, cancelled)


def _pause(seconds: float, clock: Clock, cancelled: threading.Event) -> None:
    until = clock.monotonic() + seconds
    while not cancelled.is_set() and (left := until - clock.monotonic()) > 0:
        clock.sleep(min(left, _STEP_SECONDS))


def _taken(taken: Sequence[Turn], wait_seconds: float) -> TurnTaken:
    waited = f", and was for the {duration(wait_seconds)} that we waited" if wait_seconds else ""
    lasts = duration(max((each.until - each.put_at).total_seconds() for each in taken))
    return TurnTaken(
        f"{_all(taken)}{waited}",
        hint="Only one may be at work on it at a time: wait until that one is done. A turn whose holder died "
        f"is free after {lasts} at the latest.",
    )


def _all(taken: Sequence[Turn]) -> str:
    return " and ".join(str(each) for each in taken)


def _keep(held: HeldTurn, ended: threading.Event, on_renewal: Callable[[HeldTurn], None]) -> None:
    while not ended.wait(held.pause_seconds):
        if not held.renew():
            return
        with suppress(ToolError):
            on_renewal(held)
    held.release()


def _silent(text: str) -> None:
    pass


def _ignored(held: HeldTurn) -> None:
    pass
