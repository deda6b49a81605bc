"""The mirror on the command line: both places, opened."""

from __future__ import annotations

from backup.mirror.journal import Journal
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


def places_to_mirror(fleet: Fleet, *, anew: bool = False) -> Places:
    """Repository and mirror, which is made one if it is none yet; what goes there keeps to its rate.

    Where this machine knows of a mirror that is gone, only ``anew``: else an empty mount point fills up.
    """
    source = Repository.open(open_store(fleet.repository, policy=_SOON), Keyring.from_config(fleet.keys))
    journal, target = Journal.of(source.repository_id), _mirror_store(fleet)
    was_there = not anew and journal.has_mirror(target.describe())
    places = open_places(source, target, Keyring.from_config(fleet.keys), was_there=was_there)
    journal.note_mirror(target.describe())
    return places


def places_to_look_at(fleet: Fleet) -> Places:
    """The same, and nothing is put."""
    source = Repository.open(open_store(fleet.repository, policy=_SOON), Keyring.from_config(fleet.keys))
    return side_by_side(source, _mirror_store(fleet))


def mirror_to_look_at(fleet: Fleet) -> Repository:
    """The mirror alone, where the repository does not answer."""
    return Repository.open(_mirror_store(fleet), Keyring.from_config(fleet.keys))


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
