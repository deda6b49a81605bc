"""A Prefect server and a runner as processes of their own, and the server that they back up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from drills.status.places import runs_file
from drills.status.run_journal import RunEnded, RunJournal
from fleet.model import Fleet
from flows.environment import environment_of
from infra.sandbox.scratch import ScratchServer
from repository.catalog import Catalog
from tests.scenario.fleets import fleet_of, is_free, repository_of, wait_free
from tests.schedulers import Scheduler, wait_until, written

MIB = 1024 * 1024
BACKUP = "backup/test.s1"


@dataclass
class Scheduled:
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

    def slow(self, *, slow: bool, hours_later: int = 0, runs_at_once: int = 2) -> None:
        """Whether the next backup takes long enough to be met in mid-copy, and the next runner's limit."""
        rate = {"rate_bytes_per_second": MIB} if slow else {}
        backup = {"donor": "primary", "retries": 0, **rate}
        fleet = scheduled_fleet(
            self.scratch, self.scheduler, self.mysqld, hours_later, runs_at_once, backup=backup
        )
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

    def names_of_states(self, runs: list[str]) -> set[str]:
        """Names of the states that the runs are in."""
        return {self.scheduler.run(run)["state"]["name"] for run in runs}

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


def scheduled_fleet(
    scratch: ScratchServer,
    scheduler: Scheduler,
    mysqld: Path,
    hours_later: int = 0,
    runs_at_once: int = 2,
    **sections: Any,
) -> Fleet:
    """A fleet of ``scratch`` alone, of which nothing is due for hours."""
    # Half a day away, so that nothing is due while a test runs.
    away = (datetime.now(UTC).hour + 12 + hours_later) % 24
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
