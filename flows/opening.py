"""What every flow needs first: the fleet as it is configured now, and its repository."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from backup.in_turn import SHARD
from fleet.clock import SystemClock
from fleet.errors import ToolError
from fleet.model import Fleet
from repository.keys import Keyring
from repository.repository import Repository
from repository.store_clock import ask_store_time
from repository.stores.opening import open_store
from repository.turns import Turns


def open_repository(fleet: Fleet) -> Repository:
    """The fleet's repository, opened with its keys. Raises what store, keys and format have to say."""
    return Repository.open(open_store(fleet.repository), Keyring.from_config(fleet.keys))


def shards_at_work(repository: Repository) -> set[str]:
    """Shards that somebody backs up at this moment, on whatever machine. Raises what the store raises."""
    return {turn.terms.name for turn in Turns(repository).in_force(_store_now(repository), SHARD)}


def _store_now(repository: Repository) -> datetime:
    """By the store's clock; where it cannot be asked, by ours."""
    with suppress(ToolError):
        return ask_store_time(repository.store, SystemClock()).now
    return SystemClock().now()
