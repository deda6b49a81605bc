"""Key-encryption keys: where they come from, how they wrap backup keys (FORMAT.md, sections 4 and 5).

A *source* is what the user configured (a file, a passphrase, a key in KMS); opened against the repository's
keyring entry it becomes a ``Kek``. A wrong key is found by the entry's check value, before anything is read.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt as ScryptDerivation
from pydantic import BaseModel, ConfigDict, Field

from fleet.errors import Cancelled, ConfigError, KeyUnusable, ObjectDamaged, ToolError, mapped
from fleet.secrets import read_key_file
from repository import layout
from repository.layout import BackupName, check_name
from repository.manifest import UtcTime
from repository.seal import FORMAT_NUMBER, KEY_BYTES, seal_small, unseal_small

if TYPE_CHECKING:
    from fleet.model import KeyConfig

Provider = Literal["file", "passphrase", "aws-kms", "x25519"]

_CHECKED = bytes(32)
_SALT_BYTES = 16


class ScryptCost(BaseModel):
    """How a passphrase becomes a key."""

    model_config = ConfigDict(frozen=True)

    name: Literal["scrypt"] = Field(default="scrypt", description="The derivation function.")
    salt: str = Field(description="16 random bytes, in base64.")
    # Bounds, so that a forged entry cannot make us allocate gigabytes.
    n: int = Field(default=65_536, ge=2, le=2**20, description="CPU and memory cost.")
    r: int = Field(default=8, ge=1, le=16, description="Block size.")
    p: int = Field(default=1, ge=1, le=16, description="Parallelisation.")


class KeyringEntry(BaseModel):
    """A key's public facts, stored in clear."""

    model_config = ConfigDict(frozen=True)

    format: int = Field(default=FORMAT_NUMBER, description="Number of the format.")
    key_id: str = Field(description="The key's id.")
    provider: Provider = Field(description="Where the key comes from.")
    kdf: ScryptCost | None = Field(default=None, description="For a passphrase: how it becomes a key.")
    kms_key: str | None = Field(default=None, description="For KMS: id or ARN of the key.")
    public_key: str | None = Field(default=None, description="For x25519: the public half in base64.")
    check: str | None = Field(default=None, description="Check value in base64; null for KMS and x25519.")
    created_at: UtcTime = Field(description="When the key was made known to the repository.")


class WrappedKey(BaseModel):
    """A backup key, wrapped."""

    model_config = ConfigDict(frozen=True)

    format: int = Field(default=FORMAT_NUMBER, description="Number of the format.")
    key_id: str = Field(description="The key-encryption key that wraps it.")
    wrapped: str = Field(description="The wrapped backup key in base64.")


class Binding(NamedTuple):
    """What a wrapped backup key is bound to."""

    repository_id: str
    backup: BackupName

    def __str__(self) -> str:
        return f"{self.repository_id}/{self.backup}"


class Kek(Protocol):
    """A key-encryption key, ready for use from several threads."""

    @property
    def key_id(self) -> str: ...

    @property
    def can_open(self) -> bool:
        """Can it unwrap, too? The public half of a pair cannot."""
        ...

    def wrap(self, backup_key: bytes, binding: Binding) -> bytes:
        """Raises ``KeyUnusable``, or ``KeyServiceUnreachable`` if the key lives elsewhere."""
        ...

    def unwrap(self, wrapped: bytes, binding: Binding) -> bytes:
        """The 32 bytes that were wrapped for this very backup.

        Raises as ``wrap`` does, and ``ObjectDamaged`` where only the wrapped bytes can be wrong.
        """
        ...


class KeySource(Protocol):
    """A key as configured, not yet looked at."""

    @property
    def key_id(self) -> str: ...

    def introduce(self, repository_id: str, now: datetime) -> KeyringEntry:
        """The entry that makes this key known to a repository. Raises ``KeyUnusable``."""
        ...

    def open(self, entry: KeyringEntry, repository_id: str) -> Kek:
        """The key, if it is the one that was introduced. Raises ``KeyUnusable``, naming the key id."""
        ...


