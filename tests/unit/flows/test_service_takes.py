"""A right configuration that could not be taken is taken once what was in its way is gone."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from drills.status.notify_failures import Failure, write_failures
from drills.status.places import ran_file
from drills.status.ran import RanHistory
from flows.service import leash, supervisor
from flows.service.claim import listening
from flows.service.configuration import Change, Configuration
from flows.service.supervisor import Service
from tests.conftest import ManualClock

DOCUMENT = """\
name = "shop"
regions = ["eu"]

[accounts.backup]
user = "backstay"
password = {{ file = "password" }}

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

[service]
directory = "{directory}"
port = {port}

[notify]
webhook = {{ file = "webhook" }}
"""


class Running:
    """A service without parts: what it does with its configuration is all there is."""

    def __init__(self, directory: Path, page: socket.socket, clock: ManualClock) -> None:
        self._told: list[str] = []
        self.directory = directory
        self.clock = clock
        self._path = directory / "configured.toml"
        self.write(page.getsockname()[1])
        configuration = Configuration(self._path)
        fleet = configuration.read().fleet
        self.service = Service(
            configuration, fleet, directory, lock=-1, page=page, clock=clock, tell=self._told.append
        )

    @property
    def told(self) -> list[str]:
        """What it told of its configuration."""
        return [line for line in self._told if "configuration" in line]

    @property
    def told_of_notifications(self) -> list[str]:
        """What it told of those who notify."""
        return [line for line in self._told if "webhook" in line]

    def write(self, port: int) -> None:
        self._path.write_text(DOCUMENT.format(directory=self.directory, port=port))

    def look(self) -> None:
        self.clock.advance(supervisor.CONFIG_LOOK_SECONDS)
        self.service.look()


@pytest.fixture
def running(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    def nothing(*_: object) -> list[object]:
        return []

    monkeypatch.setattr(supervisor, "wanted_parts", nothing)
    monkeypatch.setattr(leash, "children_of", nothing)
    with ExitStack() as stack:
        made = Running(tmp_path, listening("127.0.0.1", 0), clock)
        stack.callback(made.service.close)
        yield made


def test_a_port_that_was_in_use_is_tried_again(running: Running) -> None:
    with listening("127.0.0.1", 0) as other:
        port = other.getsockname()[1]
        running.write(port)
        for _ in range(3):
            running.look()
        # Told once, however often it is tried.
        [told] = running.told
        assert f"127.0.0.1:{port} is taken" in told
    running.look()
    assert running.told[1:] == ["takes the changed configuration: no part needs to know"]
    assert running.service.fleet.service.port == port
    running.look()
    assert len(running.told) == 2


def test_a_full_disk_is_tried_again_and_the_new_port_is_not_in_its_own_way(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = supervisor.accept

    def full(_change: Change, _directory: Path) -> None:
        raise OSError(28, os.strerror(28))

    with listening("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    running.write(port)
    monkeypatch.setattr(supervisor, "accept", full)
    running.look()
    running.look()
    assert len(running.told) == 1
    assert "No space left on device" in running.told[0]
    monkeypatch.setattr(supervisor, "accept", accept)
    running.look()
    assert running.told[1:] == ["takes the changed configuration: no part needs to know"]


def test_a_webhook_that_fails_is_told_once_and_that_it_works_again(
    running: Running, clock: ManualClock
) -> None:
    failure = Failure(problem="the webhook cannot be reached: connection refused", since=clock.now())
    assert write_failures(running.directory, {"webhook": failure})
    running.look()
    running.look()
    assert running.told_of_notifications == ["the webhook cannot be reached: connection refused"]
    assert write_failures(running.directory, {})
    running.look()
    running.look()
    (over,) = running.told_of_notifications[1:]
    assert over.startswith("notifications by webhook work again, and failed since ")


def test_when_the_service_ran_is_noted_every_minute(running: Running) -> None:
    began = running.clock.now()
    for _ in range(90):
        running.look()
    (span,) = RanHistory(ran_file(running.service.fleet)).read().service
    assert span.since - began <= timedelta(seconds=supervisor.CONFIG_LOOK_SECONDS)
    assert timedelta(minutes=2) <= span.until - span.since <= timedelta(minutes=3)
    assert RanHistory(ran_file(running.service.fleet)).read().schedule == ()
