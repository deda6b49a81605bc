"""A run of each kind is cancelled while the store leaves a request of it without an answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from backup.full import take_full_backup
from drills.status.places import proof_directory
from fleet.clock import SystemClock
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.objectstore import SeaweedServer
from repository import layout
from repository.turns import Turns
from tests.contract.front import Answer, Front, Request
from tests.scenario.fleets import bucket_section, repository_of, wait_free
from tests.scenario.scheduled import BACKUP, ENDS, Scheduled, scheduled_at_rest
from tests.schedulers import wait_until

pytestmark = [pytest.mark.mysql, pytest.mark.s3, pytest.mark.slow]

STAGES = {
    "retention/test": ("list", layout.MANIFESTS),
    "verify/test": ("get", layout.DATA),
    "proof/test": ("get", layout.DATA),
    BACKUP: ("put", layout.DATA),
}
"""In which each waits: for what, and where."""
PATIENCE_SECONDS = 60.0
"""By then somebody who cancels sees it: the runner waits for half a minute, then it kills."""


class SilentFront(Front):
    """Passes everything on, but while ``silent_for`` is set: no request of such an operation on such a place
    is answered. ``was_asked``: there was one.
    """

    def __init__(self, seaweed: SeaweedServer) -> None:
        super().__init__(seaweed.endpoint, seaweed.access_key, seaweed.secret_key)
        self.silent_for: tuple[str, str] | None = None
        self.was_asked = threading.Event()
        self.speak = threading.Event()

    def be_silent(self, operation: str, place: str) -> None:
        self.was_asked.clear()
        self.speak.clear()
        self.silent_for = (operation, place)

    def be_heard(self) -> None:
        self.silent_for = None
        self.speak.set()

    def answer(self, request: Request) -> Answer | None:
        if self.silent_for is not None:
            operation, place = self.silent_for
            asked = f"{request.key}?{unquote(request.query)}"
            if request.operation.startswith(operation) and place in asked:
                self.was_asked.set()
                self.speak.wait()
        return self.pass_on(request)


@pytest.fixture(scope="module")
def front(seaweed: SeaweedServer) -> Iterator[SilentFront]:
    front = SilentFront(seaweed)
    yield front
    front.be_heard()
    front.stop()


@pytest.fixture(scope="module")
def service(
    mysql_distribution: MysqlDistribution, scratch_directory: Path, seaweed: SeaweedServer, front: SilentFront
) -> Iterator[Scheduled]:
    """Whose repository is an S3 bucket, behind ``front``."""
    repository = bucket_section(seaweed, "silent", scratch_directory, endpoint=front.address)
    with scheduled_at_rest(mysql_distribution, scratch_directory, repository) as service:
        take_full_backup(service.fleet, "s1", repository=repository_of(service.fleet))
        service.kill_runner()
        service.slow(slow=False, runs_at_once=len(STAGES))
        service.start_runner()
        yield service


def test_runs_that_wait_for_their_store_are_cancelled_and_the_next_ones_work(
    service: Scheduled, front: SilentFront
) -> None:
    begun: dict[str, float] = {}
    try:
        for deployment, (operation, place) in STAGES.items():
            front.be_silent(operation, place)
            run = service.scheduler.begin(deployment, parameters_of(deployment))
            assert front.was_asked.wait(60), deployment
            begun[run] = time.monotonic()
            service.cancel(run)
            # Of whoever backs up, long before the store says anything.
            wait_free(service.scratch)
        for run, since in begun.items():
            assert service.scheduler.wait_for_state(run, *ENDS)["state_type"] == "CANCELLED"
            assert time.monotonic() - since < PATIENCE_SECONDS
    finally:
        front.be_heard()
    repository = repository_of(service.fleet)
    wait_until("turns that were given back", lambda: not Turns(repository).in_force(SystemClock().now()))
    again = [service.scheduler.begin(deployment, parameters_of(deployment)) for deployment in STAGES]
    for run in again:
        assert service.scheduler.wait_for_state(run, *ENDS)["state_type"] == "COMPLETED"
    # What a proof left that was killed, as it did not hear in time, the next one has removed.
    assert not list(proof_directory(service.fleet).glob("*"))


def parameters_of(deployment: str) -> dict[str, str]:
    return {"kind": "full"} if deployment == BACKUP else {}
