"""Scheduled backups by a real Prefect server and a real runner: ended at any moment, late, missed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup.full import take_full_backup
from drills.status.places import runs_file
from drills.status.run_journal import RunEnded, RunJournal
from fleet.clock import SystemClock
from fleet.model import Fleet
from flows.environment import environment_of
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.scratch import ScratchServer, start_scratch_server
from repository.catalog import Catalog
from repository.turns import TurnTerms, turn
from tests.scenario.fleets import fill, fleet_of, is_free, repository_of, wait_free
from tests.schedulers import Scheduler, wait_until, written

pytestmark = [pytest.mark.mysql, pytest.mark.slow]

MIB = 1024 * 1024
DEPLOYED = (
    "archive-health/test",
    "backup/test.s1",
    "proof/test",
    "reconcile/test",
    "retention/test",
    "verify/test",
)
BACKUP = "backup/test.s1"


@dataclass
class Service:
    """A Prefect server, a runner, and the server that is backed up."""

    directory: Path
    scratch: ScratchServer
    scheduler: Scheduler
    fleet: Fleet
    mysqld: Path
    runner: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> Path:
        return self.directory / "backstay.toml"

    @property
    def environment(self) -> dict[str, str]:
        said = environment_of(self.fleet, self.directory, self.config, os.environ)
        return said | {"PREFECT_RUNNER_POLL_FREQUENCY": "1"}

    def start_runner(self) -> None:
        with (self.directory / "runner.log").open("ab") as log:
            self.runner = subprocess.Popen(
                [sys.executable, "-m", "flows.runner", str(self.config)],
                env=self.environment,
                cwd=self.directory,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill_runner(self) -> None:
        """It alone: what it started goes on."""
        if self.runner is not None:
            self.runner.kill()
            self.runner.wait()
            self.runner = None

    def slow(self, *, slow: bool, hours_later: int = 0) -> None:
        """Whether the next backup takes long enough to be met in mid-copy."""
        rate = {"rate_bytes_per_second": MIB} if slow else {}
        backup = {"donor": "primary", "retries": 0, **rate}
        fleet = _fleet(self.scratch, self.scheduler, self.mysqld, hours_later, backup=backup)
        written(fleet, self.config)

    def labels(self) -> list[str]:
        return [found.label for found in Catalog(repository_of(self.fleet)).backups()]

    def begin_slow(self) -> str:
        """A full backup in mid-copy: the id of its run."""
        self.slow(slow=True)
        run = self.scheduler.begin(BACKUP, {"kind": "full"})
        wait_until("the copy", lambda: not is_free(self.scratch))
        return run

    def cancel(self, run: str) -> None:
        """As Prefect's own page does."""
        self.scheduler.ask("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})

    def task_states(self, run: str) -> set[str]:
        """Names of the states that the run's tasks are in."""
        body = {"flow_runs": {"id": {"any_": [run]}}}
        return {task["state"]["name"] for task in self.scheduler.ask("POST", "/task_runs/filter", body)}

    def flow_process(self, run: str) -> int:
        """The process that carries the run out."""
        wanted = f"PREFECT__FLOW_RUN_ID={run}".encode()
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    if wanted in (folder / "environ").read_bytes().split(b"\0"):
                        return int(folder.name)
                except OSError:
                    continue
        raise AssertionError(f"no process carries out {run}")

    def hour(self) -> int:
        """At which hour the scheduler begins fulls."""
        schedules = self.scheduler.deployment(BACKUP)["schedules"]
        [cron] = [each["schedule"]["cron"] for each in schedules if each["slug"] == "full"]
        return int(cron.split()[1])

    def journal(self) -> list[RunEnded]:
        return [run for run in RunJournal(runs_file(self.fleet)).all() if run.shard == "s1"]


def _fleet(
    scratch: ScratchServer, scheduler: Scheduler, mysqld: Path, hours_later: int = 0, **sections: Any
) -> Fleet:
    # Half a day away, so that nothing is due while a test runs.
    away = (datetime.now(UTC).hour + 12 + hours_later) % 24
    directory = scheduler.directory
    return fleet_of(
        scratch,
        folder=directory,
        scheduler={"port": scheduler.port},
        service={"directory": str(directory)},
        schedule={
            "full_cron": f"0 {away} * * *",
            "incremental_cron": f"30 {away} * * *",
            "retention_cron": f"40 {away} * * *",
            "verify_cron": f"50 {away} * * *",
        },
        proof={"cron": f"55 {away} * * *"},
        restore={"mysqld": str(mysqld)},
        **sections,
    )


@pytest.fixture
def service(at_rest: Service) -> Service:
    """With a runner, also after a test that ended it."""
    if at_rest.runner is None:
        at_rest.start_runner()
    return at_rest


@pytest.fixture(scope="module")
def at_rest(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[Service]:
    """All of it, at rest: what runs every five minutes is paused, and would find no repository before."""
    directory = Path(tempfile.mkdtemp(prefix="p", dir=scratch_directory))
    scratch = start_scratch_server(directory, mysql_distribution, owner=scratch_directory)
    scheduler = Scheduler(directory)
    fleet = _fleet(scratch, scheduler, mysql_distribution.mysqld)
    service = Service(directory, scratch, scheduler, fleet, mysql_distribution.mysqld)
    service.slow(slow=False)
    fill(scratch, 20_000)
    try:
        scheduler.start(service.environment)
        service.start_runner()
        wait_until("all deployments with a run ahead", lambda: _with_runs(scheduler) >= set(DEPLOYED))
        for name in set(DEPLOYED) - {BACKUP}:
            scheduler.ask("PATCH", f"/deployments/{scheduler.deployment(name)['id']}", {"paused": True})
        wait_until("rest", lambda: not _busy(scheduler))
        repository_of(fleet)
        yield service
    finally:
        service.kill_runner()
        _kill_flows(service)
        scheduler.kill()
        scratch.remove()


def _with_runs(scheduler: Scheduler) -> set[str]:
    """Deployments that have a run ahead."""
    ahead = {run["deployment_id"] for run in scheduler.runs(state_type="SCHEDULED")}
    deployments = scheduler.ask("POST", "/deployments/filter", {})
    flows = {flow["id"]: flow["name"] for flow in scheduler.ask("POST", "/flows/filter", {})}
    return {f"{flows[each['flow_id']]}/{each['name']}" for each in deployments if each["id"] in ahead}


def _busy(scheduler: Scheduler) -> bool:
    soon = datetime.now(UTC) + timedelta(minutes=10)
    return any(
        run["state_type"] in {"PENDING", "RUNNING", "CANCELLING"}
        or (run["state_type"] == "SCHEDULED" and datetime.fromisoformat(run["expected_start_time"]) < soon)
        for run in scheduler.runs()
    )


def _kill_flows(service: Service) -> None:
    for run in service.scheduler.runs(state_type="RUNNING"):
        try:
            os.kill(service.flow_process(run["id"]), signal.SIGKILL)
        except (AssertionError, ProcessLookupError):
            continue


def test_a_cron_deployment_really_gets_runs_of_both_kinds(service: Service) -> None:
    """With newer versions of what Prefect rests on it never does, and nothing tells."""
    ahead = service.scheduler.runs(
        state_type="SCHEDULED", deployment_id=service.scheduler.deployment(BACKUP)["id"]
    )
    assert {run["parameters"]["kind"] for run in ahead} == {"full", "incremental"}
    for run in ahead:
        due = datetime.fromisoformat(run["expected_start_time"])
        assert due.minute == (0 if run["parameters"]["kind"] == "full" else 30)


def test_a_backup_ends_with_a_message_a_table_and_a_line_in_the_journal(service: Service) -> None:
    service.slow(slow=False)
    run = service.scheduler.wait_for_state(
        service.scheduler.begin(BACKUP, {"kind": "full"}), "COMPLETED", "FAILED", "CRASHED"
    )
    assert run["name"] == "full-s1"
    assert set(run["tags"]) >= {"backstay", "fleet:test", "shard:s1"}
    [label] = service.labels()
    assert run["state"]["message"].startswith(f"{label}: ")
    [ended] = service.journal()
    assert (ended.flow, ended.outcome, ended.label, ended.due_at) == ("full", "done", label, None)
    artifacts = service.scheduler.ask(
        "POST", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}}
    )
    kinds = {each["type"]: each for each in artifacts}
    assert set(kinds) == {"progress", "markdown"}
    assert f"| Backup | s1/{label} |" in kinds["markdown"]["data"]


