"""The mirror on the command line: both places, opened."""

from __future__ import annotations

from fleet.clock import SystemClock
from fleet.errors import ConfigError
from fleet.model import Fleet
from repository.keys import Keyring
from repository.mirror.places import Places, open_places, side_by_side
from repository.repository import Repository
from repository.stores.interface import Store
from repository.stores.opening import open_store
from repository.stores.retrying import RetryPolicy
from repository.stores.throttled import Throttled

_SOON = RetryPolicy(deadline_seconds=30.0)
"""Who mirrors waits by itself, and is to say soon that a place is away."""


def places_to_mirror(fleet: Fleet) -> Places:
    """Repository and mirror, which is made one if it is none yet; what goes there keeps to its rate."""
    source = Repository.open(open_store(fleet.repository, policy=_SOON), Keyring.from_config(fleet.keys))
    return open_places(source, _mirror_store(fleet), Keyring.from_config(fleet.keys))


def places_to_look_at(fleet: Fleet) -> Places:
    """The same, and nothing is put."""
    source = Repository.open(open_store(fleet.repository, policy=_SOON), Keyring.from_config(fleet.keys))
    return side_by_side(source, _mirror_store(fleet))


def check_has_mirror(fleet: Fleet) -> Fleet:
    """``fleet``, if it has a mirror. Raises ``ConfigError``."""
    if fleet.mirror is None:
        raise ConfigError("there is no mirror in the configuration", hint="Name one: [mirror] with its url.")
    return fleet


def _mirror_store(fleet: Fleet) -> Store:
    assert fleet.mirror is not None
    store = open_store(fleet.mirror, policy=_SOON)
    rate = fleet.mirror.rate_bytes_per_second
    return store if rate is None else Throttled(store, rate, SystemClock())
