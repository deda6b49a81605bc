"""Damage that a restore meets: looked at once more, and written down where it is certain (FORMAT.md, 17).

No key decides what is certain: size and SHA-256 of packs and index parts stand in what was unsealed before.
So neither a wrong key nor a store that gives no answer leaves a finding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from fleet.errors import Cancelled, ObjectDamaged, ObjectMissing, ToolError
from repository import layout
from repository.attached import key_of_manifest
from repository.damage_notes import DamageNotes
from repository.findings import Findings
from repository.index import IndexPart, PackRef
from repository.layout import BackupName
from repository.manifest import IndexPartRef, Manifest
from repository.reader import BackupReader, Frame
from repository.reduced import find_reduced
from repository.repository import Repository, is_there
from repository.seal import FrameSpan
from repository.stores.interface import Store

_READ_BYTES = 8 << 20
_LOST = (ObjectMissing, ObjectDamaged)


class Met(NamedTuple):
    """An object that could not be read, and what the manifest or the index says of it. Bytes."""

    owner: BackupName
    name: str
    said: PackRef | IndexPartRef
    problem: str


@dataclass(frozen=True, slots=True)
class MetDamage:
    """What became of it, by object. ``certain``: damaged or gone, each time that it was read; of these
    ``recorded`` stand in findings, and ``unrecorded`` says why others do not. ``whole``: read again they are
    as they should be. What could not be looked at once more is in neither.
    """

    certain: tuple[str, ...] = ()
    recorded: tuple[str, ...] = ()
    unrecorded: str | None = None
    whole: tuple[str, ...] = ()


class WatchedReader(BackupReader):
    """A reader that remembers which objects it could not read."""

    def __init__(self, repository: Repository, manifest: Manifest, *, read_bytes: int) -> None:
        super().__init__(repository, manifest, read_bytes=read_bytes)
        self.met: dict[str, Met] = {}
        """By name."""

    def index_part(self, reference: IndexPartRef, backup: BackupName | None = None) -> IndexPart:
        owner = backup or self.manifest.backup
        with self._watching(owner, layout.index_part(owner, reference.number), reference):
            return super().index_part(reference, backup)

    def frames(self, pack: PackRef, spans: Sequence[FrameSpan] | None = None) -> Iterator[Frame]:
        with self._watching(pack.backup, pack.name, pack):
            yield from super().frames(pack, spans)

    @contextmanager
    def _watching(self, owner: BackupName, name: str, said: PackRef | IndexPartRef) -> Generator[None]:
        # Asked for before: that a key is lost says nothing of what it opens.
        self.backup_key(owner)
        try:
            yield
        except _LOST as error:
            self.met[name] = Met(owner, name, said, error.message)
            raise


def write_down(repository: Repository, met: Iterable[Met], *, harmed: BackupName, by: str) -> MetDamage:
    """Look at each object twice more, and record as findings those that are damaged both times alike.

    ``harmed`` needs them. ``by``: who met it, with its article, as it is told to people. Raises ``Cancelled``
    alone: nothing else may take the place of the error that tells of the damage.
    """
    certain: list[Met] = []
    whole: list[str] = []
    recorded: list[str] = []
    unrecorded: str | None = None
    for each in sorted(met, key=attrgetter("name")):
        try:
            seen = _look(repository, each)
            if seen is None:
                whole.append(each.name)
            elif seen == _look(repository, each) and is_there(repository.store, layout.manifest(each.owner)):
                certain.append(each)
        except Cancelled:
            raise
        except ToolError:
            continue
    try:
        for each in certain:
            _record(repository, each, harmed, by)
            recorded.append(each.name)
    except Cancelled:
        raise
    except ToolError as error:
        unrecorded = error.message
    return MetDamage(tuple(each.name for each in certain), tuple(recorded), unrecorded, tuple(whole))


def _record(repository: Repository, met: Met, harmed: BackupName, by: str) -> None:
    """Nothing where it is known already. It spares nobody until a verification has looked."""
    known = [each for each in Findings(repository).all(harmed.shard) if each.object == met.name]
    if not any(harmed.label in each.labels for each in known):
        DamageNotes(repository).put(met.name, met.problem, before=known, by=by)


def _look(repository: Repository, met: Met) -> str | None:
    """What is wrong with the object now, byte for byte; None if nothing is.

    Raises what says nothing of the object.
    """
    store, said = repository.store, met.said
    try:
        size = store.stat(met.name).size
        if size != said.size:
            return f"it has {size} bytes"
        found = _sha256(store, met.name, size)
    except ObjectMissing:
        return _look_at_remainder(repository, said) if isinstance(said, PackRef) else "it is not there"
    return None if found == said.sha256 else f"its SHA-256 is {found}"


def _look_at_remainder(repository: Repository, pack: PackRef) -> str | None:
    """The same, of what is left of a pack that is not there. Its key is the manifest's: what somebody put
    beside the backup must not decide whether its data unseals.
    """
    key = key_of_manifest(repository, pack.backup)
    try:
        reduced = find_reduced(repository, pack, lambda: key)
        if reduced is None:
            return "it is not there"
        for _ in reduced.frames():
            pass
    except _LOST as error:
        return error.message
    return None


def _sha256(store: Store, name: str, size: int) -> str:
    found = hashlib.sha256()
    for offset in range(0, size, _READ_BYTES):
        found.update(store.get_range(name, offset, min(_READ_BYTES, size - offset)))
    return found.hexdigest()
