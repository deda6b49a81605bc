"""The environment of every process that runs Prefect; without importing it.

Prefect reads its settings from variables, from a profile and from files in the working folder. Ours are
told whole, and what the surroundings say of Prefect is left out: a setting somebody once made on this
machine must not decide whether backups are scheduled. Start these processes with ``directory`` as their
working folder, then no ``prefect.toml``, ``pyproject.toml`` or ``.env`` of a stranger is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from drills.status.notify_prefect import EventsApi
from fleet.config import ENVIRONMENT_VARIABLE
from fleet.errors import ConfigError
from fleet.model import Fleet
from flows.password import read_password

API_AUTH = "PREFECT_API_AUTH_STRING"
HEARTBEAT_SECONDS = 30
"""How often a flow run tells the server that it lives."""

_LEASES = "prefect.server.concurrency.lease_storage.filesystem"

_LOOKS_SELDOM = {
    # Each look takes some 7 ms of a core, every 5 seconds by default. No flow of ours pauses, and no worker
    # leaves anything to be cleaned; a run is called late 15 seconds after it was due, which is for people.
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_CLEANUP_RECONCILER_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "15",
}
"""Of the embedded server: it shares a machine, and serves nobody but the runner."""


def environment_of(
    fleet: Fleet, directory: Path, config: Path, inherited: Mapping[str, str]
) -> dict[str, str]:
    """``inherited`` without what it says of Prefect, and with what Backstay says.

    ``directory`` is the service's state; ``config`` the absolute path of the configuration that flows read.
    The server is the embedded one on loopback, with the password in ``directory``, unless
    ``scheduler.api_url`` names another. Raises ``ConfigError`` where credentials cannot be read.
    """
    kept = {name: value for name, value in inherited.items() if not name.startswith("PREFECT_")}
    return kept | _always(directory, config) | _server_of(fleet, directory)


def api_url_of(fleet: Fleet) -> str:
    """Where the API of the fleet's Prefect server is; without a slash at its end."""
    return (fleet.scheduler.api_url or f"http://127.0.0.1:{fleet.scheduler.port}/api").rstrip("/")


def events_api_of(fleet: Fleet, directory: Path) -> EventsApi:
    """Where the fleet's Prefect server takes events. What it asks for is read when it is needed."""
    return EventsApi(api_url_of(fleet), lambda: _server_of(fleet, directory).get(API_AUTH))


def _always(directory: Path, config: Path) -> dict[str, str]:
    return {
        ENVIRONMENT_VARIABLE: str(config),
        "PREFECT_HOME": str(directory / "prefect"),
        # The first keeps the client from phoning home, the second the server, which ignores the first.
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # Without a server flows fail at once; a hidden one of their own would schedule nothing.
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        # Leases in memory die with the server, and then take the running backups with them.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": _LEASES,
        # Otherwise "database is locked" is silent.
        "PREFECT_SERVER_LOG_RETRYABLE_ERRORS": "true",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        # So soon a run begins after it is due. 10 by default; this costs a tenth of a percent of a core more.
        "PREFECT_RUNNER_POLL_FREQUENCY": "5",
        "PREFECT_RUNNER_SERVER_ENABLE": "false",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
    }


def _server_of(fleet: Fleet, directory: Path) -> dict[str, str]:
    told = {"PREFECT_API_URL": api_url_of(fleet)}
    if fleet.scheduler.api_url is None:
        port = fleet.scheduler.port
        return (
            told
            | _password_of(directory)
            | _LOOKS_SELDOM
            | {
                "PREFECT_SERVER_API_HOST": "127.0.0.1",
                "PREFECT_SERVER_API_PORT": str(port),
                # The default is among Prefect's own files, where a service may not write: no pages then.
                "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(directory / "prefect" / "ui"),
                # Otherwise any page in a browser on this machine may read what the API answers.
                "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port},http://localhost:{port}",
            }
        )
    if fleet.scheduler.api_auth is not None:
        return told | {API_AUTH: fleet.scheduler.api_auth.reveal()}
    return told


def _password_of(directory: Path) -> dict[str, str]:
    try:
        password = read_password(directory)
    except OSError as error:
        raise ConfigError(
            f"the scheduler's password in {directory} cannot be read: {error.strerror}",
            hint="Only the user that runs `backstay serve` may read it.",
        ) from error
    if password is None:
        return {}
    return {API_AUTH: password, "PREFECT_SERVER_API_AUTH_STRING": password}
