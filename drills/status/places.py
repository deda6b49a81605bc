"""Where the service keeps its state on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from fleet.model import Fleet


def state_directory(fleet: Fleet) -> Path:
    """`service.directory`; or ``backstay/service/<fleet>`` in the user's state directory, so that two fleets
    served by one user do not share a scheduler. It need not exist.
    """
    if fleet.service.directory is not None:
        return fleet.service.directory
    state = os.environ.get("XDG_STATE_HOME", "")
    root = Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state"
    return root / "backstay" / "service" / fleet.name


def prefect_home(fleet: Fleet) -> Path:
    """The scheduler's database and settings."""
    return state_directory(fleet) / "prefect"


def status_file(fleet: Fleet) -> Path:
    """The last known status, as JSON."""
    return state_directory(fleet) / "status.json"


def runs_file(fleet: Fleet) -> Path:
    """How scheduled runs ended, a JSON line each."""
    return state_directory(fleet) / "runs.jsonl"


def lag_file(fleet: Fleet) -> Path:
    """How far the archives were behind in the last day."""
    return state_directory(fleet) / "lag.json"


def schedule_file(fleet: Fleet) -> Path:
    """Since when each shard's cron lines are known."""
    return state_directory(fleet) / "schedule.json"


def proof_directory(fleet: Fleet) -> Path:
    """Where shards are restored to be proven."""
    return fleet.proof.directory or state_directory(fleet) / "proofs"
