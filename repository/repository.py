"""A repository: created once, opened by whoever has one of its keys (FORMAT.md, sections 4 and 5)."""

from __future__ import annotations

import base64
import secrets
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from fleet.clock import Clock
from fleet.errors import (
    FormatUnsupported,
    KeyUnusable,
    ObjectDamaged,
    ObjectExists,
    ObjectMissing,
    RepositoryExists,
    RepositoryMissing,
    ToolError,
)
from repository import layout
from repository.keys import Binding, Keyring, KeyringEntry, KeySource, UnlockedKeys, WrappedKey
from repository.layout import BackupName
from repository.manifest import (
    DELETE_FEATURES,
    WRITE_FEATURES,
    Needs,
    UtcTime,
    check_needs,
    parse_document,
)
from repository.seal import FORMAT_NUMBER, BackupKey, damaged
from repository.stores.interface import Store

_RESCUE = Path(__file__).with_name("rescue")


class Description(BaseModel):
    """``backstay.json``: what this is."""

    model_config = ConfigDict(frozen=True)

    format: int = Field(default=FORMAT_NUMBER, description="Number of the format.")
    needs: Needs = Field(default=Needs(), description="Features that a tool must know.")
    repository_id: str = Field(pattern="^[0-9a-f]{32}$", description="Random; every object is bound to it.")
    created_at: UtcTime = Field(description="When it was created.")
    created_by: str = Field(description="Name and version of the tool that created it.")


class Repository:
    """An open repository. Thread-safe."""

    def __init__(self, store: Store, description: Description, keys: UnlockedKeys) -> None:
        self.store = store
        self.description = description
        self.keys = keys

    @property
    def repository_id(self) -> str:
        return self.description.repository_id

    @classmethod
    def create(cls, store: Store, keyring: Keyring, clock: Clock) -> Repository:
        """Make ``store`` a repository that the keys of ``keyring`` open.

        A creation that died is carried on. Raises ``RepositoryExists``, ``KeyUnusable`` and the errors of
        the store.
        """
        # A key that cannot be used is found before anything is stored.
        keyring.primary.introduce("", clock.now())
        description = _claim(store, clock)
        _put_once(store, layout.RESCUE_GUIDE, (_RESCUE / layout.RESCUE_GUIDE).read_bytes())
        _put_once(store, layout.RESCUE_PROGRAM, (_RESCUE / layout.RESCUE_PROGRAM).read_bytes())
        # The first entry ends the creation: from then on it is a repository, and not one in the making.
        for source in keyring.sources:
            _introduce(store, description, source, clock)
        return cls.open(store, keyring)

    @classmethod
    def open(cls, store: Store, keyring: Keyring) -> Repository:
        """Raises ``RepositoryMissing``, ``FormatUnsupported``, ``KeyUnusable`` and what the store raises."""
        repository = cls.look_at(store, keyring)
        repository.keys.require_one()
        return repository

    @classmethod
    def look_at(cls, store: Store, keyring: Keyring) -> Repository:
        """As ``open``, but also where no key can be used; ``keys.failures`` says what is wrong with each."""
        description = _read_description(store)
        names = _keyring_names(store)
        wanted = {source.key_id for source in keyring.sources}
        entries = {
            key_id: _try_entry(store, key_id, name) for key_id, name in names.items() if key_id in wanted
        }
        return cls(store, description, keyring.unlock(entries, description.repository_id, known=list(names)))

    def add_key(self, source: KeySource, clock: Clock) -> None:
        """Make one more key known. It opens only what it wraps from now on. Raises ``KeyUnusable``."""
        self.check_may("write")
        _introduce(self.store, self.description, source, clock)

    def keyring(self) -> dict[str, KeyringEntry | ToolError]:
        """Every key that the repository knows, by id; an entry that cannot be read is its error."""
        names = _keyring_names(self.store)
        return {key_id: _try_entry(self.store, key_id, name) for key_id, name in sorted(names.items())}

    def must_be_current(self, key_id: str) -> None:
        """Raise ``KeyUnusable`` if the key was retired since the repository was opened, or is being retired.

        Asked after the first wrapped key of something new was put: whoever retires the key has either seen
        that, or had put the mark before.
        """
        if is_there(self.store, layout.retiring_mark(key_id)):
            raise KeyUnusable(
                f"key {key_id} is being retired, and wraps nothing new",
                hint="Put another key first in the configuration. `keys add` takes a retirement back.",
            )
        if not is_there(self.store, layout.keyring_entry(key_id)):
            raise KeyUnusable(
                f"key {key_id} was retired, and wraps nothing new",
                hint="Put another key first in the configuration, and start again what runs.",
            )

    def check_may(self, deed: str) -> None:
        """Raise ``FormatUnsupported`` if this version must not ``write`` or ``delete`` here."""
        needs, known = {
            "write": (self.description.needs.write, WRITE_FEATURES),
            "delete": (self.description.needs.delete, DELETE_FEATURES),
        }[deed]
        check_needs(self.store.describe(), deed, needs, known)

    def backup_key(self, backup: BackupName) -> BackupKey:
        """The key of ``backup``, whichever key wraps it. Raises ``KeyUnusable``, ``ObjectMissing``."""
        failure: ToolError | None = None
        for key_id in self.keys.keks:
            try:
                return self.unwrap(backup, key_id)
            except ObjectMissing:
                continue
            except (KeyUnusable, ObjectDamaged) as error:
                failure = failure or error
        raise failure or self._no_key_for(backup)

    def unwrap(self, backup: BackupName, key_id: str) -> BackupKey:
        """The key of ``backup`` as wrapped by the usable key ``key_id``.

        Raises ``ObjectMissing``, ``ObjectDamaged``, ``KeyUnusable`` if it is not, or does not open.
        """
        return self.unwrap_object(layout.wrapped_key(backup, key_id), backup, key_id)

    def unwrap_object(self, name: str, backup: BackupName, key_id: str) -> BackupKey:
        """The key in the object ``name``, bound to ``backup`` or an epoch's label. Raises as ``unwrap``."""
        return BackupKey(self.unwrap_bytes(name, backup, key_id))

    def unwrap_bytes(self, name: str, backup: BackupName, key_id: str) -> bytes:
        """The 32 bytes in the object ``name``: for who wraps them once more. Raises as ``unwrap``."""
        envelope = parse_document(WrappedKey, name, self.store.get(name))
        try:
            wrapped = base64.b64decode(envelope.wrapped, validate=True)
        except ValueError:
            raise damaged(name, "the wrapped key is not base64") from None
        if envelope.key_id != key_id:
            raise damaged(name, f"it says that it is for key {envelope.key_id}")
        try:
            return self.keys.keks[key_id].unwrap(wrapped, Binding(self.repository_id, backup))
        except ObjectDamaged as error:
            raise ObjectDamaged(f"{name} is damaged: {error.message}", hint=error.hint) from error

    def _no_key_for(self, backup: BackupName) -> ToolError:
        names = [info.key for info in self.store.list(layout.wrapped_keys(backup))]
        key_ids = [key_id for key_id in map(layout.parse_key_id, names) if key_id]
        if not key_ids:
            return ObjectMissing(
                f"backup {backup} has no wrapped key under {layout.wrapped_keys(backup)}",
                hint="Without it the backup cannot be read; is there another copy of the repository?",
            )
        reasons = [self.keys.failures[key_id].message for key_id in key_ids if key_id in self.keys.failures]
        because = f" ({'; '.join(reasons)})" if reasons else ""
        return KeyUnusable(
            f"backup {backup} is wrapped by {', '.join(key_ids)}, and no such key is usable here{because}",
            hint="Add the key to the configuration; old keys are kept behind the first one.",
        )


