"""Where wrapped keys lie, who wrapped them, and whether they open what they should (FORMAT.md, section 5)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from fleet.errors import ObjectDamaged, ToolError
from repository import layout
from repository.layout import BackupName
from repository.repository import Repository, is_there
from repository.seal import HEADER_BYTES, BackupKey, Identity, ObjectKind, damaged, parse_header
from repository.stores.interface import Store

_READERS = 8


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """The folder with the wrapped keys of one backup; or, with its number, of one epoch of an archive."""

    shard: str
    label: str
    epoch: int | None = None

    @classmethod
    def of_epoch(cls, shard: str, number: int) -> KeyPlace:
        return cls(*layout.epoch_label(shard, number), number)

    @property
    def owner(self) -> BackupName:
        """What its wrapped keys are bound to."""
        return BackupName(self.shard, self.label)

    @property
    def sealed(self) -> str:
        """The object that says which key is the right one."""
        if self.epoch is None:
            return layout.manifest(self.owner)
        return layout.epoch_opened(self.shard, self.epoch)

    def wrapped(self, key_id: str) -> str:
        if self.epoch is None:
            return layout.wrapped_key(self.owner, key_id)
        return layout.archive_key(self.shard, self.epoch, key_id)

    def __str__(self) -> str:
        what = "backup" if self.epoch is None else "epoch"
        return f"{what} {self.shard}/{self.label}"


@dataclass(frozen=True, slots=True)
class PlaceSeen:
    """What a place held when it was listed.

    ``exists``: there is a manifest, or an ``opened``. Without it this is a backup or an epoch in the making,
    or what an attempt that died left behind.
    """

    place: KeyPlace
    key_ids: tuple[str, ...]
    exists: bool


@dataclass(frozen=True, slots=True)
class Shut:
    """A backup or an epoch (then with its number) that is not opened by the keys in question, and why."""

    shard: str
    label: str
    epoch: int | None
    wrapped_by: tuple[str, ...]
    reason: str

    @classmethod
    def of(cls, seen: PlaceSeen, reason: str) -> Shut:
        place = seen.place
        return cls(place.shard, place.label, place.epoch, seen.key_ids, reason)

    @property
    def place(self) -> KeyPlace:
        return KeyPlace(self.shard, self.label, self.epoch)


def find_places(
    repository: Repository, shards: Iterable[str] = (), *, everywhere: bool = False
) -> list[PlaceSeen]:
    """All backups and epochs, by shard and label.

    Archives are looked for by name: those of ``shards``, and of every shard with a backup. With
    ``everywhere`` all that is stored of archives is listed as well, which takes longer and misses none.
    """
    store = repository.store
    found: dict[KeyPlace, set[str]] = defaultdict(set)
    # Manifests first: what is completed meanwhile then looks as if in the making, not without a key.
    manifests = (layout.parse_manifest(info.key) for info in store.list(layout.MANIFESTS))
    existing = {KeyPlace(*name) for name in manifests if name}
    for info in store.list(layout.KEYS):
        if parsed := layout.parse_wrapped_key(info.key):
            found[KeyPlace(*parsed[0])].add(parsed[1])
    known = {*shards, *(place.shard for place in (*found, *existing))}
    with ThreadPoolExecutor(_READERS, thread_name_prefix="keys") as readers:
        seen = [each for archive in readers.map(partial(_epochs, store), sorted(known)) for each in archive]
    if everywhere:
        seen += _other_epochs(store, {each.place for each in seen})
    seen += [PlaceSeen(each, tuple(sorted(found[each])), each in existing) for each in {*found, *existing}]
    return sorted(seen, key=lambda each: each.place.owner)


def open_place(repository: Repository, seen: PlaceSeen, key_id: str) -> bytes:
    """The key of a backup or an epoch by the usable key ``key_id``; tried on what it sealed, if there is any.

    Raises ``ObjectMissing``, ``ObjectDamaged``, ``KeyUnusable``, and what the store raises.
    """
    place, name = seen.place, seen.place.wrapped(key_id)
    key = repository.unwrap_bytes(name, place.owner, key_id)
    if seen.exists:
        kind = ObjectKind.MANIFEST if place.epoch is None else ObjectKind.EPOCH
        identity = Identity(repository.repository_id, place.sealed, kind)
        wrapped = parse_header(repository.store.get_range(place.sealed, 0, HEADER_BYTES), identity)
        try:
            BackupKey(key).unwrap(wrapped, identity)
        except ObjectDamaged:
            raise damaged(name, f"the key in it does not open {place.sealed}") from None
    return key


def why_not(repository: Repository, seen: PlaceSeen, tried: Iterable[ToolError]) -> str:
    """Why none of the configured keys opens the place."""
    reasons = [error.message for error in tried]
    if not seen.key_ids:
        reasons.append("its wrapped key is missing")
    for key_id in (each for each in seen.key_ids if each not in repository.keys.openers):
        failure = repository.keys.failures.get(key_id)
        if key_id in repository.keys.keks:
            reasons.append(f"of key {key_id} only the public half is here")
        else:
            reasons.append(failure.message if failure else f"key {key_id} is not configured")
    return "; ".join(reasons)


def _epochs(store: Store, shard: str) -> list[PlaceSeen]:
    """By number, from 1 on, up to the first that does not exist; that one, too, if it has a key."""
    seen: list[PlaceSeen] = []
    for number in range(1, layout.MAX_EPOCHS):
        each = _epoch(store, shard, number)
        if each.exists or each.key_ids:
            seen.append(each)
        if not each.exists:
            break
    return seen


def _other_epochs(store: Store, known: set[KeyPlace]) -> list[PlaceSeen]:
    listed = (layout.parse_archive_key(info.key) for info in store.list(layout.ARCHIVE))
    others = {(shard, number) for shard, number, _ in filter(None, listed)}
    return [_epoch(store, *each) for each in sorted(others) if KeyPlace.of_epoch(*each) not in known]


def _epoch(store: Store, shard: str, number: int) -> PlaceSeen:
    place = KeyPlace.of_epoch(shard, number)
    ids = (layout.parse_key_id(info.key) for info in store.list(layout.archive_keys(shard, number)))
    return PlaceSeen(place, tuple(sorted(filter(None, ids))), is_there(store, place.sealed))
