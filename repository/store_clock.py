"""What time it is by the store's own clock, by which ages are told (FORMAT.md, section 14, rule 2)."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from fleet.clock import Clock, SystemClock
from fleet.errors import ObjectLocked, RetentionRefused, StoreDenied
from fleet.figures import duration
from repository import layout
from repository.stores.interface import Store

MAX_OFF_SECONDS = 300.0
"""A host farther off than that neither marks nor deletes."""

_CLOSE_ENOUGH_SECONDS = 5.0
_TRIES = 3
_CONTENT = b"what time is it?"


@dataclass(frozen=True, slots=True)
class StoreTime:
    """``now``: UTC by the store's clock; a little before the true one, never behind what was put later.

    ``ahead_seconds``: how far the store is ahead of this machine, negative where it is behind; it is known to
    ``give_or_take_seconds``, for neither the way to the store nor parts of a second are told by it.
    ``store``: its URL.
    """

    now: datetime
    ahead_seconds: float
    give_or_take_seconds: float
    store: str


def ask_store_time(store: Store, clock: Clock | None = None) -> StoreTime:
    """Put an object under ``trials/``, ask for its time, and delete it again.

    On a network file system that is the file server's clock. A store that was slow to answer is asked up to
    three times, for the closest figure. Who may not delete leaves the objects there. Raises what the store
    raises.
    """
    clock = clock or SystemClock()
    answers: list[StoreTime] = []
    while not answers or (len(answers) < _TRIES and answers[-1].give_or_take_seconds > _CLOSE_ENOUGH_SECONDS):
        answers.append(_ask_once(store, clock))
    closest = min(answers, key=lambda answer: answer.give_or_take_seconds)
    return StoreTime(answers[-1].now, closest.ahead_seconds, closest.give_or_take_seconds, closest.store)


def check_clock(time: StoreTime) -> None:
    """Raise ``RetentionRefused`` if this machine's clock may be more than five minutes off the store's."""
    if abs(time.ahead_seconds) + time.give_or_take_seconds <= MAX_OFF_SECONDS:
        return
    if abs(time.ahead_seconds) <= MAX_OFF_SECONDS:
        raise RetentionRefused(
            f"the clock of {time.store} cannot be read closely enough: it answers so slowly that it is "
            f"{_ahead(time)}, give or take {duration(time.give_or_take_seconds)}",
            hint="Try again when the store answers within seconds.",
        )
    raise RetentionRefused(
        f"the clock of {time.store} is {_ahead(time)}; more than five minutes are too much",
        hint="Labels go by this machine's clock, ages of marks and leases by the store's. Let NTP set the "
        "one that is wrong (see chronyc tracking), and start again.",
    )


def _ask_once(store: Store, clock: Clock) -> StoreTime:
    name = layout.trial(secrets.token_hex(8))
    began = clock.monotonic()
    store.put(name, _CONTENT)
    here = clock.now()
    took = clock.monotonic() - began
    try:
        there = store.stat(name).modified_at
    finally:
        with suppress(StoreDenied, ObjectLocked):
            store.delete(name)
    # The object was made within what the put took, by this machine's clock as it goes now. Most stores tell
    # whole seconds, cut off.
    least = (there - here).total_seconds()
    most = least + took + (0.0 if there.microsecond else 1.0)
    return StoreTime(there, (least + most) / 2, (most - least) / 2, store.describe())


def _ahead(time: StoreTime) -> str:
    side = "ahead of" if time.ahead_seconds >= 0 else "behind"
    return f"{duration(abs(time.ahead_seconds))} {side} this machine's"
