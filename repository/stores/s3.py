"""A store in a bucket of S3, or of any server that speaks its API.

A put is one PutObject: objects are at most a pack long, so no multipart upload can be left half done. It
carries the checksum, and is over only when the server's own checksum of what it holds was seen to agree.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Literal

from fleet.clock import Clock, SystemClock
from fleet.errors import (
    Cancelled,
    ObjectDamaged,
    ObjectExists,
    ObjectMissing,
    StoreDenied,
    StoreUnreachable,
    ToolError,
)
from repository.stores.interface import (
    Buffer,
    LockTerms,
    ObjectInfo,
    Page,
    Properties,
    Stored,
    all_pages,
    check_agrees,
    check_key,
    check_length,
    check_prefix,
    check_range,
    is_key,
)
from repository.stores.s3_client import S3Client
from repository.stores.s3_errors import DigestRefused, NotImplementedThere, mapped_to_store
from repository.stores.s3_versions import LOCK_HINT, VersionedBucket, lock_headers

Checksum = Literal["sha256", "md5"]


class _Condition(Enum):
    """What is known of ``If-None-Match: *`` on this server. Some refuse it, and some ignore it silently."""

    UNTRIED = 0
    HONOURED = 1
    MISSING = 2


class S3Store:
    """Objects of ``bucket`` whose names start with ``prefix``.

    ``checksum``: ``sha256`` is sent as ``x-amz-checksum-sha256``; ``md5``, for servers that do not know that,
    as ``Content-MD5``, and compared with the ETag. ``lock``: how what is put is locked; a bucket that was not
    made for locks refuses such a put.
    """

    scheme = "s3"

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        prefix: str = "",
        *,
        checksum: Checksum = "sha256",
        lock: LockTerms | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.lock = lock
        self._clock: Clock = clock or SystemClock()
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._checksum: Checksum = checksum
        self._condition = _Condition.UNTRIED
        self._bucket_facts: tuple[bool, bool] | None = None
        # Folders in which this account may not delete versions: who only backs up may so in few of them.
        self._only_hides_in: set[str] = set()

    @property
    def properties(self) -> Properties:
        """Asks the server about the bucket the first time; what it may not tell counts as no."""
        if self._bucket_facts is None:
            self._bucket_facts = (self._has_object_lock(), self._is_versioned())
        object_lock, versioned = self._bucket_facts
        return Properties(self._condition is not _Condition.MISSING, object_lock, versioned)

    def describe(self) -> str:
        return f"{self.scheme}://{self._bucket}/{self._prefix} at {self._client.meta.endpoint_url}"

    def put(self, key: str, data: Buffer, *, if_absent: bool = True, sha256: bytes | None = None) -> Stored:
        check_key(key)
        body = bytes(data) if isinstance(data, memoryview) else data
        if not if_absent:
            return self._send(key, body, sha256, conditional=False)
        if self._condition is _Condition.HONOURED:
            return self._send(key, body, sha256, conditional=True)
        self._refuse_existing(key)
        if self._condition is _Condition.MISSING:
            return self._send(key, body, sha256, conditional=False)
        return self._send_and_try_condition(key, body, sha256)

    def get(self, key: str) -> bytes:
        check_key(key)
        with mapped_to_store(key, self.describe()):
            # botocore compares the data with the checksum that it so asks for.
            return _read(self._client.get_object(**self._names(key), **self._with_checksum()))

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        check_key(key)
        check_range(offset, length)
        if length == 0:
            return b""
        with mapped_to_store(key, self.describe()):
            span = f"bytes={offset}-{offset + length - 1}"
            answer = self._client.get_object(**self._names(key), Range=span)
            if "ContentRange" not in answer:
                self._refuse_whole(key, offset, length, answer)
            data = _read(answer)
        check_length(key, offset, length, len(data))
        return data

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return all_pages(self, prefix)

    def list_page(self, prefix: str, token: str | None = None) -> Page:
        check_prefix(prefix)
        asked = {"Bucket": self._bucket, "Prefix": self._prefix + prefix}
        if token is not None:
            asked["ContinuationToken"] = token
        with mapped_to_store("", self.describe()):
            answer = self._client.list_objects_v2(**asked)
        found = ((str(each["Key"]).removeprefix(self._prefix), each) for each in answer.get("Contents", ()))
        objects = [_info(key, each, "Size") for key, each in found if is_key(key)]
        return Page(objects, answer["NextContinuationToken"] if answer.get("IsTruncated") else None)

    def stat(self, key: str) -> ObjectInfo:
        check_key(key)
        with mapped_to_store(key, self.describe()):
            return _info(key, self._client.head_object(**self._names(key)), "ContentLength")

    def delete(self, key: str) -> None:
        check_key(key)
        folder = key.partition("/")[0]
        if folder not in self._only_hides_in and self._keeps_versions():
            if self._delete_versions(key):
                return
            self._only_hides_in.add(folder)
        with suppress(ObjectMissing), mapped_to_store(key, self.describe()):
            self._client.delete_object(**self._names(key))

    def prolong(self, key: str, until: datetime) -> None:
        check_key(key)
        if self.lock is not None and self.lock.covers.fullmatch(key):
            self.versioned.prolong(self._prefix + key, self.lock.mode, until)

    def locked_until(self, key: str) -> datetime | None:
        check_key(key)
        return self.versioned.lock_of(self._prefix + key).until

    @property
    def versioned(self) -> VersionedBucket:
        """The bucket with the versions of its objects, whose names begin with ``prefix``."""
        return VersionedBucket(self._client, self._bucket, self.describe())

    @property
    def prefix(self) -> str:
        """What the names of all objects begin with in the bucket: empty, or with a ``/`` at its end."""
        return self._prefix

    def _keeps_versions(self) -> bool:
        # Locks come with versions, also where this account may not ask for that.
        return self.lock is not None or self.properties.versioned

    def _delete_versions(self, key: str) -> bool:
        """Delete all there is of ``key``; False where this account may not, and nothing was deleted.

        The oldest goes first: that is the one that we locked, and until all are gone the name stays listed.
        """
        deleted = 0
        try:
            for version in reversed(self.versioned.versions_of(self._prefix + key)):
                self.versioned.delete_version(version, self._clock.now())
                deleted += 1
        except (StoreDenied, NotImplementedThere):
            if deleted:
                raise
            return False
        return True

    def _names(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._prefix + key}

    def _with_checksum(self) -> dict[str, Any]:
        return {"ChecksumMode": "ENABLED"} if self._checksum == "sha256" else {}

    def _refuse_whole(self, key: str, offset: int, length: int, answer: dict[str, Any]) -> None:
        """The server sent the whole object for a range: it knows no ranges, or (OSS) none behind the end."""
        size = int(answer["ContentLength"])
        if (offset, length) == (0, size):
            return
        answer["Body"].close()
        check_length(key, offset, length, min(max(size - offset, 0), length))
        raise StoreDenied(f"{self.describe()} answers a range of {key} with the whole object")

    def _refuse_existing(self, key: str) -> None:
        """The look before a put that is not, or not yet known to be, conditional."""
        try:
            self.stat(key)
        except ObjectMissing:
            return
        except StoreDenied:
            # A host that may only put cannot look. The condition protects it, where the server knows one.
            if self._condition is _Condition.MISSING:
                raise
            return
        raise ObjectExists(f"{key} exists already in {self.describe()}")

    def _send_and_try_condition(self, key: str, body: bytes | bytearray, sha256: bytes | None) -> Stored:
        """Put, and put again: only a server that refuses the second one can be trusted with the condition."""
        try:
            stored = self._send(key, body, sha256, conditional=True)
        except NotImplementedThere:
            self._condition = _Condition.MISSING
            return self._send(key, body, sha256, conditional=False)
        try:
            self._send(key, body, sha256, conditional=True)
            self._condition = _Condition.MISSING
        except ObjectExists:
            self._condition = _Condition.HONOURED
        except Cancelled:
            raise
        except ToolError:
            # The object is stored and confirmed; the next put will try again.
            pass
        return stored

    def _send(self, key: str, body: bytes | bytearray, sha256: bytes | None, *, conditional: bool) -> Stored:
        asked = self._names(key)
        if conditional:
            asked["IfNoneMatch"] = "*"
        if self.lock is not None and (until := self.lock.until(key, self._clock.now())):
            asked |= lock_headers(self.lock.mode, until)
        if self._checksum == "sha256":
            sha256 = sha256 or hashlib.sha256(body).digest()
            asked["ChecksumSHA256"] = _base64(sha256)
        else:
            check_agrees(key, body, sha256)
            asked["ContentMD5"] = _base64(_md5(body))
        try:
            with mapped_to_store(key, self.describe()):
                answer = self._client.put_object(**asked, Body=body)
        except DigestRefused:
            check_agrees(key, body, sha256)
            raise
        except StoreDenied as error:
            if "ObjectLockMode" in asked and type(error) is StoreDenied:
                raise StoreDenied(error.message, hint=LOCK_HINT) from error
            raise
        if not self._is_confirmed(key, body, sha256, answer):
            # A later try must not find this one in its way.
            with suppress(ToolError):
                self.delete(key)
            raise ObjectDamaged(f"{self.describe()} holds something else under {key} than was put")
        return Stored(len(body), sha256, str(answer.get("ETag", "")).strip('"') or None)

    def _is_confirmed(
        self, key: str, body: bytes | bytearray, sha256: bytes | None, answer: dict[str, Any]
    ) -> bool:
        """Does the store hold ``body``? Asks for no more than the cheapest proof that this server offers."""
        if sha256 is not None and "ChecksumSHA256" in answer:
            return answer["ChecksumSHA256"] == _base64(sha256)
        # With encryption by the server's keys an ETag is no MD5; so one that differs proves nothing.
        if str(answer.get("ETag", "")).strip('"').lower() == _md5(body).hex():
            return True
        with mapped_to_store(key, self.describe()):
            found = self._client.head_object(**self._names(key), **self._with_checksum())
        if found["ContentLength"] != len(body):
            return False
        if sha256 is not None and "ChecksumSHA256" in found:
            return found["ChecksumSHA256"] == _base64(sha256)
        return self.get(key) == body

    def _is_versioned(self) -> bool:
        with suppress(StoreDenied, ObjectMissing), mapped_to_store("versioning", self.describe()):
            return self._client.get_bucket_versioning(Bucket=self._bucket).get("Status") == "Enabled"
        return False

    def _has_object_lock(self) -> bool:
        with suppress(StoreDenied, ObjectMissing), mapped_to_store("object lock", self.describe()):
            answer = self._client.get_object_lock_configuration(Bucket=self._bucket)
            return answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled"
        return False


def _read(answer: dict[str, Any]) -> bytes:
    body = answer["Body"]
    try:
        data: bytes = body.read()
    finally:
        body.close()
    expected = answer.get("ContentLength")
    if expected is not None and len(data) != expected:
        raise StoreUnreachable(f"{expected} bytes announced, {len(data)} received")
    return data


def _info(key: str, found: dict[str, Any], size: str) -> ObjectInfo:
    return ObjectInfo(key, int(found[size]), found["LastModified"].astimezone(UTC))


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")


def _md5(body: bytes | bytearray) -> bytes:
    # Against damage on the way, not against an attacker.
    return hashlib.md5(body, usedforsecurity=False).digest()
