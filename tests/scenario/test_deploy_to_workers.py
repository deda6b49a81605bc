"""`backstay deploy` onto a Prefect server on PostgreSQL; two workers, each near the shard it backs up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from fleet.model import Fleet
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.scratch import ScratchServer, start_scratch_server
from repository import layout
from repository.catalog import Catalog
from repository.layout import BackupName
from tests.postgresql import PostgresServer, programs
from tests.scenario.doors import Door
from tests.scenario.fleets import fleet_of, repository_of
from tests.scenario.scheduled import half_a_day_away
from tests.schedulers import Scheduler, kill_group, wait_until, written

pytestmark = [
    pytest.mark.mysql,
    pytest.mark.slow,
    pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed; `make parts` does it"),
]

USER, PASSWORD = "backstay", "a password: with a colon"


def _fleet(scratch: ScratchServer, scheduler: Scheduler, hour: int, *, shards: int) -> Fleet:
    """``s1`` and ``s2`` in two regions: one server under two addresses, as good as two for a scheduler."""
    directory = scheduler.directory
    secret = directory / "scheduler-password"
    secret.write_text(f"{USER}:{PASSWORD}")
    secret.chmod(0o600)
    fleet = fleet_of(
        scratch,
        folder=directory,
        scheduler={"api_url": scheduler.url, "api_auth": {"file": str(secret)}},
        service={"directory": str(directory / "state")},
        notify={"command": ["/bin/sh", "-c", f"cat > {directory}/told.json"]},
        schedule={"full_cron": f"0 {hour} * * *", "incremental_cron": f"30 {hour} * * *"},
    )
    document = fleet.model_dump(mode="json", exclude_unset=True)
    there = {"host": "localhost", "port": scratch.port, "tls": {"mode": "required"}}
    second = {"name": "far", "region": "there", "role": "primary", **there}
    document["regions"] = [*document["regions"], "there"]
    document["shards"] = [*document["shards"], {"name": "s2", "servers": [second]}][:shards]
    return Fleet.model_validate(document)


@pytest.fixture(scope="module")
def scratch(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[ScratchServer]:
    directory = Path(tempfile.mkdtemp(prefix="w", dir=scratch_directory))
    server = start_scratch_server(directory, mysql_distribution, owner=scratch_directory)
    yield server
    server.remove()


@pytest.fixture(scope="module")
def scheduler(scratch_directory: Path) -> Iterator[Scheduler]:
    """Prefect's server on PostgreSQL, which asks for a password."""
    folder = programs()
    assert folder is not None
    postgres = PostgresServer(folder)
    scheduler = Scheduler(Path(tempfile.mkdtemp(prefix="q", dir=scratch_directory)), (USER, PASSWORD))
    try:
        postgres.start()
        yield _started(scheduler, postgres)
    finally:
        scheduler.kill()
        postgres.remove()


def _started(scheduler: Scheduler, postgres: PostgresServer) -> Scheduler:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    scheduler.start(
        {
            **environment,
            "PREFECT_HOME": str(scheduler.directory / "server"),
            "PREFECT_API_URL": scheduler.url,
            "PREFECT_SERVER_API_PORT": str(scheduler.port),
            "PREFECT_SERVER_API_AUTH_STRING": f"{USER}:{PASSWORD}",
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": postgres.url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }
    )
    return scheduler


@contextmanager
def _worker(config: Path, pool: str) -> Iterator[Path]:
    """A worker of one pool, and its log."""
    log = config.parent / f"{pool}.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.worker", str(config), pool],
            env=os.environ | {"PREFECT_API_URL": "http://nobody.invalid/api"},
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield log
    finally:
        kill_group(process)


def _names(report: dict[str, Any], step: str) -> set[str]:
    return {each["name"] for each in report["deployments"] if each["step"] == step}