def test_the_duties_of_the_fleet_end_with_a_message_or_with_what_must_be_put_right(service: Service) -> None:
    if not service.labels():
        take_full_backup(service.fleet, "s1", repository=repository_of(service.fleet))
    runs = {
        flow: service.scheduler.begin(f"{flow}/test", {})
        for flow in ("retention", "verify", "proof", "archive-health", "reconcile")
    }
    # A shard that has left the configuration, and whose run was ahead.
    gone = service.scheduler.begin(BACKUP, {"kind": "full", "shard": "s9"})
    states = {
        flow: service.scheduler.wait_for_state(run, "COMPLETED", "FAILED", "CRASHED", "CANCELLED")["state"]
        for flow, run in runs.items()
    }
    state = service.scheduler.wait_for_state(gone, "FAILED", "COMPLETED", "CRASHED")["state"]
    assert state["message"] == "no shard of fleet test is called 's9'. Did you mean s1?"
    messages = {flow: state["message"] for flow, state in states.items()}
    assert messages["retention"] == "0 backups expired, nothing to delete"
    assert messages["verify"].startswith("sound: ")
    assert "is proven: restored in" in messages["proof"]
    assert messages["reconcile"] == "nothing to do"
    # Who archives nothing must hear of it.
    assert states["archive-health"]["type"] == "FAILED"
    assert "lacks REPLICATION SLAVE. infra/examples/accounts.sql grants" in messages["archive-health"]