class LocalKek:
    """32 bytes in this process's memory."""

    can_open = True

    def __init__(self, key_id: str, key: bytes) -> None:
        self.key_id = key_id
        self._cipher = AESGCM(key)

    def wrap(self, backup_key: bytes, binding: Binding) -> bytes:
        return seal_small(self._cipher, backup_key, wrapping_context(binding, self.key_id))

    def unwrap(self, wrapped: bytes, binding: Binding) -> bytes:
        backup_key = unseal_small(self._cipher, wrapped, wrapping_context(binding, self.key_id))
        if backup_key is None or len(backup_key) != KEY_BYTES:
            # The key was compared with the keyring, so it is the right one.
            raise ObjectDamaged(
                f"key {self.key_id} is right, but does not open the wrapped key of backup {binding.backup}",
                hint="Put that object back from another copy of the repository, or use another key.",
            )
        return backup_key

    def check_value(self, repository_id: str) -> str:
        sealed = seal_small(self._cipher, _CHECKED, self._check_context(repository_id))
        return base64.b64encode(sealed).decode()

    def opens(self, check: str | None, repository_id: str) -> bool:
        """Was ``check`` made by this key?"""
        sealed = _from_base64(check or "") or b""
        return unseal_small(self._cipher, sealed, self._check_context(repository_id)) == _CHECKED

    def __repr__(self) -> str:
        return f"LocalKek({self.key_id!r})"

    def _check_context(self, repository_id: str) -> str:
        return f"backstay/{FORMAT_NUMBER}/check/{repository_id}/{self.key_id}"


def wrapping_context(binding: Binding, key_id: str) -> str:
    """The additional data of a wrapped key."""
    return f"backstay/{FORMAT_NUMBER}/backup-key/{binding}/{key_id}"


class FileSource:
    """A key in a file that nobody else may read: 32 bytes, or their hex digits or base64."""

    provider: Provider = "file"

    def __init__(self, key_id: str, path: Path) -> None:
        self.key_id = check_name("key", key_id)
        self._path = path

    def introduce(self, repository_id: str, now: datetime) -> KeyringEntry:
        check = self._kek().check_value(repository_id)
        return KeyringEntry(key_id=self.key_id, provider="file", check=check, created_at=now)

    def open(self, entry: KeyringEntry, repository_id: str) -> Kek:
        check_provider(entry, self.provider)
        return _checked(self._kek(), entry, repository_id, f"the content of {self._path}")

    def _kek(self) -> LocalKek:
        key = parse_key(read_key_file(self._path))
        if key is None:
            raise KeyUnusable(
                f"key {self.key_id}: {self._path} does not hold 32 bytes, nor their hex digits or base64",
                hint="Was the file cut off, or is it another kind of key?",
            )
        return LocalKek(self.key_id, key)


class PassphraseSource:
    """A key derived from a passphrase by scrypt. ``reveal`` reads the passphrase when it is needed."""

    provider: Provider = "passphrase"

    def __init__(self, key_id: str, reveal: Callable[[], str]) -> None:
        self.key_id = check_name("key", key_id)
        self._reveal = reveal

    def introduce(self, repository_id: str, now: datetime) -> KeyringEntry:
        cost = ScryptCost(salt=base64.b64encode(secrets.token_bytes(_SALT_BYTES)).decode())
        check = self._kek(cost).check_value(repository_id)
        return KeyringEntry(key_id=self.key_id, provider="passphrase", kdf=cost, check=check, created_at=now)

    def open(self, entry: KeyringEntry, repository_id: str) -> Kek:
        check_provider(entry, self.provider)
        if entry.kdf is None:
            raise _entry_unusable(entry, "does not say how the passphrase becomes a key")
        return _checked(self._kek(entry.kdf), entry, repository_id, "the passphrase")

    def _kek(self, cost: ScryptCost) -> LocalKek:
        passphrase = self._reveal().rstrip("\r\n")
        if not passphrase:
            raise KeyUnusable(f"key {self.key_id}: the passphrase is empty")
        salt = _from_base64(cost.salt) or b""
        with mapped({ValueError: KeyUnusable}, f"key {self.key_id}: scrypt refuses the keyring's figures"):
            derivation = ScryptDerivation(salt=salt, length=KEY_BYTES, n=cost.n, r=cost.r, p=cost.p)
        return LocalKek(self.key_id, derivation.derive(passphrase.encode()))


class Keyring:
    """The configured keys. The first wraps new backups, the others only open what they wrapped."""

    def __init__(self, sources: Sequence[KeySource]) -> None:
        if not sources:
            raise ConfigError("no key is configured", hint="Every backup is sealed: add a [[keys]] entry.")
        self.sources = tuple(sources)

    @classmethod
    def from_config(cls, keys: Sequence[KeyConfig]) -> Keyring:
        """The keys of the configuration; nothing is read yet."""
        return cls([_source(key) for key in keys])

    @property
    def primary(self) -> KeySource:
        return self.sources[0]

    def unlock(
        self, entries: Mapping[str, KeyringEntry | ToolError], repository_id: str, *, known: Sequence[str]
    ) -> UnlockedKeys:
        """Open every key that can be opened; ``known`` are all ids that the repository knows.

        An entry is an error where it could not be read. What is wrong with a key is kept, never raised.
        """
        keks: dict[str, Kek] = {}
        failures: dict[str, ToolError] = {}
        for source in self.sources:
            try:
                entry = entries.get(source.key_id) or _unknown(source.key_id, known)
                if isinstance(entry, ToolError):
                    raise entry
                keks[source.key_id] = source.open(entry, repository_id)
            except Cancelled:
                raise
            except ToolError as error:
                failures[source.key_id] = error
        return UnlockedKeys(self.primary.key_id, keks, failures)