def tool_version() -> str:
    """``backstay 0.1.0``."""
    return f"backstay {version('backstay')}"


def _claim(store: Store, clock: Clock) -> Description:
    """Put ``backstay.json``, or take up the one of a creation that died before any key was introduced."""
    if _holds(store, layout.MANIFESTS) or _holds(store, layout.KEYS) or _holds(store, layout.KEYRING):
        raise RepositoryExists(
            f"{store.describe()} already holds a repository",
            hint="Use it as it is, or choose another place; nothing was changed.",
        )
    description = Description(
        repository_id=secrets.token_hex(16), created_at=clock.now(), created_by=tool_version()
    )
    try:
        store.put(layout.DESCRIPTION, description.model_dump_json(indent=1).encode())
    except ObjectExists:
        return _read_description(store)
    return description


def _introduce(store: Store, description: Description, source: KeySource, clock: Clock) -> None:
    entry = source.introduce(description.repository_id, clock.now())
    name = layout.keyring_entry(source.key_id)
    try:
        store.put(name, entry.model_dump_json(indent=1).encode())
    except ObjectExists:
        # Another creation was faster: fine, if it was with this very key.
        source.open(_read_entry(store, source.key_id, name), description.repository_id)


def _read_description(store: Store) -> Description:
    try:
        text = store.get(layout.DESCRIPTION)
    except ObjectMissing:
        if _holds(store, layout.MANIFESTS):
            raise ObjectMissing(
                f"{store.describe()} holds backups, but {layout.DESCRIPTION} is missing",
                hint="Put it back from another copy: without the repository id nothing unseals.",
            ) from None
        raise RepositoryMissing(
            f"there is no repository at {store.describe()}",
            hint=RepositoryMissing.way_out,
        ) from None
    return parse_document(Description, layout.DESCRIPTION, text)


def _read_entry(store: Store, key_id: str, name: str) -> KeyringEntry:
    entry = parse_document(KeyringEntry, name, store.get(name))
    if entry.key_id != key_id:
        raise damaged(name, f"it says that it is for key {entry.key_id}")
    return entry


def _try_entry(store: Store, key_id: str, name: str) -> KeyringEntry | ToolError:
    """The entry, or what is wrong with it: one damaged entry must not lock out the other keys."""
    try:
        return _read_entry(store, key_id, name)
    except (ObjectDamaged, ObjectMissing, FormatUnsupported) as error:
        return error


def _keyring_names(store: Store) -> dict[str, str]:
    names = [(layout.parse_key_id(info.key), info.key) for info in store.list(layout.KEYRING)]
    return {key_id: name for key_id, name in names if key_id}


def _put_once(store: Store, name: str, content: bytes) -> None:
    try:
        store.put(name, content)
    except ObjectExists:
        return


def is_there(store: Store, name: str) -> bool:
    """Asked by name: a list may be behind."""
    try:
        store.stat(name)
    except ObjectMissing:
        return False
    return True


def _holds(store: Store, prefix: str) -> bool:
    return any(True for _ in store.list(prefix))
