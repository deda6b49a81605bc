"""Fixtures that start real servers. Nothing here imitates MySQL or S3; the clock alone may be a fake."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from infra.sandbox.distribution import MysqlDistribution
    from infra.sandbox.fleet import SandboxFleet
    from infra.sandbox.objectstore import SeaweedServer
    from infra.sandbox.scratch import ScratchServer


class ManualClock:
    """A ``fleet.clock.Clock`` that moves only when somebody sleeps on it or calls ``advance``."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._now = datetime(2026, 3, 1, 2, 15, tzinfo=UTC)
        self._monotonic = 1000.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(max(seconds, 0))

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds


@pytest.fixture
def clock() -> ManualClock:
    """Time that passes only when it is told to; ``slept`` lists every wait in seconds."""
    return ManualClock()


@pytest.fixture(scope="session")
def mysql_distribution() -> MysqlDistribution:
    """A real MySQL: named, installed, or unpacked into the cache on first use."""
    from infra.sandbox.distribution import find_mysql

    return find_mysql()


@pytest.fixture(scope="session")
def scratch_directory() -> Iterator[Path]:
    """A short directory of this test run; whatever was started for it is killed at the end."""
    from infra.sandbox.scratch import close_scratch_directory, open_scratch_directory

    directory = open_scratch_directory()
    yield directory
    close_scratch_directory(directory)


@pytest.fixture
def scratch_server(
    mysql_distribution: MysqlDistribution, scratch_directory: Path, request: pytest.FixtureRequest
) -> Iterator[ScratchServer]:
    """A fresh donor, gone after the test. ``indirect`` parameters are options for its my.cnf."""
    import tempfile

    from infra.sandbox.scratch import start_scratch_server

    folder = Path(tempfile.mkdtemp(prefix="s", dir=scratch_directory))
    options = getattr(request, "param", None)
    server = start_scratch_server(folder, mysql_distribution, options=options, owner=scratch_directory)
    yield server
    server.remove()


@pytest.fixture(scope="session")
def sandbox(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[SandboxFleet]:
    """One shard of a primary and two replicas, and a versioned bucket; shared, so a test undoes its deeds."""
    from infra.sandbox.fleet import SandboxFleet

    fleet = SandboxFleet.up(scratch_directory / "fleet", distribution=mysql_distribution)
    yield fleet
    fleet.down()


@pytest.fixture(scope="session")
def seaweed(scratch_directory: Path) -> Iterator[SeaweedServer]:
    """A real S3 server without buckets; a test that freezes it thaws it."""
    from infra.sandbox.objectstore import SeaweedServer

    server = SeaweedServer(scratch_directory / "seaweed", owner=scratch_directory)
    server.start()
    yield server
    server.remove()
