"""The boundary to AWS KMS: its client is the one fake here, and behaves as the API reference says."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from sealed_backups import TickingClock, differing, restored, sample, take

from fleet.errors import KeyServiceUnreachable, KeyUnusable
from repository.keys import Binding, Keyring
from repository.kms import KmsSource, connect
from repository.layout import BackupName
from repository.repository import Repository
from repository.stores.memory import MemoryStore

ARN = "arn:aws:kms:eu-central-1:123456789012:key/1234"
BINDING = Binding("0" * 32, BackupName("s1", "20260301T021500Z-full"))


class FakeKms:
    """Keeps what it encrypted; refuses another key or encryption context as KMS does."""

    def __init__(self) -> None:
        self.blobs: dict[bytes, tuple[str, bytes, dict[str, str]]] = {}
        self.error: Exception | None = None

    def encrypt(self, **request: Any) -> dict[str, Any]:
        if self.error:
            raise self.error
        blob = b"kms" + os.urandom(100)
        self.blobs[blob] = (request["KeyId"], request["Plaintext"], request["EncryptionContext"])
        return {"CiphertextBlob": blob, "KeyId": request["KeyId"]}

    def decrypt(self, **request: Any) -> dict[str, Any]:
        if self.error:
            raise self.error
        found = self.blobs.get(request["CiphertextBlob"])
        if found is None or found[2] != request["EncryptionContext"]:
            raise refusal("InvalidCiphertextException")
        if found[0] != request["KeyId"]:
            raise refusal("IncorrectKeyException")
        return {"Plaintext": found[1], "KeyId": found[0]}


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "Decrypt")


def source(client: FakeKms, arn: str = ARN) -> KmsSource:
    return KmsSource("cloud", arn, lambda _: client)


def kek(client: FakeKms):
    key = source(client)
    return key.open(key.introduce("0" * 32, datetime.now(UTC)), "0" * 32)


def test_a_backup_key_is_wrapped_by_kms_under_its_context() -> None:
    client = FakeKms()
    wrapped = kek(client).wrap(bytes(32), BINDING)
    assert kek(client).unwrap(wrapped, BINDING) == bytes(32)
    assert [context for _, _, context in client.blobs.values()] == [
        {"backstay": f"{'0' * 32}/s1/20260301T021500Z-full"}
    ]
    with pytest.raises(KeyUnusable, match="key cloud: kms refuses"):
        kek(client).unwrap(wrapped, Binding("0" * 32, BackupName("s2", BINDING.backup.label)))


def test_the_keyring_says_which_key_and_holds_no_check_value() -> None:
    entry = source(FakeKms()).introduce("0" * 32, datetime.now(UTC))
    assert (entry.provider, entry.kms_key, entry.check, entry.kdf) == ("aws-kms", ARN, None, None)


def test_a_whole_backup_under_kms(ticking: TickingClock) -> None:
    client, store = FakeKms(), MemoryStore()
    repository = Repository.create(store, Keyring([source(client)]), ticking)
    manifest = take(repository, ticking, sample())
    again = Repository.open(store, Keyring([source(client)]))
    assert differing(restored(again, manifest), sample().content()) == []
    assert len(client.blobs) == 1


@pytest.mark.parametrize(
    "code", ["AccessDeniedException", "NotFoundException", "DisabledException", "KMSInvalidStateException"]
)
def test_a_refusal_of_kms_is_an_unusable_key(code: str) -> None:
    client = FakeKms()
    client.error = refusal(code)
    with pytest.raises(KeyUnusable, match=code):
        kek(client).wrap(bytes(32), BINDING)


@pytest.mark.parametrize(
    "error", [refusal("ThrottlingException"), EndpointConnectionError(endpoint_url="https://kms.example")]
)
def test_no_answer_of_kms_can_be_tried_again(error: Exception) -> None:
    client = FakeKms()
    client.error = error
    with pytest.raises(KeyServiceUnreachable) as caught:
        kek(client).wrap(bytes(32), BINDING)
    assert caught.value.retryable


def test_missing_credentials_are_named() -> None:
    client = FakeKms()
    client.error = NoCredentialsError()
    with pytest.raises(KeyUnusable, match="no credentials"):
        kek(client).unwrap(b"x", BINDING)


def test_the_region_comes_from_the_arn() -> None:
    client: Any = connect(ARN)
    assert client.meta.region_name == "eu-central-1"
