"""A scheduler that dies, is locked, or cancels in any stage: donors are free, and the next run works."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import pytest

from backup.full import take_full_backup
from backup.result import BackupResult
from drills.status.places import proof_directory
from fleet.clock import SystemClock
from fleet.progress import Progress
from flows.deployments import wanted_deployments
from flows.running import HowFar, carry_out
from flows.service.empty_database import DATABASE
from infra.sandbox.distribution import MysqlDistribution
from repository import layout
from repository.catalog import Catalog
from repository.repository import Repository
from repository.stores.interface import Buffer, Store, Stored
from repository.turns import Turns, TurnTerms, turn
from repository.verify import verify_backup
from tests.scenario.fleets import is_free, repository_of, wait_free
from tests.scenario.scheduled import BACKUP, ENDS, MIB, Scheduled, scheduled_at_rest
from tests.schedulers import wait_until

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

pytestmark = [pytest.mark.mysql, pytest.mark.slow]

SOME_SECONDS = 12 * MIB
"""A rate at which a backup takes some ten seconds."""
LOCKED_SECONDS = 65
"""Prefect's server waits 60 for a lock, then it refuses."""


@pytest.fixture(scope="module")
def service(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[Scheduled]:
    with scheduled_at_rest(mysql_distribution, scratch_directory) as service:
        yield service


def ended(service: Scheduled, run: str) -> str:
    """The type of the state that the run ends in."""
    return service.scheduler.wait_for_state(run, *ENDS)["state_type"]


def assert_next_one_works(service: Scheduled) -> None:
    """The donor is free, nobody has a turn, and a backup is taken and whole."""
    wait_free(service.scratch)
    repository = repository_of(service.fleet)
    wait_until("turns that were given back", lambda: not Turns(repository).in_force(SystemClock().now()))
    before = service.labels()
    service.slow(slow=False)
    assert ended(service, service.scheduler.begin(BACKUP, {"kind": "full"})) == "COMPLETED"
    [label] = set(service.labels()) - set(before)
    assert_whole(repository, label)


def assert_whole(repository: Repository, label: str) -> None:
    assert verify_backup(repository, Catalog(repository).manifest("s1", label)).is_sound


class EndingStore:
    """The store below; before something of ``place`` is put there, this process is asked to end, and the
    story is, too.
    """

    def __init__(self, store: Store, place: str, cancelled: threading.Event) -> None:
        self._store, self._place, self._cancelled = store, place, cancelled

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def put(self, key: str, data: Buffer, *, if_absent: bool = True, sha256: bytes | None = None) -> Stored:
        if key.startswith(self._place) and not self._cancelled.is_set():
            signal.raise_signal(signal.SIGTERM)
            assert self._cancelled.wait(20)
        return self._store.put(key, data, if_absent=if_absent, sha256=sha256)


class Ended(BaseException):
    """As Prefect ends a flow: no Exception."""


def end(number: int, frame: FrameType | None) -> None:
    raise Ended


def nobody(far: HowFar) -> None:
    pass


def test_a_server_that_dies_in_mid_copy_ends_no_backup_and_learns_of_it_when_it_is_back(
    service: Scheduled,
) -> None:
    """Killed twice: it is back while the copy goes on, and then away for the rest of it."""
    before, written_before = service.labels(), len(service.journal())
    run = service.begin_slow(SOME_SECONDS)
    # By the time that its log has come it is past its logins: a donor waits for none that stops in one.
    wait_until("files", lambda: any(line.endswith(": file") for line in service.log_of(run)))
    service.scheduler.kill()
    # However long the server takes, the copy is not over when it is back.
    process = service.flow_process(run)
    os.kill(process, signal.SIGSTOP)
    service.scheduler.start(service.environment)
    os.kill(process, signal.SIGCONT)
    artifacts = {"artifacts": {"flow_run_id": {"any_": [run]}}}
    wait_until("the bar", lambda: service.scheduler.ask("POST", "/artifacts/filter", artifacts) != [])
    service.scheduler.kill()
    try:
        wait_until("the backup", lambda: service.labels() != before)
        # Not the two minutes in which its table would be shown.
        wait_until("its line in the journal", lambda: len(service.journal()) > written_before, 40)
    finally:
        service.scheduler.start(service.environment)
    [label] = set(service.labels()) - set(before)
    assert [(line.outcome, line.label) for line in service.journal()[written_before:]] == [("done", label)]
    assert service.runner is not None
    assert service.runner.poll() is None
    assert ended(service, run) == "COMPLETED"
    assert service.scheduler.run(run)["state"]["message"].startswith(f"{label}: ")
    assert_whole(repository_of(service.fleet), label)


def test_a_database_that_is_locked_for_longer_than_its_server_waits_ends_no_backup(
    service: Scheduled,
) -> None:
    before = service.labels()
    run = service.begin_slow(SOME_SECONDS)
    database = service.directory / "prefect" / DATABASE
    with closing(sqlite3.connect(database, isolation_level=None, timeout=30)) as somebody:
        somebody.execute("BEGIN IMMEDIATE")
        time.sleep(LOCKED_SECONDS)
        # It was not waited for.
        assert service.labels() != before
        assert service.scheduler.run(run)["state_type"] == "RUNNING"
    assert ended(service, run) == "COMPLETED"
    [label] = set(service.labels()) - set(before)
    assert_whole(repository_of(service.fleet), label)
    assert service.runner is not None
    assert service.runner.poll() is None
    assert_next_one_works(service)


def test_after_its_server_has_died_a_runner_still_hears_of_a_cancellation(service: Scheduled) -> None:
    run = service.begin_slow()
    service.cancel(run)
    assert ended(service, run) == "CANCELLED"
    assert_next_one_works(service)


@pytest.mark.parametrize("place", [layout.TURNS, layout.LEASES, layout.KEYS, layout.MANIFESTS])
def test_a_backup_that_is_ended_at_any_write_is_none_or_whole(service: Scheduled, place: str) -> None:
    """Right before its manifest, too: then it is one, for nothing is left to be asked."""
    repository = repository_of(service.fleet)
    before = service.labels()

    def story(progress: Progress, cancelled: threading.Event) -> BackupResult:
        ending = EndingStore(repository.store, place, cancelled)
        doomed = Repository(ending, repository.description, repository.keys)  # type: ignore[arg-type]
        return take_full_backup(
            service.fleet, "s1", repository=doomed, progress=progress, cancelled=cancelled
        )

    previous = signal.signal(signal.SIGTERM, end)
    try:
        with pytest.raises(Ended):
            carry_out(story, SystemClock(), tell=nobody)
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert is_free(service.scratch)
    assert Turns(repository).in_force(SystemClock().now()) == ()
    new = set(service.labels()) - set(before)
    assert len(new) == (place == layout.MANIFESTS)
    for label in new:
        assert_whole(repository, label)


def test_a_run_cancelled_before_its_process_has_begun_never_begins(service: Scheduled) -> None:
    """One that waits for the slot of its deployment, and one whose process is about to import Prefect."""
    before = service.labels()
    run = service.scheduler.begin(BACKUP, {"kind": "full"})
    process: list[int] = []

    def has_process() -> bool:
        try:
            process.append(service.flow_process(run))
        except AssertionError:
            return False
        os.kill(process[0], signal.SIGSTOP)
        return True

    wait_until("its process", has_process)
    assert service.scheduler.run(run)["state_type"] == "PENDING"
    waiting = service.scheduler.begin(BACKUP, {"kind": "full"})
    wait_until("the wait", lambda: service.names_of_states([waiting]) == {"AwaitingConcurrencySlot"})
    service.cancel(waiting)
    assert ended(service, waiting) == "CANCELLED"
    service.cancel(run)
    os.kill(process[0], signal.SIGCONT)
    assert ended(service, run) == "CANCELLED"
    assert service.labels() == before


def test_a_run_cancelled_while_it_waits_for_its_turn_leaves_no_turn(service: Scheduled) -> None:
    service.slow(slow=False)
    region, repository = service.scratch.server.region, repository_of(service.fleet)
    with ExitStack() as others:
        for number in range(service.fleet.budget.backups_per_region):
            others.enter_context(turn(repository, TurnTerms("region", f"{region}.{number}")))
        run = service.scheduler.begin(BACKUP, {"kind": "full"})
        wait_until("its wait", lambda: any("waiting up to" in line for line in service.log_of(run)))
        service.cancel(run)
        assert ended(service, run) == "CANCELLED"
    assert service.journal()[-1].outcome == "cancelled"


def test_a_run_cancelled_while_its_donor_does_not_answer_ends_in_order(service: Scheduled) -> None:
    service.slow(slow=False)
    [told] = service.scratch.query("SELECT @@pid_file AS path")
    donor = Path(told["path"]).read_text()
    os.kill(int(donor), signal.SIGSTOP)
    try:
        run = service.scheduler.begin(BACKUP, {"kind": "full"})
        service.scheduler.wait_for_state(run, "RUNNING")
        wait_until("its turn", lambda: Turns(repository_of(service.fleet)).in_force(SystemClock().now()))
        service.cancel(run)
        assert ended(service, run) == "CANCELLED"
    finally:
        os.kill(int(donor), signal.SIGCONT)
    assert_next_one_works(service)


def test_a_proof_cancelled_while_its_server_runs_leaves_neither_server_nor_files(service: Scheduled) -> None:
    take_full_backup(service.fleet, "s1", repository=repository_of(service.fleet))
    place = proof_directory(service.fleet)
    run = service.scheduler.begin("proof/test", {})
    wait_until("its server", lambda: servers_in(place))
    service.cancel(run)
    assert ended(service, run) == "CANCELLED"
    assert servers_in(place) == []
    assert list(place.glob("*")) == []
    assert ended(service, service.scheduler.begin("proof/test", {})) == "COMPLETED"


def servers_in(place: Path) -> list[int]:
    """The processes that were told of a place below."""
    found: list[int] = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if os.fsencode(place) in each.read_bytes():
                found.append(int(each.parent.name))
    return found


class Died(BaseException):
    """What kill -9 leaves of whoever deploys: what was asked for until then."""


class DyingClient:
    """The client below, until it has changed something ``writes`` times."""

    def __init__(self, client: SyncPrefectClient, writes: int) -> None:
        self._client, self._left = client, writes

    def __getattr__(self, name: str) -> Any:
        asked = getattr(self._client, name)
        return partial(self._write, asked) if name.startswith(("create_", "delete_")) else asked

    def _write(self, asked: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        if self._left == 0:
            raise Died
        self._left -= 1
        return asked(*arguments, **more)


def test_a_deploy_killed_after_any_step_is_finished_by_the_next_one(
    service: Scheduled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(service.directory / "prefect"))
    from prefect.client.orchestration import SyncPrefectClient

    from flows.applying import apply, plan

    with SyncPrefectClient(service.scheduler.url) as client:
        number, has_died = 0, True
        while has_died:
            # From nothing to two, and from two to another one of them.
            fleet = service.fleet.model_copy(update={"name": f"killed{number}"})
            first = tuple(
                each
                for each in wanted_deployments(fleet, in_pools=True)
                if each.flow in ("backup", "reconcile")
            )
            second = tuple(replace(each, description="") for each in first if each.flow == "reconcile")
            has_died = False
            for wanted in (first, second):
                dying: Any = DyingClient(client, number)
                try:
                    apply(dying, plan(client, fleet, wanted))
                except Died:
                    has_died = True
                apply(client, plan(client, fleet, wanted))
                again = plan(client, fleet, wanted)
                assert {step.step for step in again.steps} == {"keep"}
                assert (again.pools, again.queues) == ((), ())
                assert set(again.ids) == {each.full_name for each in wanted}
            number += 1
    assert number > 6
