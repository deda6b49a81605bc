"""A turn that somebody has: taken, renewed, released (FORMAT.md, section 18)."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from fleet.clock import Clock
from fleet.errors import (
    FormatUnsupported,
    ObjectDamaged,
    ObjectExists,
    ObjectLocked,
    ObjectMissing,
    StoreDenied,
    ToolError,
    TurnTaken,
)
from fleet.process import host_and_pid, this_process
from repository import layout
from repository.manifest import parse_document
from repository.repository import Repository
from repository.store_clock import ask_store_time
from repository.turn_objects import (
    Turn,
    TurnDocument,
    TurnObject,
    TurnTerms,
    newest_turn,
    objects_by_turn,
)

TTL_SECONDS = 120

_TRIES = 5
# Where a put is no single step, two may have been told that theirs is stored. The later one's stays.
_SETTLE_SECONDS = 2.0


class HeldTurn:
    """A turn that somebody has, or tries to get. Thread-safe.

    ``lost`` is set once it is found out that another one has it. ``put_at``: when it was last renewed, UTC by
    the store's clock.
    """

    def __init__(
        self, repository: Repository, terms: TurnTerms, clock: Clock, *, ttl_seconds: int = TTL_SECONDS
    ) -> None:
        self.terms = terms
        self.token = secrets.token_hex(8)
        self.lost = threading.Event()
        self.put_at: datetime | None = None
        self._store = repository.store
        self._clock = clock
        self._ttl_seconds = ttl_seconds
        self._lock = threading.Lock()
        self._number: int | None = None
        self._since: datetime | None = None
        self._tried: tuple[int, float] | None = None
        self._ends_at = 0.0
        self._others: tuple[int, float] | None = None
        self._is_failing = False
        self._may_delete = True
        self._refusal: str | None = None

    @property
    def without(self) -> str | None:
        """Why there is no turn, although the work may go on: who may not write there does without."""
        return self._refusal

    @property
    def pause_seconds(self) -> float:
        """How long to wait before it is renewed."""
        return self._ttl_seconds / (30 if self._is_failing else 3)

    @property
    def free_in_seconds(self) -> float:
        """When it is worth while to try again to take it, unless its holder renews or releases it before."""
        return self._others[1] - self._clock.monotonic() if self._others is not None else 0.0

    def take(self) -> Turn | None:
        """Take it, or tell who has it. An account that may not read or put it goes ``without``.

        Raises what the store raises otherwise.
        """
        with self._lock:
            try:
                return self._take()
            except StoreDenied as error:
                self._refusal = error.message
                return None
            except ToolError:
                # A put that failed may have been heard: nobody need wait until it ends by itself.
                self._let_go_of_try()
                raise

    def renew(self) -> bool:
        """Put the next number. False if the turn is lost; a store that fails is asked again later."""
        with self._lock:
            if self.lost.is_set():
                return False
            try:
                self._put_next()
                self._is_failing = False
            except ToolError:
                self._is_failing = True
            return not self.lost.is_set()

    def check(self) -> None:
        """Raise ``TurnTaken`` if the turn was lost, and what the store raises if it does not tell.

        For who is about to make lasting what nobody else may make at the same time. Who has little time left
        renews it now.
        """
        if self._refusal is not None:
            return
        with self._lock:
            if not self.lost.is_set():
                self._make_sure()
            if self.lost.is_set():
                raise self._taken_away()

    def release(self) -> None:
        """Say that it is over, as far as the store lets us; otherwise it ends by itself."""
        with self._lock:
            if self._number is not None and not self.lost.is_set():
                with suppress(ToolError):
                    self._put_next(is_released=True)

    def _take(self) -> Turn | None:
        last = newest_turn(self._store, self.terms)
        for _ in range(_TRIES):
            if last is not None and not self._is_free(last):
                return last
            number = 0 if last is None else last.number + 1
            if number >= layout.MAX_TURNS:
                self._refusal = f"the numbers of {self.terms} are used up"
                return None
            if self._put(number):
                return None
            last = newest_turn(self._store, self.terms)
        return last

    def _let_go_of_try(self) -> None:
        if self._tried is None:
            return
        number = self._tried[0]
        with suppress(ToolError):
            said = self._said(layout.turn(self.terms.scope, self.terms.name, number))
            if said is not None and said.token == self.token:
                self._put(number + 1, is_released=True)

    def _is_free(self, last: Turn) -> bool:
        """The store's clock is asked once; what is put while we watch lasts from then on at the longest."""
        if last.is_let_go:
            return True
        lasts = (last.until - last.put_at).total_seconds()
        if self._others is None:
            left = (last.until - ask_store_time(self._store, self._clock).now).total_seconds()
            self._others = (last.number, self._clock.monotonic() + min(left, lasts))
        elif self._others[0] != last.number:
            self._others = (last.number, self._clock.monotonic() + lasts)
        return self._clock.monotonic() >= self._others[1]

    def _make_sure(self) -> None:
        assert self._number is not None
        if self._clock.monotonic() + self._ttl_seconds / 2 >= self._ends_at:
            self._put_next()
        elif not self._is_highest(self._number):
            self.lost.set()

    def _put_next(self, *, is_released: bool = False) -> None:
        assert self._number is not None
        if not self._put(self._number + 1, is_released=is_released):
            self.lost.set()

    def _put(self, number: int, *, is_released: bool = False) -> bool:
        """False if that number is another's, or a higher one is there."""
        name = layout.turn(self.terms.scope, self.terms.name, number)
        # A put that failed may have been heard: then it counts from its first try on.
        if self._tried is None or self._tried[0] != number:
            self._tried = (number, self._clock.monotonic())
        try:
            self._store.put(name, self._document(is_released=is_released))
        except ObjectExists:
            said = self._said(name)
            if said is None or said.token != self.token:
                return False
            if said.released != is_released:
                return self._put(number + 1, is_released=is_released)
        if not self._store.properties.conditional_put:
            self._clock.sleep(_SETTLE_SECONDS)
        # Where somebody was faster by more than one number, older ones are gone, and can be put again.
        if not self._is_highest(number):
            return False
        self._number, self._ends_at = number, self._tried[1] + self._ttl_seconds
        return True

    def _is_highest(self, number: int) -> bool:
        """Does ``number`` count, and is it ours? What it replaces is deleted."""
        prefix = layout.turns(self.terms.scope, self.terms.name)
        objects = next(objects_by_turn(self._store, prefix), [])
        if objects and objects[-1].number > number:
            return False
        if not self._store.properties.conditional_put:
            said = self._said(f"{prefix}{number:08d}")
            if said is None or said.token != self.token:
                return False
        for each in objects:
            if each.number == number:
                self.put_at = each.info.modified_at
                self._since = self._since or self.put_at
        self._delete([each for each in objects if each.number < number])
        return True

    def _said(self, name: str) -> TurnDocument | None:
        try:
            return parse_document(TurnDocument, name, self._store.get(name))
        except (ObjectMissing, ObjectDamaged, FormatUnsupported):
            return None

    def _delete(self, objects: Sequence[TurnObject]) -> None:
        for each in objects:
            if not self._may_delete:
                return
            try:
                self._store.delete(each.info.key)
            except (StoreDenied, ObjectLocked):
                self._may_delete = False
            except ToolError:
                return

    def _document(self, *, is_released: bool) -> bytes:
        document = TurnDocument(
            token=self.token,
            told_by=host_and_pid(),
            process=this_process(),
            since=self._since,
            ttl_seconds=self._ttl_seconds,
            released=is_released,
        )
        return document.model_dump_json().encode()

    def _taken_away(self) -> TurnTaken:
        last = newest_turn(self._store, self.terms)
        return TurnTaken(
            f"the turn of {self.terms} was lost" + (f": {last.whose}" if last is not None else ""),
            hint="This process stood still, or could not reach the store for minutes. Start again.",
        )
