"""The ledger of a shard's archive: epochs, restored servers, notes, and whose key opens an epoch.

FORMAT.md, section 10. An epoch is looked for by its number, never in a list: a list may be behind.
"""

from __future__ import annotations

import base64
import secrets
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Literal, NamedTuple, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from fleet.clock import Clock
from fleet.errors import KeyUnusable, ObjectDamaged, ObjectExists, ObjectMissing, ToolError
from fleet.gtid import GtidSet
from repository import layout
from repository.codec import FrameDecoder, encode_document
from repository.keys import Binding, WrappedKey
from repository.manifest import GtidText, UtcTime, parse_document
from repository.repository import Repository
from repository.seal import (
    FORMAT_NUMBER,
    KEY_BYTES,
    BackupKey,
    Identity,
    ObjectKind,
    damaged,
    parse_header,
    seal_object,
    unseal_object,
)

Reason: TypeAlias = Literal["first", "promotion", "restore", "diverged"]
Document = TypeVar("Document", bound=BaseModel)

_READERS = 8


class EpochFacts(NamedTuple):
    """What the one who opens an epoch knows.

    ``parent``: the number of the newest epoch, None before the first. ``inherited``: transactions of the
    parent's line that go on here, ``branch``: those that do not; ``skipped``: those whose numbers the server
    holds without their content, since a restore left them out.
    """

    reason: Reason
    server_uuid: str
    server_name: str
    inherited: GtidSet
    parent: int | None
    branch: GtidSet
    skipped: GtidSet


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True)

    format: int = Field(default=FORMAT_NUMBER, description="Number of the format.")


class Epoch(_Entry):
    """A time in which one line of transactions was written."""

    epoch: int = Field(ge=1, description="Its number.")
    parent: int | None = Field(description="The epoch before; null for the first.")
    reason: Reason = Field(description="Why it was opened.")
    server_uuid: str = Field(description="The server that was archived when it was opened.")
    server_name: str = Field(description="That server's name in the fleet's configuration.")
    opened_at: UtcTime = Field(description="When it was opened.")
    inherited: GtidText = Field(description="Transactions of the parent's line that go on here.")
    branch: GtidText = Field(description="Transactions of the parent's line that do not.")
    skipped: GtidText = Field(description="Transactions that a restore replaced by empty ones.")

    @property
    def inherited_set(self) -> GtidSet:
        return GtidSet.parse(self.inherited)

    @property
    def skipped_set(self) -> GtidSet:
        return GtidSet.parse(self.skipped)


class Life(_Entry):
    """A server that a restore made: what it began with, and what the restore left out."""

    server_uuid: str = Field(description="The restored server's uuid.")
    restored_at: UtcTime = Field(description="When its restore was proven.")
    epoch: int = Field(ge=1, description="The epoch that was restored.")
    gtid_executed: GtidText = Field(description="Its gtid_executed then.")
    skipped: GtidText = Field(default="", description="Transactions replaced by empty ones.")

    @property
    def executed_set(self) -> GtidSet:
        return GtidSet.parse(self.gtid_executed)

    @property
    def skipped_set(self) -> GtidSet:
        return GtidSet.parse(self.skipped)


class Note(_Entry):
    """Something that happened to the archive."""

    kind: str = Field(pattern="^[a-z][a-z-]{0,39}$", description="gap, fell-to-async, torn-tail, diverged...")
    at: UtcTime = Field(description="When it happened, or began.")
    ended_at: UtcTime | None = Field(default=None, description="When it ended, if it lasted.")
    server_uuid: str | None = Field(default=None, description="The source it happened with.")
    file: str | None = Field(default=None, description="The binlog file.")
    position: int | None = Field(default=None, ge=0, description="The position in that file.")
    gtids: GtidText | None = Field(default=None, description="The transactions it is about.")
    text: str = Field(description="What happened, in a sentence.")

    @property
    def gtid_set(self) -> GtidSet:
        return GtidSet.parse(self.gtids or "")


