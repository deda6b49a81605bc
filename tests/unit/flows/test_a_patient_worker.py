"""A worker of `deploy` outlives a server that is away, with what it carries out."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from prefect._internal.observers import FlowRunCancellingObserver
from prefect.cli._worker_utils import (
    _load_worker_class,  # pyright: ignore[reportPrivateUsage] - what `worker start` calls
)
from prefect.workers.process import ProcessWorker

from flows.patience import CANCELLED, make_observers_patient
from flows.patient_worker import ASKED, PatientWorker
from flows.worker import command_of
from tests.unit.flows.scheduled_fleets import described


async def _away(*_: object) -> None:
    raise httpx.ConnectError("refused")


@pytest.fixture
def observer_of_prefect(monkeypatch: pytest.MonkeyPatch) -> type[FlowRunCancellingObserver]:
    """What is changed of it is put back."""
    monkeypatch.setattr(FlowRunCancellingObserver, "__init__", FlowRunCancellingObserver.__init__)
    monkeypatch.setattr(FlowRunCancellingObserver, CANCELLED, _away)
    return FlowRunCancellingObserver


def test_what_a_unit_starts_is_the_worker_that_waits() -> None:
    assert command_of(described(), "backstay-test", [])[1:5] == [
        "-m",
        "flows.patient_worker",
        "worker",
        "start",
    ]
    assert _load_worker_class(ProcessWorker.type) is PatientWorker


@pytest.mark.parametrize("name", ASKED)
def test_a_server_that_is_away_ends_no_worker(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProcessWorker, name, _away)
    worker: Any = PatientWorker(work_pool_name="backstay-test")
    asyncio.run(getattr(worker, name)())


def test_who_hears_of_cancellations_asks_again(observer_of_prefect: type[FlowRunCancellingObserver]) -> None:
    def asked() -> None:
        observer = observer_of_prefect(on_cancelling=lambda flow_run_id: None)
        asyncio.run(getattr(observer, CANCELLED)())

    with pytest.raises(httpx.ConnectError):
        asked()
    make_observers_patient()
    asked()
