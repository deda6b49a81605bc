"""What the service is made of, what it watches, and what its page answers; without starting any of it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from drills.status.last_known import unasked
from drills.status.report import FleetStatus, Health
from drills.status.service_state import (
    FILE,
    PartName,
    PartSeen,
    PartState,
    ServiceSeen,
    judge_service,
    write_service,
)
from fleet.clock import SystemClock
from fleet.config import load
from fleet.errors import ConfigError, PortTaken, ServiceRuns, StoreUnreachable
from flows.service.claim import check_free, claimed, listening
from flows.service.configuration import Configuration, accept
from flows.service.parts import Part, accepted_copy, wanted_parts
from flows.service.scheduler_watch import SchedulerWatch
from flows.service.sight import with_service
from flows.service.web import answer
from tests.conftest import ManualClock
from tests.unit.flows.scheduled_fleets import SHARD_A, SHARD_B, described

NOW = datetime(2026, 3, 1, 2, 15, tzinfo=UTC)
CONFIG = Path("/etc/backstay/backstay.toml")
STATE = Path("/var/lib/backstay")
MIRROR = {"url": "file:///srv/mirror"}
DOCUMENT = """\
name = "shop"
regions = ["eu"]

[accounts.backup]
user = "backstay"
password = { file = "password" }

[repository]
url = "file:///srv/backups"

[[keys]]
id = "one"
provider = "file"
file = "key"

[[shards]]
name = "a"

