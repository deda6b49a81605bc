"""Whether the clocks agree on which all times rest: this machine's, the servers', the store's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from drills.status.report import Health, Judged
from fleet.clock import Clock
from fleet.errors import Cancelled, ToolError
from fleet.figures import plural
from fleet.skew import HARMFUL_SECONDS, TELLING_SECONDS, Skew
from repository.store_clock import ask_store_time
from repository.stores.interface import Store

AGAIN_SECONDS = 3600.0
"""A store whose clock agreed is asked again after that: to ask, an object is put there and deleted."""

_ALL_WRONG = 2
"""From so many clocks on that agree with each other, it is this machine's that is wrong."""


class StoreClock:
    """How far a store's clock is off, asked now and then. For one store; not for two threads at once."""

    def __init__(self) -> None:
        self._seen: tuple[Skew, float] | None = None

    def ask(self, store: Store, clock: Clock) -> Skew | None:
        """None where it cannot be asked: an account that only reads may put nothing."""
        if self._seen is not None:
            skew, asked_at = self._seen
            if skew.least_seconds < TELLING_SECONDS and clock.monotonic() - asked_at < AGAIN_SECONDS:
                return skew
        try:
            time = ask_store_time(store, clock)
        except Cancelled:
            raise
        except ToolError:
            # Whatever keeps the store from answering at all is told by those who need it.
            self._seen = None
            return None
        skew = Skew(time.ahead_seconds, time.give_or_take_seconds)
        self._seen = skew, clock.monotonic()
        return skew


def judge_clocks(servers: Mapping[str, Skew], store: Skew | None, *, is_remote: bool) -> Iterator[Judged]:
    """A finding for each clock that is off this machine's; one for this machine, where all others agree.

    ``is_remote``: the store has a clock of its own for certain; a folder may be on this machine's disk. Pure.
    """
    witnesses = list(servers.values()) + ([store] if store is not None and is_remote else [])
    if _agree_against_us(witnesses):
        yield _of_this_machine(witnesses[0], len(servers), with_store=len(witnesses) > len(servers))
        return
    for name, skew in servers.items():
        yield from _told(f"server {name}", skew, "its commits are dated by it")
    if store is not None:
        yield from _told("store", store, "retention and turns go by it")


def _agree_against_us(witnesses: list[Skew]) -> bool:
    if len(witnesses) < _ALL_WRONG:
        return False
    first = witnesses[0]
    return all(each.least_seconds >= TELLING_SECONDS and each.agrees_with(first) for each in witnesses)


def _of_this_machine(skew: Skew, servers: int, *, with_store: bool) -> Judged:
    ours = replace(skew, ahead_seconds=-skew.ahead_seconds)
    # Two servers that agree are two; one server and the store are two as well.
    others = f"{plural(servers, 'server')} and the store" if with_store else plural(servers, "server")
    message = f"its clock is {ours.told} those of {others}: labels and the schedule go by it"
    hint = "Let a time service set it, and see whether one does: chronyc tracking"
    return Judged(_health(skew), "clock", "this machine", message, hint)


def _told(subject: str, skew: Skew, what_for: str) -> Iterator[Judged]:
    if skew.least_seconds >= TELLING_SECONDS:
        message = f"its clock is {skew.told} this machine's: {what_for}"
        hint = "Let a time service set the one that is wrong, and see there: chronyc tracking"
        yield Judged(_health(skew), "clock", subject, message, hint)


def _health(skew: Skew) -> Health:
    return Health.CRITICAL if skew.least_seconds >= HARMFUL_SECONDS else Health.WARNING
