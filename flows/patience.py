"""A server that is away for however long is asked again: it ends no run, and leaves none uncancellable."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from prefect._internal.observers import FlowRunCancellingObserver

CANCELLED = "_check_for_cancelled_flow_runs"
"""What Prefect's observer does again and again when it has lost the server's events once."""

_log = logging.getLogger("backstay.runner")


def patient(poll: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """``poll``, to which a server that is away, or locked, is no failure: what runs goes on without it."""
    is_away = False

    async def asked() -> None:
        nonlocal is_away
        try:
            await poll()
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            if isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500:
                raise
            if not is_away:
                _log.warning("nothing can be started, what runs goes on: %s", type(error).__name__)
            is_away = True
        else:
            if is_away:
                _log.info("the scheduler answers again")
            is_away = False

    return asked


def make_observers_patient() -> None:
    """All that are made from now on in this process: one in each runner and worker, to hear of cancellations.

    One that cannot reach the server in the instant in which it begins has lost its events already.
    """
    begin = FlowRunCancellingObserver.__init__

    def begin_patient(self: FlowRunCancellingObserver, *args: Any, **more: Any) -> None:
        begin(self, *args, **more)
        setattr(self, CANCELLED, patient(getattr(self, CANCELLED)))

    FlowRunCancellingObserver.__init__ = begin_patient
