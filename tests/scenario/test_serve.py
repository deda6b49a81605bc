"""`backstay serve` as a process of its own, on a real fleet: parts are killed, the configuration changes."""

from __future__ import annotations

import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.sandbox.fleet import SandboxFleet
from tests.scenario.services import Service, descendants, is_gone, wait_until

pytestmark = [pytest.mark.mysql, pytest.mark.s3, pytest.mark.slow]

SHARD = """
[[shards]]
name = "new"

[[shards.servers]]
name = "new-a"
host = "127.0.0.1"
port = 1
region = "us-east"
"""


@pytest.fixture(scope="module")
def service(sandbox: SandboxFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that was started, of a fleet without a backup. The tests are one story, in their order."""
    service = Service(sandbox, tmp_path_factory.mktemp("serve"))
    try:
        service.door.run("init", "--json")
        service.start()
        yield service
    finally:
        service.clear()


def test_the_first_full_of_a_new_fleet_is_begun_at_once(service: Service) -> None:
    service.wait_well()
    wait_until(lambda: service.runs("backup"), "a backup is begun")
    [full] = service.runs("backup")
    assert (full["name"], "missed" in full["tags"]) == ("full-s1", True)
    # And not by the look that is due every five minutes.
    assert len(service.runs("reconcile")) == 1


def test_every_part_runs_and_the_page_says_that_all_is_well(service: Service) -> None:
    wait_until(lambda: service.status()["health"] == "ok", lambda: f"it is well: {service.status()}")
    code, page = service.get("/")
    assert code == 200
    assert "Every shard can be recovered." in page
    assert 'backstay_repository_reachable{fleet="sandbox"} 1.0' in service.get("/metrics")[1]
    assert service.get("/nothing")[0] == 404
    assert {part.name for part in service.seen().parts} == {"page", "scheduler", "runner", "archiver"}


def test_the_scheduler_answers_nobody_who_lacks_the_password_in_the_state(service: Service) -> None:
    """And who has it, the runner among them, is answered: the next tests begin runs."""
    assert service.scheduler_unasked("/deployments/filter") == 401
    assert "sandbox.s1" in service.deployments()
    assert stat.S_IMODE((service.directory / "scheduler-password").stat().st_mode) == 0o600


def test_parts_that_are_killed_are_started_again(service: Service) -> None:
    before = service.pids()
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not set(service.pids().values()) & set(before.values()), "others run")
    service.wait_well()
    assert set(service.pids()) == set(before)
    for name in before:
        assert f"{name} was killed by SIGKILL; it is started again in 1 s" in service.said()


def test_a_run_goes_on_while_the_configuration_changes(service: Service) -> None:
    """The shard that comes is followed, and scheduled; when it leaves, nothing of it stays."""
    deployment = service.scheduler("/deployments/name/backup/sandbox.s1")
    asked = {"parameters": {"shard": "s1", "kind": "incremental"}}
    run = service.scheduler(f"/deployments/{deployment['id']}/create_flow_run", asked)
    text = service.config.read_text()
    service.config.write_text(text + SHARD)
    wait_until(lambda: "sandbox.new" in service.deployments(), "the new shard is scheduled")
    before = service.pids()
    wait_until(lambda: len(service.status()["shards"]) == 2, "it is on the page")
    service.config.write_text(text)
    os.kill(service.process.pid, signal.SIGHUP)
    wait_until(lambda: "sandbox.new" not in service.deployments(), "it is no longer scheduled")
    wait_until(lambda: len(service.status()["shards"]) == 1, "it is no longer on the page")
    assert {name: service.pids()[name] for name in ("scheduler", "runner")} == {
        name: before[name] for name in ("scheduler", "runner")
    }
    ended = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
    wait_until(lambda: service.scheduler(f"/flow_runs/{run['id']}")["state_type"] in ended, "the run ends")
    assert service.scheduler(f"/flow_runs/{run['id']}")["state_type"] == "COMPLETED"
    kinds = [each["kind"] for each in service.door.json("backup", "list")["backups"]]
    assert sorted(kinds) == ["full", "incremental"]


def test_a_configuration_that_does_not_load_changes_nothing(service: Service) -> None:
    service.wait_well()
    before, text = service.pids(), service.config.read_text()
    service.config.write_text(text + "\nnonsense = 1\n")
    service.wait_said("scheduler.nonsense: unknown key")
    wait_until(
        lambda: [each["code"] for each in service.status()["findings"]] == ["settings"],
        lambda: f"the page tells it: {service.status()['findings']}",
    )
    assert service.get("/healthz")[0] == 200
    assert service.pids() == before
    # Also not to a part that is started now.
    os.kill(before["archiver"], signal.SIGKILL)
    wait_until(lambda: service.pids().get("archiver", 0) not in (0, before["archiver"]), "another one runs")
    service.wait_well()
    service.config.write_text(text)
    wait_until(lambda: service.status()["health"] == "ok", "it is well again")


def test_a_second_service_is_refused_and_so_is_one_without_its_ports(
    service: Service, tmp_path: Path
) -> None:
    second = service.door.json("serve", expect=52)
    assert str(service.process.pid) in second["error"]["message"]
    text = service.config.read_text()
    try:
        service.door.config = service.config.with_name("other.toml")
        # Its scheduler's port is free, and that of its page is taken.
        free = text.replace(f"port = {service.scheduler_port}", "port = 1023")
        service.door.config.write_text(free.replace(str(service.directory), str(tmp_path / "other")))
        taken = service.door.json("serve", expect=51)
        assert f"127.0.0.1:{service.page_port} is taken" in taken["error"]["message"]
        # And the other way round.
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            free = text.replace(f"port = {service.page_port}", f"port = {probe.getsockname()[1]}")
        service.door.config.write_text(free.replace(str(service.directory), str(tmp_path / "other")))
        taken = service.door.json("serve", expect=51)
        assert f"127.0.0.1:{service.scheduler_port} is taken" in taken["error"]["message"]
        assert not (tmp_path / "other" / "logs").exists()
    finally:
        service.door.config.unlink()
        service.door.config = service.config


def test_a_database_that_is_moved_away_is_told_and_made_anew(service: Service) -> None:
    service.wait_well()
    (service.directory / "prefect" / "prefect.db").rename(service.directory / "gone.db")
    service.wait_said("scheduler has lost its database: the file was moved away or replaced")
    wait_until(lambda: service.get("/healthz")[0] == 503, "it is not well")
    service.wait_well()
    assert "sandbox.s1" in service.deployments()


def test_a_service_that_is_killed_leaves_no_process_and_the_next_one_goes_on(service: Service) -> None:
    below = descendants(service.process.pid)
    assert len(below) >= 8
    service.process.kill()
    service.process.communicate()
    wait_until(lambda: all(map(is_gone, below)), "nothing of it is left")
    service.start()
    wait_until(lambda: service.seen().pid == service.process.pid, "another one has begun")
    service.wait_well()
    wait_until(lambda: service.status()["health"] == "ok", "the fleet is well")


def test_it_ends_in_order(service: Service) -> None:
    below = descendants(service.process.pid)
    names = service.pids().keys()
    answer = service.end()
    assert all(map(is_gone, below))
    assert {part["name"]: part["starts"] for part in answer["parts"]} == dict.fromkeys(names, 1)
    # It was asked, and not killed: it says what it has archived.
    assert "transactions" in (service.directory / "logs" / "archiver.log").read_text().splitlines()[-2]
