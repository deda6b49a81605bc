"""Where the service keeps its state on this machine."""

from __future__ import annotations

from pathlib import Path

from fleet.model import Fleet
from fleet.state_place import state_directory


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


def ran_file(fleet: Fleet) -> Path:
    """When the service ran here."""
    return state_directory(fleet) / "ran.json"


def proof_directory(fleet: Fleet) -> Path:
    """Where shards are restored to be proven."""
    return fleet.proof.directory or state_directory(fleet) / "proofs"