def test_a_fleet_is_deployed_and_each_shard_is_backed_up_by_the_worker_near_it(
    scratch: ScratchServer, scheduler: Scheduler
) -> None:
    hour = half_a_day_away()
    fleet = _fleet(scratch, scheduler, hour, shards=2)
    config = written(fleet, scheduler.directory / "backstay.toml")
    door = Door(config, scheduler.directory)
    backups = {"backup/test.s1", "backup/test.s2"}
    everything = backups | {
        f"{duty}/test" for duty in ("archive-health", "proof", "reconcile", "retention", "verify")
    }

    planned = door.json("deploy", "--dry-run")
    assert (planned["done"], _names(planned, "create")) == (False, everything)
    assert scheduler.ask("POST", "/deployments/filter", {}) == []
    done = door.json("deploy")
    assert done["deployments"] == planned["deployments"]
    assert done["pools"] == ["backstay-test", "backstay-test.here", "backstay-test.there"]
    assert done["queues"] == ["backstay-test/short"]
    assert _names(door.json("deploy"), "keep") == everything
    queues = scheduler.ask("POST", "/work_pools/backstay-test/queues/filter", {})
    assert {queue["name"]: queue["priority"] for queue in queues} == {"short": 1, "default": 2}

    # On PostgreSQL, too, a schedule really becomes runs.
    def ahead() -> set[str]:
        runs = scheduler.runs(state_type="SCHEDULED")
        return {run["parameters"]["shard"] for run in runs if "shard" in run["parameters"]}

    wait_until("runs of both shards", lambda: ahead() == {"s1", "s2"})

    repository = repository_of(fleet)
    with ExitStack() as stack:
        logs = [stack.enter_context(_worker(config, f"backstay-test.{where}")) for where in ("here", "there")]
        for shard in ("s1", "s2"):
            run = scheduler.begin(f"backup/test.{shard}", {"kind": "full"})
            ended = scheduler.wait_for_state(run, "COMPLETED", "FAILED", "CRASHED", "CANCELLED")
            assert ended["state_type"] == "COMPLETED", ended["state"]["message"]
        assert [log.name for log in logs if "Flow run 'full-s1'" in log.read_text()] == [logs[0].name]
        assert [log.name for log in logs if "Flow run 'full-s2'" in log.read_text()] == [logs[1].name]
    assert [found.shard for found in Catalog(repository).backups()] == ["s1", "s2"]

    # Where no service looks at the fleet, who is to be told is told by a run.
    unreadable = layout.manifest(BackupName("s2", "20200101T000000Z-full"))
    repository.store.put(unreadable, b"nonsense")
    with _worker(config, "backstay-test"):
        retention = scheduler.begin("retention/test", {})
        assert scheduler.wait_for_state(retention, "COMPLETED", "FAILED", "CRASHED")["state_type"] == "FAILED"
        run = scheduler.begin("archive-health/test", {})
        scheduler.wait_for_state(run, "COMPLETED", "FAILED", "CRASHED")
    repository.store.delete(unreadable)
    told = json.loads((scheduler.directory / "told.json").read_text())
    assert told["fleet"] == "test"
    assert _retention_findings(fleet, scheduler.directory / "elsewhere") == ["retention-refused"]

    # A shard that left the configuration is no longer scheduled, and keeps its backups; others' stay.
    foreign = _foreign(scheduler)
    written(_fleet(scratch, scheduler, (hour + 1) % 24, shards=1), config)
    changed = door.json("deploy")
    assert _names(changed, "delete") == {"backup/test.s2"}
    [s1] = [each for each in changed["deployments"] if each["name"] == "backup/test.s1"]
    assert (s1["step"], s1["what"]) == ("change", ["schedules"])
    assert scheduler.deployment("backup/test.s1")["schedules"][0]["schedule"]["cron"].split()[1] == str(
        (hour + 1) % 24
    )
    assert scheduler.deployment("someone/else")["id"] == foreign
    assert [found.shard for found in Catalog(repository).backups()] == ["s1", "s2"]


def _retention_findings(fleet: Fleet, directory: Path) -> list[str]:
    """What ``backstay status`` says of retention on a machine where no run ever ended."""
    directory.mkdir()
    service = fleet.service.model_copy(update={"directory": directory / "state"})
    config = written(fleet.model_copy(update={"service": service}), directory / "backstay.toml")
    out, err = Door(config, directory).start("status", "--json").communicate(timeout=60)
    assert out, err
    return [each["code"] for each in json.loads(out)["findings"] if each["subject"] == "retention"]


def _foreign(scheduler: Scheduler) -> str:
    """A deployment of another fleet."""
    flow = scheduler.ask("POST", "/flows/", {"name": "someone"})["id"]
    body = {"name": "else", "flow_id": flow, "tags": ["backstay", "fleet:other"]}
    return scheduler.ask("POST", "/deployments/", body)["id"]


def test_a_wrong_password_is_told_without_it(scratch: ScratchServer, scheduler: Scheduler) -> None:
    fleet = _fleet(scratch, scheduler, 3, shards=1)
    config = written(fleet, scheduler.directory / "wrong.toml")
    (scheduler.directory / "scheduler-password").write_text("backstay:not this one")
    told = Door(config, scheduler.directory).json("deploy", expect=53)
    assert "not this one" not in str(told)
