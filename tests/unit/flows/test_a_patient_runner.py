"""A server that is away for however long is asked again, and ends no run."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from prefect._internal.observers import FlowRunCancellingObserver
from prefect.runner._scheduled_run_poller import ScheduledRunPoller

from flows.patience import CANCELLED, patient
from flows.runner import POLL

REQUEST = httpx.Request("POST", "http://localhost/api")


def answered(code: int) -> httpx.HTTPStatusError:
    return httpx.HTTPStatusError("no", request=REQUEST, response=httpx.Response(code, request=REQUEST))


def asked(*answers: Exception | None) -> int:
    """How often it was asked, if these are the answers."""
    left = list(answers)

    async def poll() -> None:
        if (answer := left.pop(0)) is not None:
            raise answer

    async def ask_all() -> None:
        again = patient(poll)
        while left:
            await again()

    asyncio.run(ask_all())
    return len(answers)


def test_who_is_away_or_locked_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    away = httpx.ConnectError("refused")
    with caplog.at_level("INFO", "backstay.runner"):
        assert asked(*[away] * 20, answered(503), None, None) == 23
    assert [record.message for record in caplog.records] == [
        "nothing can be started, what runs goes on: ConnectError",
        "the scheduler answers again",
    ]


def test_who_refuses_for_good_is_told() -> None:
    with pytest.raises(httpx.HTTPStatusError):
        asked(answered(401))


def test_prefect_still_has_what_is_made_patient() -> None:
    assert callable(getattr(ScheduledRunPoller, POLL))
    assert callable(getattr(FlowRunCancellingObserver, CANCELLED))
