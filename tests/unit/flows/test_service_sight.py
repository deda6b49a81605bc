"""What the service shows and tells when looking at the fleet fails, or does not end."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from drills.status.look import Looker
from drills.status.notify_failures import failed_again, read_failures, write_failures
from drills.status.report import FleetStatus, Health
from drills.status.service_state import PartSeen, PartState, ServiceSeen, write_service
from fleet.errors import ServerRefused
from fleet.model import Fleet
from flows.password import ensure_password
from flows.service.sight import NOTIFIED_FILE, Sight, seconds_between_looks
from flows.service.web import answer
from tests.conftest import ManualClock
from tests.inbox import Inbox, inbox
from tests.unit.drills.seen_fleets import fleet_that_is_well
from tests.unit.flows.scheduled_fleets import described

PATIENCE_SECONDS = 20.0


class Blind(Looker):
    """A look is what it is told to be; what was seen last is real."""

    def __init__(self, fleet: Fleet, clock: ManualClock) -> None:
        super().__init__(fleet, clock=clock)
        self.sees: Callable[[], FleetStatus]

    def look(self, shards: object = ()) -> FleetStatus:
        return self.sees()


def refuse() -> FleetStatus:
    raise ServerRefused("a1 refuses the account", hint="See its grants.")


def stumble() -> FleetStatus:
    raise ZeroDivisionError("by zero")


@pytest.fixture
def told(tmp_path: Path) -> Path:
    return tmp_path / "told.jsonl"


@pytest.fixture
def fleet(tmp_path: Path, told: Path) -> Fleet:
    command = ["sh", "-c", f"cat >> {told}; echo >> {told}"]
    service = {"directory": str(tmp_path), "look_seconds": 1.0}
    return described(service=service, notify={"command": command})


@pytest.fixture
def looker(fleet: Fleet, clock: ManualClock) -> Blind:
    return Blind(fleet, clock)


@contextmanager
def running(fleet: Fleet, clock: ManualClock, looker: Blind) -> Generator[Sight]:
    assert fleet.service.directory is not None
    sight = Sight(fleet, fleet.service.directory, clock, lambda _: None, looker=looker)
    cancelled = threading.Event()
    thread = threading.Thread(target=sight.run, args=(cancelled,))
    thread.start()
    try:
        yield sight
    finally:
        cancelled.set()
        thread.join()


def wait_until(is_so: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(PATIENCE_SECONDS / 0.02)):
        if is_so():
            return
        pause.wait(0.02)
    raise AssertionError("it never came to be")


def is_told(told: Path, text: str) -> bool:
    return told.exists() and text in told.read_text()


@pytest.mark.parametrize(
    ("look", "why"), [(refuse, "a1 refuses the account"), (stumble, "ZeroDivisionError")]
)
def test_a_first_look_that_fails_is_shown_and_told(
    fleet: Fleet, clock: ManualClock, looker: Blind, told: Path, look: Callable[[], FleetStatus], why: str
) -> None:
    looker.sees = look
    with running(fleet, clock, looker) as sight:
        wait_until(lambda: is_told(told, why))
        seen = sight.latest()
        assert seen is not None
        assert (seen[0].health, seen[0].shards) == (Health.CRITICAL, ())
        page = answer("/", seen, told.parent, clock.now())
        assert (page.status, why.encode() in page.body) == (200, True)


def test_what_was_well_is_not_well_when_it_cannot_be_looked_at_any_more(
    fleet: Fleet, clock: ManualClock, looker: Blind, told: Path
) -> None:
    well = replace(fleet_that_is_well(), seen_at=clock.now())
    looker.sees = lambda: well
    with running(fleet, clock, looker) as sight:
        wait_until(lambda: sight.latest() is not None)
        clock.advance(7)
        looker.sees = stumble
        wait_until(lambda: is_told(told, "ZeroDivisionError"))
        status = (sight.latest() or pytest.fail())[0]
    assert {shard.health for shard in status.shards} == {Health.UNKNOWN}
    assert status.unreachable is not None
    assert status.unreachable.endswith("known as of 7.0 s ago")


@pytest.mark.parametrize("has_looked", [False, True])
def test_a_look_that_does_not_end_is_told(
    fleet: Fleet, clock: ManualClock, looker: Blind, told: Path, *, has_looked: bool
) -> None:
    hangs, ends = threading.Event(), threading.Event()

    def hang() -> FleetStatus:
        hangs.set()
        ends.wait(PATIENCE_SECONDS)
        return fleet_that_is_well()

    looker.sees = fleet_that_is_well if has_looked else hang
    with running(fleet, clock, looker) as sight:
        try:
            wait_until(lambda: has_looked == (sight.latest() is not None))
            looker.sees = hang
            assert hangs.wait(PATIENCE_SECONDS)
            clock.advance(3600)
            wait_until(lambda: is_told(told, "could not be looked at for 1 h"))
        finally:
            ends.set()


def test_what_is_not_well_yet_is_looked_at_again_soon_in_the_first_minute() -> None:
    for health in (Health.CRITICAL, Health.WARNING, Health.UNKNOWN):
        assert seconds_between_looks(30, health, after_start=0) == 2
        assert seconds_between_looks(30, health, after_start=59) == 2
        assert seconds_between_looks(30, health, after_start=60) == 30
        assert seconds_between_looks(1, health, after_start=0) == 1
    assert seconds_between_looks(30, Health.OK, after_start=0) == 30


def test_a_fleet_that_becomes_well_after_the_start_is_shown_so_before_the_next_usual_look(
    fleet: Fleet, clock: ManualClock, looker: Blind
) -> None:
    hourly = fleet.model_copy(update={"service": fleet.service.model_copy(update={"look_seconds": 3600.0})})

    def become_well() -> FleetStatus:
        clock.advance(5)
        looker.sees = fleet_that_is_well
        raise ServerRefused("a1 refuses the account")

    looker.sees = become_well
    with running(hourly, clock, looker) as sight:
        wait_until(lambda: (seen := sight.latest()) is not None and seen[0].health is Health.OK)


@pytest.fixture
def prefect() -> Generator[Inbox]:
    with inbox() as received:
        yield received


@pytest.fixture
def tells_prefect(fleet: Fleet, prefect: Inbox) -> Fleet:
    port = int(prefect.url.rpartition(":")[2])
    return fleet.model_copy(
        update={
            "scheduler": fleet.scheduler.model_copy(update={"port": port}),
            "notify": fleet.notify.model_copy(update={"prefect_events": True}),
        }
    )


def test_the_embedded_scheduler_is_told_once_it_runs_and_that_it_starts_is_no_failure(
    tells_prefect: Fleet, clock: ManualClock, looker: Blind, tmp_path: Path, prefect: Inbox
) -> None:
    def scheduler_is(state: PartState) -> None:
        part = PartSeen(name="scheduler", state=state, since=clock.now())
        write_service(tmp_path, ServiceSeen(pid=1, started_at=clock.now(), parts=(part,)))

    password = ensure_password(tmp_path)
    looker.sees = refuse
    scheduler_is("starting")
    with running(tells_prefect, clock, looker):
        wait_until((tmp_path / NOTIFIED_FILE).exists)
        assert (prefect.posts, read_failures(tmp_path)) == ([], {})
        scheduler_is("running")
        wait_until(lambda: bool(prefect.posts))
    (post,) = prefect.posts
    assert [event["event"] for event in post.body] == ["backstay.health.critical"]
    assert post.auth == f"Basic {base64.b64encode(password.encode()).decode()}"


def test_what_failed_before_a_start_is_tried_at_once(
    tells_prefect: Fleet, clock: ManualClock, looker: Blind, tmp_path: Path, prefect: Inbox
) -> None:
    write_failures(tmp_path, {"prefect": failed_again("the Prefect server answered 503", None, clock.now())})
    looker.sees = fleet_that_is_well
    with running(tells_prefect, clock, looker):
        wait_until(lambda: bool(prefect.posts))
        wait_until(lambda: read_failures(tmp_path) == {})
