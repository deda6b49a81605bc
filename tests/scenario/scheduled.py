"""A Prefect server and a runner as processes of their own, and the server that they back up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from drills.status.places import runs_file
from drills.status.run_journal import RunEnded, RunJournal
from fleet.model import Fleet
from flows.environment import environment_of
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.scratch import ScratchServer, start_scratch_server
from repository.catalog import Catalog
from tests.scenario.fleets import fill, fleet_of, is_free, repository_of, wait_free
from tests.schedulers import Scheduler, wait_until, written

MIB = 1024 * 1024
BACKUP = "backup/test.s1"
ENDS = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
DEPLOYED = (
    "archive-health/test",
    "backup/test.s1",
    "proof/test",
    "reconcile/test",
    "retention/test",
    "verify/test",
)


@dataclass
class Scheduled:
    """A Prefect server, a runner, and the server that is backed up."""

    directory: Path
    scratch: ScratchServer
    scheduler: Scheduler
    fleet: Fleet
    mysqld: Path
    away: int
    """The hour of fulls: the same where a test goes on into the next hour, for a cron line that is new has
    missed nothing.
    """
    repository: dict[str, Any] | None = None
    runner: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> Path:
        return self.directory / "backstay.toml"

    @property
    def environment(self) -> dict[str, str]:
        said = environment_of(self.fleet, self.directory, self.config, os.environ)
        return said | {
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
            "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "1",
        }

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

    def kill_runner_and(self, run: str) -> None:
        """Both at once, as the kernel or a leash does; the donor is free then."""
        process = self.flow_process(run)
        self.kill_runner()
        os.kill(process, signal.SIGKILL)
        wait_free(self.scratch)

    def slow(self, *, slow: bool, hours_later: int = 0, runs_at_once: int = 2, rate: int = MIB) -> None:
        """Whether the next backup takes long enough to be met in mid-copy, and the next runner's limit."""
        rates = {"rate_bytes_per_second": rate} if slow else {}
        backup = {"donor": "primary", "retries": 0, **rates}
        fleet = scheduled_fleet(
            self.scratch,
            self.scheduler,
            self.mysqld,
            self.away + hours_later,
            runs_at_once,
            backup=backup,
            repository=self.repository,
        )
        written(fleet, self.config)

    def labels(self) -> list[str]:
        return [found.label for found in Catalog(repository_of(self.fleet)).backups()]

    def begin_slow(self, rate: int = MIB) -> str:
        """A full backup of some 95 MB in mid-copy, at ``rate`` bytes a second: the id of its run."""
        self.slow(slow=True, rate=rate)
        run = self.scheduler.begin(BACKUP, {"kind": "full"})
        wait_until("the copy", lambda: not is_free(self.scratch) or self._has_ended(run))
        assert not self._has_ended(run), self.scheduler.run(run)["state"]["message"]
        return run

    def _has_ended(self, run: str) -> bool:
        return self.scheduler.run(run)["state_type"] in ENDS

    def cancel(self, run: str) -> None:
        """As Prefect's own page does."""
        self.scheduler.ask("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})

    def end_what_was_begun(self) -> None:
        """Nothing that a failed test has begun, and could not end, is met by the next one."""
        left = [run for run in self.scheduler.runs(auto_scheduled=False) if run["state_type"] not in ENDS]
        for run in left:
            self.cancel(run["id"])
        if self.runner is not None:
            for run in left:
                self.scheduler.wait_for_state(run["id"], *ENDS)

    def log_of(self, run: str) -> list[str]:
        """What the run has told."""
        body = {"logs": {"flow_run_id": {"any_": [run]}}}
        return [line["message"] for line in self.scheduler.ask("POST", "/logs/filter", body)]

    def task_states(self, run: str) -> set[str]:
        """Names of the states that the run's tasks are in.

        A task may have none yet: on SQLite Prefect's server writes it and its state in two transactions
        (``task_run_recorder``: its session begins none).
        """
        body = {"flow_runs": {"id": {"any_": [run]}}}
        tasks = self.scheduler.ask("POST", "/task_runs/filter", body)
        return {task["state"]["name"] for task in tasks if task["state"]}

    def names_of_states(self, runs: list[str]) -> set[str]:
        """Names of the states that the runs are in."""
        return {self.scheduler.run(run)["state"]["name"] for run in runs}

    def flow_process(self, run: str) -> int:
        """The process that carries the run out."""
        wanted = f"PREFECT__FLOW_RUN_ID={run}".encode()
        for process, said in _environments():
            if wanted in said:
                return process
        raise AssertionError(f"no process carries out {run}")

    def kill_flows(self) -> None:
        """Every process of a run, whoever started it and whether or not the scheduler answers."""
        home = f"PREFECT_HOME={self.directory / 'prefect'}".encode()
        for process, said in _environments():
            if home in said and any(each.startswith(b"PREFECT__FLOW_RUN_ID=") for each in said):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    def hour(self) -> int:
        """At which hour the scheduler begins fulls."""
        schedules = self.scheduler.deployment(BACKUP)["schedules"]
        [cron] = [each["schedule"]["cron"] for each in schedules if each["slug"] == "full"]
        return int(cron.split()[1])

    def journal(self) -> list[RunEnded]:
        return [run for run in RunJournal(runs_file(self.fleet)).all() if run.shard == "s1"]


def _environments() -> Iterator[tuple[int, list[bytes]]]:
    """Processes of this machine, and what each was told."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                yield int(folder.name), (folder / "environ").read_bytes().split(b"\0")


def half_a_day_away() -> int:
    """An hour of the day that does not come while a test runs."""
    return (datetime.now(UTC).hour + 12) % 24


def scheduled_fleet(
    scratch: ScratchServer,
    scheduler: Scheduler,
    mysqld: Path,
    full_hour: int,
    runs_at_once: int = 2,
    **sections: Any,
) -> Fleet:
    """A fleet of ``scratch`` alone, of which all is due in that hour, modulo 24."""
    away = full_hour % 24
    directory = scheduler.directory
    return fleet_of(
        scratch,
        folder=directory,
        scheduler={"port": scheduler.port, "runs_at_once": runs_at_once},
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


@contextmanager
def scheduled_at_rest(
    distribution: MysqlDistribution, scratch_directory: Path, repository: dict[str, Any] | None = None
) -> Generator[Scheduled]:
    """All of it, at rest: what runs every five minutes is paused, and would find no repository before.

    ``repository``: that section of the configuration, if it is not a folder beside the rest.
    """
    directory = Path(tempfile.mkdtemp(prefix="p", dir=scratch_directory))
    scratch = start_scratch_server(directory, distribution, owner=scratch_directory)
    scheduler = Scheduler(directory)
    away, mysqld = half_a_day_away(), distribution.mysqld
    fleet = scheduled_fleet(scratch, scheduler, mysqld, away, repository=repository)
    service = Scheduled(directory, scratch, scheduler, fleet, mysqld, away, repository)
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
        service.kill_flows()
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
