"""Everything that goes wrong between a client and its S3 server, on demand, before a SeaweedFS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from front import Answer, Front, Request, refusal

Happens: TypeAlias = "Callable[[FaultyFront, Request], Answer | None]"


@dataclass(frozen=True)
class Fault:
    """``times`` requests of ``operation`` (see ``Request.operation``) meet ``happens``."""

    operation: str
    happens: Happens
    times: int = 1


class FaultyFront(Front):
    """Passes everything on, but for the faults that were planned; ``met`` counts those that happened."""

    def __init__(self, upstream: str, access_key: str, secret_key: str) -> None:
        super().__init__(upstream, access_key, secret_key)
        self.met = 0
        self._planned: list[Fault] = []
        self._lock = threading.Lock()

    def plan(self, *faults: Fault) -> None:
        """These faults instead of all others."""
        with self._lock:
            self._planned = list(faults)
            self.met = 0
        self.seen.clear()

    def answer(self, request: Request) -> Answer | None:
        fault = self._take(request.operation)
        return self.pass_on(request) if fault is None else fault.happens(self, request)

    def _take(self, operation: str) -> Fault | None:
        with self._lock:
            for place, fault in enumerate(self._planned):
                if fault.operation == operation and fault.times > 0:
                    self._planned[place] = replace(fault, times=fault.times - 1)
                    self.met += 1
                    return fault
        return None


def says(status: int, code: str) -> Happens:
    """The server refuses, and does nothing."""
    return lambda front, request: refusal(status, code)


def stalls(seconds: float) -> Happens:
    """The answer comes, but late."""

    def happens(front: FaultyFront, request: Request) -> Answer | None:
        answer = front.pass_on(request)
        time.sleep(seconds)
        return answer

    return happens


def cuts_request(after: int) -> Happens:
    """The connection ends in the middle of the data; the server does nothing."""

    def happens(front: FaultyFront, request: Request) -> Answer | None:
        request.receive(after)

    return happens


def loses_answer(front: FaultyFront, request: Request) -> Answer | None:
    """The server does what it was asked, and nobody hears of it."""
    front.pass_on(request)
    return None


def cuts_answer(after: int) -> Happens:
    """The connection ends in the middle of the body."""
    return lambda front, request: replace(front.pass_on(request), cut_after=after)


def shortens_answer(by: int) -> Happens:
    """The body is too short, and its announced length agrees with it."""

    def happens(front: FaultyFront, request: Request) -> Answer | None:
        answer = front.pass_on(request)
        return replace(answer, body=answer.body[:-by])

    return happens


def passes(*changes: Callable[[Request], None], forgetting: tuple[str, ...] = ()) -> Happens:
    """The server gets a changed request, and its answer comes without some headers."""

    def happens(front: FaultyFront, request: Request) -> Answer | None:
        for change in changes:
            change(request)
        answer = front.pass_on(request)
        kept = {name: value for name, value in answer.headers.items() if name not in forgetting}
        return replace(answer, headers=kept)

    return happens


def with_a_flipped_bit(request: Request) -> None:
    """One bit of the data changes on its way to the server."""
    changed = bytearray(request.body)
    changed[len(changed) // 2] ^= 1
    request.body = bytes(changed)


def with_a_lost_end(request: Request) -> None:
    """The server loses the end of the data and does not notice."""
    request.body = request.body[:-5]


def without(*headers: str) -> Callable[[Request], None]:
    """A server that does not know these headers, and ignores them."""

    def change(request: Request) -> None:
        for name in headers:
            request.headers.pop(name, None)

    return change
