"""Keys of two halves: the public one seals, and only the private one opens (FORMAT.md, section 5).

A backup host that holds the public half alone can write backups, and cannot read a single one.
"""

from __future__ import annotations

import base64
import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from fleet.errors import ConfigError, KeyUnusable, ObjectDamaged, mapped
from fleet.secrets import read_key_file, read_public_file
from repository import layout
from repository.keys import Binding, Kek, KeyringEntry, check_provider, wrapping_context
from repository.layout import check_name
from repository.seal import KEY_BYTES, WRAPPED_KEY_BYTES, seal_small, unseal_small

_PUBLIC_BYTES = 32


class SealingKek:
    """The public half: it wraps, and opens nothing."""

    can_open = False

    def __init__(self, key_id: str, public: bytes) -> None:
        self.key_id = key_id
        self._public = public

    def wrap(self, backup_key: bytes, binding: Binding) -> bytes:
        # A pair for this one object: whoever has the public half alone cannot take the wrapping back.
        once = X25519PrivateKey.generate()
        theirs = once.public_key().public_bytes_raw()
        shared = once.exchange(X25519PublicKey.from_public_bytes(self._public))
        context = wrapping_context(binding, self.key_id)
        return theirs + seal_small(_cipher(shared, theirs, self._public, context), backup_key, context)

    def unwrap(self, wrapped: bytes, binding: Binding) -> bytes:  # noqa: ARG002
        raise KeyUnusable(
            f"of key {self.key_id} only the public half is here: it wraps backups, and opens none",
            hint="Run this where the configuration names the key's private_key.",
        )


class OpeningKek(SealingKek):
    """Both halves."""

    can_open = True

    def __init__(self, key_id: str, private: X25519PrivateKey) -> None:
        super().__init__(key_id, private.public_key().public_bytes_raw())
        self._private = private

    def unwrap(self, wrapped: bytes, binding: Binding) -> bytes:
        theirs, sealed = wrapped[:_PUBLIC_BYTES], wrapped[_PUBLIC_BYTES:]
        context = wrapping_context(binding, self.key_id)
        backup_key = None
        # All-zero results, and points that are none, are refused by a ValueError.
        with suppress(ValueError):
            if len(sealed) == WRAPPED_KEY_BYTES:
                shared = self._private.exchange(X25519PublicKey.from_public_bytes(theirs))
                backup_key = unseal_small(_cipher(shared, theirs, self._public, context), sealed, context)
        if backup_key is None or len(backup_key) != KEY_BYTES:
            raise ObjectDamaged(
                f"key {self.key_id} is right, but does not open the wrapped key of backup {binding.backup}",
                hint="Put that object back from another copy of the repository, or use another key.",
            )
        return backup_key


class PairSource:
    """A pair in PEM files. With ``private`` it opens, too; ``public`` alone only seals."""

    def __init__(self, key_id: str, public: Path | None, private: Path | None) -> None:
        self.key_id = check_name("key", key_id)
        self._public = public
        self._private = private

    def introduce(self, repository_id: str, now: datetime) -> KeyringEntry:  # noqa: ARG002
        _, public = self._halves()
        text = base64.b64encode(public).decode()
        return KeyringEntry(key_id=self.key_id, provider="x25519", public_key=text, created_at=now)

    def open(self, entry: KeyringEntry, repository_id: str) -> Kek:  # noqa: ARG002
        check_provider(entry, "x25519")
        private, public = self._halves()
        if entry.public_key != base64.b64encode(public).decode():
            raise KeyUnusable(
                f"key {self.key_id}: its public half in the configuration and the one in "
                f"{layout.keyring_entry(self.key_id)} are not the same",
                hint="Find the right key. If nobody changed it, somebody changed the repository: compare "
                "that object with another copy before anything is sealed.",
            )
        return SealingKek(self.key_id, public) if private is None else OpeningKek(self.key_id, private)

    def _halves(self) -> tuple[X25519PrivateKey | None, bytes]:
        private = self._read_private(self._private) if self._private else None
        public = self._read_public(self._public) if self._public else None
        derived = private.public_key().public_bytes_raw() if private else None
        if public is not None and derived is not None and public != derived:
            raise KeyUnusable(f"key {self.key_id}: {self._public} is not the public half of {self._private}")
        found = derived or public
        if found is None:
            raise ConfigError(f"key {self.key_id} has provider x25519, but neither half of the key")
        return private, found

    def _read_private(self, path: Path) -> X25519PrivateKey:
        content = read_key_file(path)
        # A TypeError asks for a passphrase. No text of the library follows: it could quote the key.
        with suppress(ValueError, TypeError, UnsupportedAlgorithm):
            key = load_pem_private_key(content, None)
            if isinstance(key, X25519PrivateKey):
                return key
        raise KeyUnusable(
            f"key {self.key_id}: {path} does not hold the private half of an x25519 key in PEM, "
            "without a passphrase",
            hint="It begins with BEGIN PRIVATE KEY; a pair is made by: backstay keys generate FILE",
        )

    def _read_public(self, path: Path) -> bytes:
        content = read_public_file(path)
        with suppress(ValueError, UnsupportedAlgorithm):
            key = load_pem_public_key(content)
            if isinstance(key, X25519PublicKey):
                return key.public_bytes_raw()
        raise KeyUnusable(
            f"key {self.key_id}: {path} does not hold the public half of an x25519 key in PEM",
            hint="It begins with BEGIN PUBLIC KEY; make it anew where the private half is: "
            "openssl pkey -in PRIVATE -pubout",
        )


def create_pair(private: Path, public: Path) -> None:
    """Write a new pair: the private half for its owner alone. Raises ``ConfigError`` if a file exists."""
    for path in (private, public):
        if path.exists():
            raise ConfigError(
                f"{path} exists already", hint="A key is never overwritten; choose another name."
            )
    key = X25519PrivateKey.generate()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _create(private, secret, 0o600)
    _create(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)


def _create(path: Path, content: bytes, mode: int) -> None:
    with mapped({OSError: ConfigError}, f"cannot create key file {path}"):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            # Backups are worth nothing without it.
            os.fsync(file.fileno())


def _cipher(shared: bytes, theirs: bytes, public: bytes, context: str) -> AESGCM:
    derived = HKDF(SHA256(), KEY_BYTES, salt=theirs + public, info=context.encode()).derive(shared)
    return AESGCM(derived)
