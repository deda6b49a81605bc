"""Repository and mirror, open side by side: one the copy of the other, and not the same place."""

from __future__ import annotations

import secrets
import threading
from contextlib import suppress
from typing import NamedTuple

from fleet.errors import (
    ConfigError,
    MirrorParted,
    ObjectDamaged,
    ObjectLocked,
    ObjectMissing,
    RepositoryMissing,
    StoreDenied,
)
from repository import layout
from repository.keys import Keyring, KeyringEntry
from repository.manifest import parse_document
from repository.mirror.porter import Check, Porter
from repository.repository import Description, Repository
from repository.stores.interface import Store


class Places(NamedTuple):
    """Both, open with the same keys."""

    source: Repository
    mirror: Repository


def open_places(source: Repository, target: Store, keyring: Keyring, *, was_there: bool = False) -> Places:
    """Make ``target`` a mirror of ``source``, if it is not one yet, and open it.

    Raises ``ConfigError`` if it is the very same place, ``MirrorParted`` if it is another repository,
    ``RepositoryMissing`` if it is none though it ``was_there``, ``KeyUnusable``, ``FormatUnsupported`` and
    what the stores raise.
    """
    source.check_may("write")
    if not _must_be_ours(source, target) and was_there:
        raise RepositoryMissing(
            f"the mirror at {target.describe()} is gone: this machine has mirrored to it before",
            hint="Is its folder mounted? To begin a new mirror there: backstay mirror run --anew",
        )
    _must_be_apart(source.store, target)
    porter = Porter(source.store, target, hands=1)
    porter.carry(layout.DESCRIPTION, _is_description)
    for name in (layout.RESCUE_GUIDE, layout.RESCUE_PROGRAM):
        # A newer version may have put its own: both can be read.
        with suppress(MirrorParted, ObjectDamaged, ObjectMissing):
            porter.carry(name, lambda _: None)
    carry_keyring(source, target, porter)
    return Places(source, Repository.open(target, keyring))


class StillThere:
    """Is the mirror still the place that was opened? Asked of its description. Thread-safe.

    Where a folder is unmounted, the mount point is an empty folder that takes everything.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self._lock = threading.Lock()
        self._gone: RepositoryMissing | None = None

    @property
    def gone(self) -> RepositoryMissing | None:
        """What is raised from then on."""
        return self._gone

    def check(self) -> None:
        """Ask. Raises ``RepositoryMissing``, and what the store raises."""
        found = self._gone or self._look()
        if found is None:
            return
        with self._lock:
            self._gone = self._gone or found
        raise self._gone

    def _look(self) -> RepositoryMissing | None:
        source, mirror = self._places
        what = "its backstay.json is not there any more"
        try:
            if _must_be_ours(source, mirror.store):
                return None
        except MirrorParted as error:
            what = error.message
        return RepositoryMissing(
            f"the mirror at {mirror.store.describe()} is gone: {what}",
            hint="Is its folder still mounted? Start again when it is. To begin a new mirror there: "
            "backstay mirror run --anew",
        )


def side_by_side(source: Repository, target: Store) -> Places:
    """Both, to look at; ``target`` may be empty yet, and nothing is put. Raises ``MirrorParted`` and what the
    stores raise.
    """
    _must_be_ours(source, target)
    return Places(source, Repository(target, source.description, source.keys))


def carry_keyring(source: Repository, target: Store, porter: Porter) -> None:
    """Copy the keys that the mirror does not know. Marks of keys being retired are each place's own."""
    there = {info.key for info in target.list(layout.KEYRING)}
    for name in [info.key for info in source.store.list(layout.KEYRING)]:
        if name not in there and layout.parse_key_id(name):
            with suppress(ObjectMissing):
                porter.carry(name, _is_keyring_entry(name))


def _must_be_apart(source: Store, target: Store) -> None:
    """Raise ``ConfigError`` if what is put here is seen there: the URLs may differ, and the place be one."""
    name = layout.trial(secrets.token_hex(8))
    target.put(name, b"are these two places?")
    try:
        source.stat(name)
    except ObjectMissing:
        return
    finally:
        with suppress(StoreDenied, ObjectLocked):
            target.delete(name)
    raise ConfigError(
        f"the mirror {target.describe()} is the place of the repository, {source.describe()}",
        hint="A mirror is worth something in another place: another bucket, in another region.",
    )


def _must_be_ours(source: Repository, target: Store) -> bool:
    """False if nothing is there yet. Raises ``MirrorParted`` if it is another repository."""
    try:
        text = target.get(layout.DESCRIPTION)
    except ObjectMissing:
        return False
    there = parse_document(Description, layout.DESCRIPTION, text)
    if there.repository_id != source.repository_id:
        raise MirrorParted(
            f"{target.describe()} holds the repository {there.repository_id}, and this one is "
            f"{source.repository_id}",
            hint="Mirror to an empty place. If the repository was made anew, the other may be all that is "
            "left of the old one: do not delete it.",
        )
    return True


def _is_description(data: bytes) -> None:
    parse_document(Description, layout.DESCRIPTION, data)


def _is_keyring_entry(name: str) -> Check:
    def check(data: bytes) -> None:
        parse_document(KeyringEntry, name, data)

    return check