[[shards.servers]]
name = "a1"
host = "a1"
region = "eu"
"""


def parts(**sections: Any) -> dict[str, Part]:
    return {part.name: part for part in wanted_parts(described(**sections), CONFIG, STATE, {"HOME": "/root"})}


def changed(before: dict[str, Part], after: dict[str, Part]) -> set[str]:
    """Which of them are started anew; one with a + is only told."""
    return {name for name in before if before[name].settings != after[name].settings} | {
        f"+{name}" for name in before if before[name].followed != after[name].followed
    }


def test_the_service_has_these_parts() -> None:
    assert list(parts()) == ["page", "scheduler", "runner", "archiver"]
    assert list(parts(mirror=MIRROR)) == ["page", "scheduler", "runner", "archiver", "mirror"]
    assert list(parts(mirror=MIRROR, service={"mirror": False, "archive": False})) == [
        "page",
        "scheduler",
        "runner",
    ]


def test_with_a_scheduler_elsewhere_its_workers_carry_the_runs_out() -> None:
    assert list(parts(scheduler={"api_url": "http://prefect:4200/api"})) == ["page", "archiver"]


def test_all_parts_read_the_configuration_that_counts_as_if_it_lay_in_its_place() -> None:
    for part in parts(mirror=MIRROR).values():
        assert (
            part.environ["BACKSTAY_CONFIG"] == str(accepted_copy(STATE)) == "/var/lib/backstay/backstay.toml"
        )
        assert part.environ["BACKSTAY_CONFIG_DIRECTORY"] == "/etc/backstay"
        assert part.environ["HOME"] == "/root"


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"schedule": {"full_cron": "1 1 * * *"}}, {"page", "+runner"}),
        ({"shards": [SHARD_A]}, {"page", "+runner", "archiver", "mirror"}),
        (
            {"shards": [SHARD_A, SHARD_B | {"schedule": {"full_cron": "1 1 * * *"}}]},
            {"page", "+runner"},
        ),
        ({"alerts": {"disk_percent": 80.0}}, {"page"}),
        ({"notify": {"repeat_hours": 1}}, {"page"}),
        ({"notify": {"prefect_blocks": ["slack-webhook/operations"]}}, {"page", "+runner"}),
        ({"scheduler": {"port": 4201}}, {"page", "scheduler", "runner"}),
        ({"scheduler": {"runs_at_once": 3}}, {"page", "runner"}),
        ({"archive": {"heartbeat_seconds": 3.5}}, {"page", "archiver", "mirror"}),
        ({"repository": {"url": "file:///srv/others"}}, {"page", "archiver", "mirror"}),
        ({"mirror": {"url": "file:///srv/others"}}, {"page", "mirror"}),
    ],
)
def test_only_what_has_read_a_change_is_started_anew(sections: dict[str, Any], expected: set[str]) -> None:
    before = {"mirror": MIRROR}
    assert changed(parts(**before), parts(**(before | sections))) == expected


def test_the_service_itself_never_imports_the_scheduler() -> None:
    program = "import sys, flows.service.supervisor, flows.service.page; print('prefect' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_copy_of_the_configuration_is_relative_to_where_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "backstay.toml").write_text(DOCUMENT)
    (tmp_path / "state").mkdir()
    configuration = Configuration(tmp_path / "backstay.toml")
    accept(configuration.read(), tmp_path / "state")
    copy = accepted_copy(tmp_path / "state")
    assert copy.stat().st_mode & 0o077 == 0
    monkeypatch.setenv("BACKSTAY_CONFIG", str(copy))
    monkeypatch.setenv("BACKSTAY_CONFIG_DIRECTORY", str(tmp_path))
    password = load().accounts.backup.password
    assert password == load(tmp_path / "backstay.toml").accounts.backup.password
    assert password == load(copy).accounts.backup.password
    # Any other file is relative to its own place.
    (tmp_path / "state" / "other.toml").write_text(DOCUMENT)
    assert load(tmp_path / "state" / "other.toml").accounts.backup.password != password


def test_a_change_counts_once_it_loads_and_only_then(tmp_path: Path) -> None:
    path = tmp_path / "backstay.toml"
    path.write_text(DOCUMENT)
    configuration = Configuration(path)
    configuration.read()
    assert configuration.changed() is None
    path.write_text(DOCUMENT + "nonsense = 1\n")
    assert configuration.changed() is None
    assert "nonsense" in (configuration.problem or "")
    path.unlink()
    assert configuration.changed() is None
    assert "there is no config file" in (configuration.problem or "")
    path.write_text(DOCUMENT.replace('"shop"', '"other"'))
    change = configuration.changed()
    assert change is not None
    assert (change.fleet.name, configuration.problem) == ("other", None)
    assert configuration.changed() is None
    assert configuration.changed(asked=True) is not None


def test_two_shards_of_one_name_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "backstay.toml"
    path.write_text(DOCUMENT)
    configuration = Configuration(path)
    configuration.read()
    path.write_text(DOCUMENT + DOCUMENT[DOCUMENT.index("[[shards]]") :])
    assert configuration.changed() is None
    assert "shard 'a' is there already" in (configuration.problem or "")


def test_a_state_directory_has_one_service(tmp_path: Path) -> None:
    with (
        claimed(tmp_path / "state", SystemClock()),
        pytest.raises(ServiceRuns, match=f"process {os.getpid()}"),
        claimed(tmp_path / "state", SystemClock()),
    ):
        raise AssertionError
    with claimed(tmp_path / "state", SystemClock()):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot keep its state"), claimed(tmp_path / "file", SystemClock()):
        raise AssertionError


def test_the_parts_of_a_service_that_was_killed_are_waited_for(tmp_path: Path, clock: ManualClock) -> None:
    with claimed(tmp_path, clock) as lock:
        heir = os.dup(lock)
        (tmp_path / "service.lock").write_text("999999999\n")
    with pytest.raises(ServiceRuns), claimed(tmp_path, clock):
        raise AssertionError
    assert sum(clock.slept) >= 10
    os.close(heir)
    with claimed(tmp_path, clock):
        pass


def test_a_port_that_is_taken_is_told(clock: ManualClock) -> None:
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port} is taken"):
            listening("127.0.0.1", port)
        with pytest.raises(PortTaken):
            check_free(port)
    check_free(port)
    with pytest.raises(PortTaken, match=r"nobody can listen on 192\.0\.2\.1:8117"):
        listening("192.0.2.1", 8117)


class Scheduler:
    """Something that answers as Prefect's server does, and a real database beside it."""

    def __init__(self, directory: Path, port: int) -> None:
        self.port = port
        self.code, self.count = 200, b"0"
        self.database = directory / "prefect" / "prefect.db"
        self.database.parent.mkdir()
        self.make()

    def make(self) -> None:
        with closing(sqlite3.connect(self.database)) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("CREATE TABLE runs (id)")


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[Scheduler]:
    class Visit(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(b"true")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(made.count)

        def _answer(self, body: bytes) -> None:
            self.send_response(made.code)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Visit) as server:
        made = Scheduler(tmp_path, server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture
def watch(scheduler: Scheduler, tmp_path: Path, clock: ManualClock) -> SchedulerWatch:
    """A watch that has seen the scheduler at work, as process 1."""
    watch = SchedulerWatch(scheduler.port, tmp_path, clock)
    watch.look(1)
    assert watch.is_ready
    assert not watch.has_deployments
    scheduler.count = b"7"
    clock.advance(0.5)
    watch.look(1)
    assert watch.has_deployments
    return watch


def looks(watch: SchedulerWatch, clock: ManualClock, seconds: float) -> None:
    for _ in range(int(seconds / 10)):
        clock.advance(10)
        watch.look(1)


def test_a_scheduler_that_works_is_let_be(watch: SchedulerWatch, clock: ManualClock) -> None:
    looks(watch, clock, 600)
    assert (watch.verdict, watch.problem) == (None, None)


def test_a_scheduler_that_falls_silent_is_started_again(
    watch: SchedulerWatch, scheduler: Scheduler, clock: ManualClock
) -> None:
    scheduler.code = 503
    looks(watch, clock, 20)
    assert (watch.verdict, watch.problem) == (None, f"does not answer on port {scheduler.port}")
    looks(watch, clock, 20)
    assert watch.verdict == f"does not answer on port {scheduler.port} for 30 s"
    watch.look(2)
    assert (watch.verdict, watch.is_ready) == (None, False)


def test_one_that_starts_is_given_minutes(tmp_path: Path, clock: ManualClock) -> None:
    with listening("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    watch = SchedulerWatch(port, tmp_path, clock)
    watch.look(1)
    looks(watch, clock, 170)
    assert (watch.verdict, watch.problem, watch.is_ready) == (None, None, False)
    looks(watch, clock, 10)
    assert watch.verdict == f"does not answer on port {port} for 180 s"


def test_a_locked_database_is_told_and_then_it_is_started_again(
    watch: SchedulerWatch, scheduler: Scheduler, clock: ManualClock
) -> None:
    with closing(sqlite3.connect(scheduler.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        looks(watch, clock, 20)
        assert (watch.verdict, watch.problem) == (None, "cannot write to its database: it is locked")
        other.execute("ROLLBACK")
        looks(watch, clock, 10)
        assert watch.problem is None
        other.execute("BEGIN EXCLUSIVE")
        looks(watch, clock, 100)
        assert watch.verdict == "cannot write to its database: it is locked for 90 s"
        assert not watch.lost_database


def test_a_database_that_is_gone_or_another_one_is_lost(
    watch: SchedulerWatch, scheduler: Scheduler, clock: ManualClock
) -> None:
    scheduler.database.rename(scheduler.database.with_name("elsewhere"))
    looks(watch, clock, 10)
    assert watch.lost_database
    assert watch.verdict == "has lost its database: the file was moved away or replaced"
    watch.look(None)
    scheduler.make()
    watch.look(2)
    assert (watch.verdict, watch.lost_database) == (None, False)
    # As long as a server has it open, its place on the disk is not given to another.
    with scheduler.database.open():
        scheduler.database.unlink()
        scheduler.make()
    clock.advance(10)
    watch.look(2)
    assert watch.lost_database


def seen(name: PartName, state: PartState = "running", **more: Any) -> ServiceSeen:
    part = PartSeen(name=name, state=state, since=NOW, **more)
    return ServiceSeen(pid=os.getpid(), started_at=NOW, parts=(part,))


def told(service: ServiceSeen, after_seconds: float) -> list[tuple[str, str, str]]:
    found = judge_service(service, STATE, NOW + timedelta(seconds=after_seconds))
    return [(str(each.health), each.code, each.message) for each in found]


def test_a_part_that_is_down_for_a_minute_is_told() -> None:
    down = seen("scheduler", "failing", down_since=NOW, failures=1, ended="was killed by SIGKILL")
    assert told(down, 60) == []
    message = "it does not run: was killed by SIGKILL"
    assert told(down, 61) == [("critical", "scheduler-down", message)]
    assert told(seen("archiver", "failing", down_since=NOW), 61) == [
        ("critical", "archive-stopped", "it does not run: it is failing")
    ]
    assert told(seen("mirror", "starting", down_since=NOW), 61)[0][:2] == ("warning", "mirror-lag")


def test_of_a_part_that_is_down_it_is_told_who_starts_it_again() -> None:
    down = seen("scheduler", "failing", down_since=NOW, failures=1, ended="was killed by SIGKILL")
    (found,) = judge_service(down, STATE, NOW + timedelta(seconds=61))
    assert found.hint == (
        f"The service starts it again. See {STATE}/logs/scheduler.log. "
        "Backups can be taken by hand: backstay backup full."
    )


def test_a_part_that_never_stays_is_told_at_once() -> None:
    assert told(seen("runner", failures=2, ended="ended with exit code 1"), 0) == []
    assert told(seen("runner", failures=3, ended="ended with exit code 1"), 0) == [
        ("critical", "scheduler-down", "it does not run: ended with exit code 1")
    ]


def test_a_part_that_runs_and_has_a_problem_is_a_warning() -> None:
    assert told(seen("scheduler", problem="cannot write to its database: it is locked"), 0) == [
        ("warning", "scheduler-down", "cannot write to its database: it is locked")
    ]


def status(**more: Any) -> FleetStatus:
    return FleetStatus(
        fleet="shop",
        repository="s3://x",
        seen_at=NOW,
        health=Health.OK,
        shards=(),
        disks=(),
        findings=(),
        what_to_do="",
        rto_target_seconds=3600,
        rpo_target_seconds=900,
        **more,
    )


def test_what_the_service_knows_of_itself_counts_for_the_fleet(tmp_path: Path) -> None:
    down = seen("archiver", "failing", down_since=NOW - timedelta(hours=1), ended="ended with exit code 12")
    write_service(tmp_path, down)
    found = with_service(status(), described(), tmp_path, NOW)
    assert found.health is Health.CRITICAL
    assert [each.code for each in found.findings] == ["archive-stopped"]
    assert "backstay archive run" in found.what_to_do
    gone = down.model_copy(update={"process": "boot/4026531836/1/1"})
    (tmp_path / FILE).write_text(gone.model_dump_json())
    assert with_service(status(), described(), tmp_path, NOW) == status()


def test_the_page_answers_what_there_is(tmp_path: Path) -> None:
    sight = (status(), NOW)
    page = answer("/", sight, tmp_path, NOW)
    assert (page.status, page.kind) == (200, "text/html; charset=utf-8")
    assert b"Every shard can be recovered." in page.body
    assert json.loads(answer("/status.json?x", sight, tmp_path, NOW).body)["health"] == "ok"
    assert b"backstay_repository_reachable" in answer("/metrics", sight, tmp_path, NOW).body
    assert answer("/../etc/passwd", sight, tmp_path, NOW).status == 404


def test_a_repository_that_is_away_is_never_shown_as_well(tmp_path: Path) -> None:
    away = unasked(status(), StoreUnreachable("no answer"), age_seconds=7200)
    page = answer("/", (away, NOW), tmp_path, NOW + timedelta(hours=2)).body.decode()
    assert "Every shard can be recovered." not in page
    assert "2 h" in page


@pytest.mark.parametrize("path", ["/", "/status.json", "/metrics"])
def test_before_the_first_look_nothing_is_claimed(tmp_path: Path, path: str) -> None:
    assert answer(path, None, tmp_path, NOW).status == 503


def test_health_is_that_of_the_service(tmp_path: Path) -> None:
    assert answer("/healthz", None, tmp_path, NOW).status == 503
    write_service(tmp_path, seen("page"))
    assert answer("/healthz", None, tmp_path, NOW).status == 200
    write_service(tmp_path, seen("page", "failing"))
    found = answer("/healthz", None, tmp_path, NOW)
    assert (found.status, json.loads(found.body)["parts"][0]["state"]) == (503, "failing")
