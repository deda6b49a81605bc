"""What every flow needs first: the fleet as it is configured now, and its repository."""

from __future__ import annotations

from fleet.model import Fleet
from repository.keys import Keyring
from repository.repository import Repository
from repository.stores.opening import open_store


def open_repository(fleet: Fleet) -> Repository:
    """The fleet's repository, opened with its keys. Raises what store, keys and format have to say."""
    return Repository.open(open_store(fleet.repository), Keyring.from_config(fleet.keys))
