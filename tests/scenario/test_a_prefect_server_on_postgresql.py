"""The Prefect server of a team, from the files in infra/prefect: its role, its database, its settings."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.postgresql import PostgresServer, programs
from tests.schedulers import Scheduler
from tests.unit.infra.unit_files import environment_file

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed; `make parts` does it"),
]

PREFECT = Path(__file__).parents[2] / "infra/prefect"
AUTH = ("backstay", "a-long-random-password")


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    folder = programs()
    assert folder is not None
    server = PostgresServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    with tempfile.TemporaryDirectory(prefix="backstay-prefect-") as folder:
        scheduler = Scheduler(Path(folder), AUTH)
        yield scheduler
        scheduler.kill()


def asked(postgres: PostgresServer, *arguments: str, user: str = "postgres") -> str:
    """What psql prints, asked by the socket as the file asks."""
    where = ["-h", str(postgres.directory), "-p", str(postgres.port), "-U", user]
    psql = programs()
    assert psql is not None
    asking = [psql / "psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", *where, *arguments]
    return subprocess.run(asking, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def test_a_server_made_from_our_files_keeps_its_runs_in_postgresql_and_asks_for_a_password(
    postgres: PostgresServer, scheduler: Scheduler
) -> None:
    asked(postgres, "-f", str(PREFECT / "postgresql.sql"))
    settings = environment_file(PREFECT / "prefect.env")
    url = settings["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    socket = f"{postgres.directory}&port={postgres.port}"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    scheduler.start(
        inherited
        | settings
        | {
            "PREFECT_HOME": str(scheduler.directory / "home"),
            "PREFECT_SERVER_API_PORT": str(scheduler.port),
            "PREFECT_SERVER_API_AUTH_STRING": ":".join(AUTH),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": url.replace("/var/run/postgresql", socket),
        }
    )
    assert httpx.post(f"{scheduler.url}/flows/filter", json={}, timeout=30).status_code == 401
    flow = scheduler.ask("POST", "/flows/", {"name": "kept"})["id"]
    rows = asked(postgres, "-d", "prefect", "-c", "SELECT id FROM flow WHERE name = 'kept'", user="prefect")
    assert rows == flow
    assert not list((scheduler.directory / "home").glob("*.db"))
    served = scheduler.ask("GET", "/admin/settings")["server"]
    assert served["concurrency"]["lease_storage"].endswith(".filesystem")
    assert sorted(served["services"]["db_vacuum"]["enabled"]) == ["events", "flow_runs"]
    assert not served["analytics_enabled"]
