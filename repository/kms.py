"""Key-encryption keys that never leave AWS KMS. The only module of this room that names boto."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Protocol, cast

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from fleet.errors import KeyServiceUnreachable, KeyUnusable
from repository.keys import Binding, Kek, KeyringEntry
from repository.layout import check_name
from repository.seal import KEY_BYTES

_LATER = {
    "DependencyTimeoutException",
    "InternalFailure",
    "KeyUnavailableException",
    "KMSInternalException",
    "LimitExceededException",
    "RequestTimeout",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
}
"""Error codes of KMS (AWS KMS API reference, Encrypt and Decrypt) after which the same call may succeed."""

_CONFIG = Config(connect_timeout=10, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 4})


class KmsClient(Protocol):
    """The two calls of a boto3 KMS client that we use."""

    def encrypt(self, **request: Any) -> dict[str, Any]: ...

    def decrypt(self, **request: Any) -> dict[str, Any]: ...


def connect(kms_key: str) -> KmsClient:
    """A client for the region that the ARN names, else for the environment's own."""
    parts = kms_key.split(":")
    region = parts[3] if len(parts) > 3 and parts[0] == "arn" else None
    with _mapped_to_key(kms_key):
        return cast("KmsClient", boto3.client("kms", region_name=region, config=_CONFIG))


class KmsKek:
    """A key in KMS: wrapping and unwrapping is a call each."""

    can_open = True

    def __init__(self, key_id: str, kms_key: str, client: KmsClient) -> None:
        self.key_id = key_id
        self._kms_key = kms_key
        self._client = client

    def wrap(self, backup_key: bytes, binding: Binding) -> bytes:
        with _mapped_to_key(self.key_id):
            answer = self._client.encrypt(
                KeyId=self._kms_key, Plaintext=backup_key, EncryptionContext=_context(binding)
            )
        return bytes(answer["CiphertextBlob"])

    def unwrap(self, wrapped: bytes, binding: Binding) -> bytes:
        with _mapped_to_key(self.key_id):
            answer = self._client.decrypt(
                KeyId=self._kms_key, CiphertextBlob=wrapped, EncryptionContext=_context(binding)
            )
        backup_key = bytes(answer["Plaintext"])
        if len(backup_key) != KEY_BYTES:
            raise KeyUnusable(f"key {self.key_id}: kms unwrapped {len(backup_key)} bytes, not {KEY_BYTES}")
        return backup_key


class KmsSource:
    """A key of KMS by its id or ARN; the service is asked when the key is first used."""

    def __init__(self, key_id: str, kms_key: str, connect_to: Callable[[str], KmsClient] = connect) -> None:
        self.key_id = check_name("key", key_id)
        self._kms_key = kms_key
        self._connect = connect_to

    def introduce(self, repository_id: str, now: datetime) -> KeyringEntry:  # noqa: ARG002
        return KeyringEntry(key_id=self.key_id, provider="aws-kms", kms_key=self._kms_key, created_at=now)

    def open(self, entry: KeyringEntry, repository_id: str) -> Kek:  # noqa: ARG002
        if entry.provider != "aws-kms":
            raise KeyUnusable(
                f"key {self.key_id}: the repository's keyring says provider {entry.provider}, "
                "the configuration aws-kms"
            )
        return KmsKek(self.key_id, self._kms_key, self._connect(self._kms_key))


def _context(binding: Binding) -> dict[str, str]:
    return {"backstay": str(binding)}


@contextmanager
def _mapped_to_key(key: str) -> Generator[None]:
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in _LATER:
            raise KeyServiceUnreachable(f"key {key}: kms asks to try again later: {code}") from error
        raise KeyUnusable(
            f"key {key}: kms refuses: {error}",
            hint="Look at the key's policy and state; kms:Encrypt and kms:Decrypt are needed.",
        ) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise KeyUnusable(f"key {key}: no credentials for kms: {error}") from error
    except BotoCoreError as error:
        raise KeyServiceUnreachable(f"key {key}: kms gave no answer: {error}") from error