class UnlockedKeys:
    """The keys that were found right, and why the others were not."""

    def __init__(self, primary_id: str, keks: Mapping[str, Kek], failures: Mapping[str, ToolError]) -> None:
        self._primary_id = primary_id
        self.keks = dict(keks)
        self.failures = dict(failures)

    @property
    def primary(self) -> Kek:
        """The key that wraps new backups. Raises what was wrong with it."""
        if self._primary_id not in self.keks:
            raise self.failures[self._primary_id]
        return self.keks[self._primary_id]

    @property
    def openers(self) -> dict[str, Kek]:
        """Those that open what they wrapped, too: all but public halves."""
        return {key_id: kek for key_id, kek in self.keks.items() if kek.can_open}

    def why_nothing_opens(self) -> str | None:
        """Why this machine can seal backups and read none; None if some key opens what it wrapped."""
        if self.openers or not self.keks:
            return None
        return f"of key {', '.join(self.keks)} only the public half is here, so nothing can be read"

    def require_opener(self, what: str) -> None:
        """Raise ``KeyUnusable`` where nothing can be read, and ``what`` has to read."""
        if why := self.why_nothing_opens():
            raise KeyUnusable(
                f"{what} has to read what is stored, but {why}",
                hint="Run it on another machine, whose configuration names a private_key.",
            )

    def require_one(self) -> None:
        """Raise what is wrong with the first key if no key can be used: ``KeyUnusable`` as a rule."""
        if not self.keks:
            raise self.failures[self._primary_id]


def create_key_file(path: Path) -> None:
    """Write a new random key into a file for its owner alone. Raises ``ConfigError`` if it exists."""
    key = base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n"
    with mapped({OSError: ConfigError}, f"cannot create key file {path}"):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            # Backups are worth nothing without it.
            os.fsync(file.fileno())


def parse_key(content: bytes) -> bytes | None:
    """The 32 bytes that a key file holds raw, as 64 hex digits or as base64; None if it does not."""
    if len(content) == KEY_BYTES:
        return content
    text = content.strip()
    try:
        key = (
            bytes.fromhex(text.decode("ascii"))
            if len(text) == 2 * KEY_BYTES
            else base64.b64decode(text, validate=True)
        )
    except (ValueError, binascii.Error):
        return None
    return key if len(key) == KEY_BYTES else None


def _source(key: KeyConfig) -> KeySource:
    if key.provider == "file" and key.file is not None:
        return FileSource(key.id, key.file)
    if key.provider == "passphrase" and key.passphrase is not None:
        return PassphraseSource(key.id, key.passphrase.reveal)
    if key.provider == "aws-kms" and key.kms_key is not None:
        # boto3 is slow to import, and most fleets have no key there.
        from repository.kms import KmsSource  # noqa: PLC0415

        return KmsSource(key.id, key.kms_key)
    if key.provider == "x25519":
        from repository.key_pair import PairSource  # noqa: PLC0415 - it builds on this module

        return PairSource(key.id, key.public_key, key.private_key)
    raise ConfigError(f"key {key.id} has provider {key.provider}, but not what that needs")


def _checked(kek: LocalKek, entry: KeyringEntry, repository_id: str, what: str) -> Kek:
    if not kek.opens(entry.check, repository_id):
        raise KeyUnusable(
            f"key {kek.key_id} is wrong, or {layout.keyring_entry(kek.key_id)} or {layout.DESCRIPTION} is "
            f"damaged: {what} does not open the check value there",
            hint="Find the right key, or put the two objects back from another copy of the repository; "
            "without the key nothing that it sealed can be read by anybody.",
        )
    return kek


def check_provider(entry: KeyringEntry, provider: Provider) -> None:
    if entry.provider != provider:
        raise _entry_unusable(entry, f"says provider {entry.provider}, the configuration {provider}")


def _entry_unusable(entry: KeyringEntry, fact: str) -> KeyUnusable:
    return KeyUnusable(f"key {entry.key_id}: the repository's keyring {fact}")


def _unknown(key_id: str, known: Sequence[str]) -> KeyUnusable:
    return KeyUnusable(
        f"the repository does not know key {key_id}; it knows {', '.join(known) or 'none'}",
        hint=f"If the key is new, make it known: backstay keys add {key_id}. If the repository once knew it, "
        f"it was retired, or {layout.keyring_entry(key_id)} was lost: put that back from another copy.",
    )


def _from_base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None