def test_a_run_cancelled_in_mid_copy_frees_the_donor_and_keeps_nothing(service: Service) -> None:
    before = service.labels()
    run = service.begin_slow()
    service.cancel(run)
    ended = service.scheduler.wait_for_state(run, "CANCELLED", "COMPLETED", "FAILED", "CRASHED")
    assert ended["state_type"] == "CANCELLED"
    wait_free(service.scratch)
    assert service.labels() == before
    assert service.journal()[-1].outcome == "cancelled"


def test_a_process_killed_in_mid_copy_frees_the_donor_and_the_next_run_works(service: Service) -> None:
    before = service.labels()
    run = service.begin_slow()
    os.kill(service.flow_process(run), signal.SIGKILL)
    wait_free(service.scratch)
    assert service.scheduler.wait_for_state(run, "CRASHED")["name"] == "full-s1"
    service.slow(slow=False)
    again = service.scheduler.begin(BACKUP, {"kind": "full"})
    assert service.scheduler.wait_for_state(again, "COMPLETED", "FAILED", "CANCELLED")["state_type"] == (
        "COMPLETED"
    )
    assert len(service.labels()) == len(before) + 1


def test_what_may_pass_is_tried_again_and_a_run_that_waits_for_it_can_be_cancelled(service: Service) -> None:
    service.slow(slow=False)
    service.scratch.kill()
    try:
        run = service.scheduler.begin(BACKUP, {"kind": "full"})
        wait_until("the next try", lambda: "AwaitingRetry" in service.task_states(run))
        service.cancel(run)
        ended = service.scheduler.wait_for_state(run, "CANCELLED", "COMPLETED", "FAILED", "CRASHED")
        assert ended["state_type"] == "CANCELLED"
    finally:
        service.scratch.start()
    assert service.journal()[-1].outcome == "cancelled"


