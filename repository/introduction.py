"""Making a configured key known to a repository that exists already."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from fleet.clock import Clock
from fleet.errors import KeyUnusable, NotFound, ObjectDamaged, ObjectMissing
from fleet.nearest import or_nearest
from repository import layout
from repository.key_places import find_places
from repository.keys import Keyring, KeySource, UnlockedKeys
from repository.repository import Repository, is_there


class Introduced(StrEnum):
    """It is known since now, was known before, or its retirement was taken back."""

    NEW = "new"
    KNOWN = "known"
    TAKEN_BACK = "taken back"


def introduce_key(
    repository: Repository, keyring: Keyring, key_id: str, clock: Clock, shards: Iterable[str] = ()
) -> Introduced:
    """Make the key ``key_id`` of the configuration known. It opens only what it wraps from now on.

    A second time changes nothing. Raises ``NotFound`` if it is not configured, ``KeyUnusable`` if it cannot
    be used, if the repository knows another key of this id, or holds what another key of this id wrapped.
    """
    source = next((each for each in keyring.sources if each.key_id == key_id), None)
    if source is None:
        ids = [each.key_id for each in keyring.sources]
        raise NotFound(
            f"the configuration has no key {key_id}{or_nearest(key_id, ids)}",
            hint="Name it there first, under [[keys]]; behind the others it wraps nothing yet.",
        )
    repository.check_may("write")
    was_known = is_there(repository.store, layout.keyring_entry(key_id))
    if not was_known:
        _must_open_what_bears_its_name(repository, source, clock, shards)
    # Of two who add a key of the same id at once, one is told that the other's is not the same.
    repository.add_key(source, clock)
    if is_there(repository.store, layout.retiring_mark(key_id)):
        repository.store.delete(layout.retiring_mark(key_id))
        return Introduced.TAKEN_BACK
    return Introduced.KNOWN if was_known else Introduced.NEW


def _must_open_what_bears_its_name(
    repository: Repository, source: KeySource, clock: Clock, shards: Iterable[str]
) -> None:
    """An entry that was lost must not be replaced by one for another key, or by one with another salt."""
    key_id = source.key_id
    wrapped = [each for each in find_places(repository, shards) if key_id in each.key_ids]
    kek = source.open(source.introduce(repository.repository_id, clock.now()), repository.repository_id)
    if not wrapped:
        return
    place = wrapped[-1].place
    trial = Repository(repository.store, repository.description, UnlockedKeys(key_id, {key_id: kek}, {}))
    try:
        trial.unwrap_bytes(place.wrapped(key_id), place.owner, key_id)
    except ObjectMissing:
        return
    except (ObjectDamaged, KeyUnusable) as error:
        raise KeyUnusable(
            f"the keyring lost key {key_id}, which wrapped {place}, and the one at hand does not open that",
            hint=f"Put {layout.keyring_entry(key_id)} back from another copy of the repository. A new key "
            "takes an id that was never used.",
        ) from error