class Ledger:
    """Reads and writes the small objects of one shard's archive. Thread-safe; nothing is cached but keys."""

    def __init__(self, repository: Repository, shard: str) -> None:
        self.repository = repository
        self.shard = layout.check_name("shard", shard)
        self._lock = threading.Lock()
        self._keys: dict[int, BackupKey] = {}

    def epochs(self, known: Sequence[Epoch] = ()) -> list[Epoch]:
        """All, oldest first. Raises ``ObjectDamaged``, ``KeyUnusable`` and what the store raises.

        ``known``: all that there were a moment ago; only what was opened since is asked for.
        """
        found = list(known)
        # Many at once see also whether one is lost and later ones are there.
        at_once = 1 if known else _READERS
        with ThreadPoolExecutor(at_once, thread_name_prefix="epochs") as readers:
            while True:
                numbers = range(len(found) + 1, len(found) + 1 + at_once)
                batch = list(readers.map(self._epoch_or_none, numbers))
                there = [epoch for epoch in batch if epoch is not None]
                if batch[: len(there)] != there:
                    number = len(found) + batch.index(None) + 1
                    raise ObjectMissing(
                        f"{layout.epoch_opened(self.shard, number)} is missing, and later epochs are there",
                        hint="Put it back from another copy: it says what the later ones inherit.",
                    )
                found += there
                if len(there) < len(batch):
                    return found

    def epoch(self, number: int) -> Epoch:
        """Raises ``ObjectMissing``, ``ObjectDamaged``, ``KeyUnusable`` and what the store raises."""
        return self._read(Epoch, number, layout.epoch_opened(self.shard, number), ObjectKind.EPOCH)

    def open_epoch(self, facts: EpochFacts, clock: Clock) -> Epoch:
        """The epoch after ``facts.parent``: opened now, or the one that another archiver opened meanwhile.

        The caller compares what it gets with its facts. Carries on where a crash stopped an earlier try.
        Raises ``ObjectMissing`` if there is no such parent, ``KeyUnusable`` if another archiver, whose key
        is not ours, opened it; and as ``epoch``.
        """
        self.repository.check_may("write")
        number = (facts.parent or 0) + 1
        if facts.parent is not None:
            self.epoch(facts.parent)
        name = layout.epoch_opened(self.shard, number)
        opened = Epoch(
            epoch=number,
            parent=facts.parent,
            reason=facts.reason,
            server_uuid=facts.server_uuid,
            server_name=facts.server_name,
            opened_at=clock.now(),
            inherited=facts.inherited.one_line(),
            branch=facts.branch.one_line(),
            skipped=facts.skipped.one_line(),
        )
        if self._epoch_or_none(number) is None:
            key = self._claimed_key(number)
            # If another archiver was faster, our key may be left behind: it opens nothing and does no harm.
            with suppress(ObjectExists):
                self._put(name, ObjectKind.EPOCH, key, opened)
        # What is stored counts, also where a store takes two puts of one name at the same moment.
        return self.epoch(number)

    def key(self, number: int) -> BackupKey:
        """The key of an epoch. Raises ``ObjectMissing`` if there is no such epoch, and as ``epoch``."""
        with self._lock:
            known = self._keys.get(number)
        if known is None:
            name = layout.epoch_opened(self.shard, number)
            known = self._key_of(number, name, self.repository.store.get(name))
        return known

    def note(self, number: int, note: Note) -> str:
        """Add a note to an epoch; returns its object name. Raises as ``epoch``."""
        self.repository.check_may("write")
        while True:
            name = layout.archive_note(self.shard, number, note.at, secrets.token_hex(4))
            try:
                self._put(name, ObjectKind.NOTE, self.key(number), note)
            except ObjectExists:
                continue
            return name

    def notes(self, number: int | None = None) -> list[Note]:
        """The notes of one epoch, or of all, oldest first. Raises as ``epoch``."""
        numbers = [number] if number is not None else [epoch.epoch for epoch in self.epochs()]
        names = [(each, name) for each in numbers for name in self._note_names(each)]

        def read(place: tuple[int, str]) -> Note:
            return self._read(Note, *place, ObjectKind.NOTE)

        with ThreadPoolExecutor(_READERS, thread_name_prefix="notes") as readers:
            return sorted(readers.map(read, names), key=lambda note: note.at)

    def record_life(self, life: Life) -> None:
        """Remember a restored server. A second time with the same content is fine, else ``ObjectExists``."""
        self.repository.check_may("write")
        name = layout.life(self.shard, life.epoch, life.server_uuid)
        try:
            self._put(name, ObjectKind.LIFE, self.key(life.epoch), life)
        except ObjectExists:
            known = self._read(Life, life.epoch, name, ObjectKind.LIFE)
            if known.model_copy(update={"restored_at": life.restored_at}) != life:
                raise

    def life(self, server_uuid: str) -> Life | None:
        """What is known of a restored server, the newest epoch first; None if no restore made it."""
        for epoch in reversed(self.epochs()):
            name = layout.life(self.shard, epoch.epoch, server_uuid)
            try:
                return self._read(Life, epoch.epoch, name, ObjectKind.LIFE)
            except ObjectMissing:
                continue
        return None

    def _epoch_or_none(self, number: int) -> Epoch | None:
        name = layout.epoch_opened(self.shard, number)
        try:
            content = self.repository.store.get(name)
        except ObjectMissing:
            return None
        return self._parse(Epoch, name, ObjectKind.EPOCH, self._key_of(number, name, content), content)

    def _note_names(self, number: int) -> Iterator[str]:
        for info in self.repository.store.list(layout.archive_notes(self.shard, number)):
            if layout.parse_note(info.key):
                yield info.key

    def _claimed_key(self, number: int) -> BackupKey:
        """The key that we wrap and put, or the one that somebody with the same KEK put before."""
        kek = self.repository.keys.primary
        bound_to = layout.epoch_label(self.shard, number)
        name = layout.archive_key(self.shard, number, kek.key_id)
        wrapped = kek.wrap(secrets.token_bytes(KEY_BYTES), Binding(self.repository.repository_id, bound_to))
        envelope = WrappedKey(key_id=kek.key_id, wrapped=base64.b64encode(wrapped).decode())
        with suppress(ObjectExists):
            self.repository.store.put(name, envelope.model_dump_json().encode())
        self.repository.must_be_current(kek.key_id)
        return self.repository.unwrap_object(name, bound_to, kek.key_id)

    def _key_of(self, number: int, name: str, opened: bytes) -> BackupKey:
        """The archive key: the one that unseals ``opened``, the object ``name``."""
        with self._lock:
            if number in self._keys:
                return self._keys[number]
        identity = self._identity(name, ObjectKind.EPOCH)
        failure: ToolError | None = None
        for key_id in self.repository.keys.keks:
            wrapped = layout.archive_key(self.shard, number, key_id)
            try:
                key = self.repository.unwrap_object(wrapped, layout.epoch_label(self.shard, number), key_id)
            except ObjectMissing:
                continue
            except (KeyUnusable, ObjectDamaged) as error:
                failure = failure or error
                continue
            # What a lost race left behind unwraps as well, but opens nothing.
            if _opens(key, identity, opened):
                with self._lock:
                    return self._keys.setdefault(number, key)
            failure = failure or damaged(name, f"the key in {wrapped} does not open it")
        raise self._no_key(number, failure)

    def _no_key(self, number: int, failure: ToolError | None) -> ToolError:
        label = layout.epoch_label(self.shard, number)
        names = [info.key for info in self.repository.store.list(layout.archive_keys(self.shard, number))]
        others = sorted({key_id for key_id in map(layout.parse_key_id, names) if key_id})
        others = [key_id for key_id in others if key_id not in self.repository.keys.keks]
        if others:
            return KeyUnusable(
                f"{label} is wrapped by {', '.join(others)}, and no such key is usable here",
                hint="Add the key to the configuration; old keys are kept behind the first one.",
            )
        return failure or ObjectMissing(
            f"{label} has no wrapped key under {layout.archive_keys(self.shard, number)}",
            hint="Without it the epoch cannot be read; is there another copy of the repository?",
        )

    def _put(self, name: str, kind: ObjectKind, key: BackupKey, document: BaseModel) -> None:
        frames = encode_document(document.model_dump_json().encode(), 1)
        self.repository.store.put(name, seal_object(self._identity(name, kind), key, frames))

    def _read(self, model: type[Document], number: int, name: str, kind: ObjectKind) -> Document:
        return self._parse(model, name, kind, self.key(number), self.repository.store.get(name))

    def _parse(
        self, model: type[Document], name: str, kind: ObjectKind, key: BackupKey, content: bytes
    ) -> Document:
        decoder = FrameDecoder()
        text = b"".join(
            bytes(decoder.decode(plaintext, name, at).data)
            for at, plaintext in enumerate(unseal_object(self._identity(name, kind), key, content))
        )
        return parse_document(model, name, text)

    def _identity(self, name: str, kind: ObjectKind) -> Identity:
        return Identity(self.repository.repository_id, name, kind)


def _opens(key: BackupKey, identity: Identity, content: bytes) -> bool:
    """Does ``key`` unwrap the data key of the object? Raises ``ObjectDamaged`` if its header is none."""
    try:
        wrapped = parse_header(content, identity)
        key.unwrap(wrapped, identity)
    except ObjectDamaged:
        return False
    return True