def test_a_late_full_is_skipped_where_one_was_taken_since_it_was_due(service: Service) -> None:
    if not service.labels():
        take_full_backup(service.fleet, "s1", repository=repository_of(service.fleet))
    yesterday = (datetime.now(UTC) - timedelta(days=1, hours=13)).isoformat()
    before = service.labels()
    run = service.scheduler.begin(BACKUP, {"kind": "full"}, at=yesterday)
    ended = service.scheduler.wait_for_state(run, "COMPLETED", "FAILED", "CANCELLED")
    assert ended["state"]["name"] == "Skipped", ended["state"]
    assert service.journal()[-1].outcome == "skipped"
    assert service.labels() == before


def test_while_somebody_else_backs_the_shard_up_a_run_is_skipped(service: Service) -> None:
    service.slow(slow=False)
    before = service.labels()
    with turn(repository_of(service.fleet), TurnTerms("shard", "s1")):
        run = service.scheduler.begin(BACKUP, {"kind": "full"})
        ended = service.scheduler.wait_for_state(run, "COMPLETED", "FAILED", "CANCELLED")
    assert ended["state"]["name"] == "Skipped", ended["state"]
    assert str(os.getpid()) in ended["state"]["message"]
    assert service.labels() == before


def test_a_runner_takes_a_new_schedule_in_mid_copy_and_cancels_in_order_when_it_is_ended(
    service: Service,
) -> None:
    assert service.runner is not None
    run = service.begin_slow()
    hour = service.hour()
    service.slow(slow=True, hours_later=2)
    service.runner.send_signal(signal.SIGHUP)
    wait_until("the new hour", lambda: service.hour() == (hour + 2) % 24)
    assert service.scheduler.run(run)["state_type"] == "RUNNING"
    service.runner.terminate()
    assert service.runner.wait(40) == 0
    service.runner = None
    assert service.scheduler.wait_for_state(run, "CANCELLED", seconds=20)
    wait_free(service.scratch)
    assert service.journal()[-1].outcome == "cancelled"


class LaterClock(SystemClock):
    """The machine's clock, some minutes ahead."""

    def now(self) -> datetime:
        return super().now() + timedelta(minutes=5)


def test_a_run_whose_runner_died_too_is_ended_and_a_missed_full_is_taken_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(service.directory / "prefect"))
    from prefect.client.orchestration import SyncPrefectClient

    from flows.reconcile import reconcile_fleet

    if not service.labels():
        take_full_backup(service.fleet, "s1", repository=repository_of(service.fleet))
    run = service.begin_slow()
    process = service.flow_process(run)
    service.kill_runner()
    os.kill(process, signal.SIGKILL)
    wait_free(service.scratch)
    repository = repository_of(service.fleet)
    with SyncPrefectClient(service.scheduler.url) as client:
        assert reconcile_fleet(service.fleet, repository, client, SystemClock()) == []
        assert service.scheduler.run(run)["state_type"] == "RUNNING"
        [line] = reconcile_fleet(service.fleet, repository, client, LaterClock())
        assert line.startswith("ended full-s1: its process is gone")
        assert service.scheduler.run(run)["state"]["name"] == "Crashed"
        # This repository has no full since the last one was due.
        other = repository_of(_elsewhere(service))
        [begun] = reconcile_fleet(service.fleet, other, client, SystemClock())
        assert begun.startswith("began a full of s1")
        [missed] = [run for run in service.scheduler.runs() if "missed" in run["tags"]]
        assert missed["parameters"] == {"shard": "s1", "kind": "full"}
        assert reconcile_fleet(service.fleet, other, client, SystemClock()) == []


def _elsewhere(service: Service) -> Fleet:
    folder = service.directory / "elsewhere"
    folder.mkdir()
    return fleet_of(service.scratch, folder=folder)
