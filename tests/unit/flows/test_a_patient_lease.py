"""A run whose server is away when its slot is to be renewed goes on, and renews it later."""

from __future__ import annotations

import subprocess
import sys
import threading
from importlib import import_module
from typing import Any
from uuid import UUID

import httpx
import pytest

from flows.patient_lease import LEASES, RENEW, make_leases_patient


class Server:
    """It refuses so often, and then renews."""

    def __init__(self, refusals: int) -> None:
        self.refusals, self.asked = refusals, 0

    def renew_concurrency_lease(self, **_: object) -> None:
        self.asked += 1
        if self.asked <= self.refusals:
            raise httpx.ConnectError("refused")


@pytest.fixture
def leases(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is changed of it is put back, whoever changed it before; it waits for nothing."""
    module = import_module(LEASES)
    monkeypatch.setattr(module, RENEW, getattr(module, RENEW))
    monkeypatch.setattr(module, "_RENEWAL_RETRY_BASE_DELAY", 0.0)
    monkeypatch.setattr(module, "_RENEWAL_RETRY_MAX_DELAY", 0.0)
    return module


def test_a_server_that_is_away_is_asked_until_it_renews(leases: Any) -> None:
    make_leases_patient(again_seconds=0.0)
    server = Server(refusals=20)
    assert getattr(leases, RENEW)(server, UUID(int=1), 300, threading.Event())
    assert server.asked == 21


def test_a_run_that_has_ended_asks_no_more(leases: Any) -> None:
    make_leases_patient(again_seconds=600.0)
    ended = threading.Event()
    ended.set()
    assert not getattr(leases, RENEW)(Server(refusals=20), UUID(int=1), 300, ended)


def test_every_flow_has_that_patience_and_prefect_asks_by_it() -> None:
    """In a process of its own, as a run is one: nobody listens, and Prefect's engine ends nothing."""
    code = f"""
import sys, time, uuid
from importlib import import_module
import flows.backup
from prefect.flow_engine import maintain_concurrency_lease
leases, asked = import_module({LEASES!r}), []
renew = leases.{RENEW}
assert renew.__module__ == "flows.patient_lease"
def counted(*arguments):
    asked.append(arguments)
    return renew(*arguments)
leases.{RENEW} = counted
class Away:
    def renew_concurrency_lease(self, **_): raise OSError("refused")
    def __enter__(self): return self
    def __exit__(self, *_): pass
leases.get_client = lambda **_: Away()
with maintain_concurrency_lease(uuid.uuid4(), 300, raise_on_lease_renewal_failure=True):
    until = time.monotonic() + 20
    while not asked and time.monotonic() < until:
        time.sleep(0.01)
assert asked
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
