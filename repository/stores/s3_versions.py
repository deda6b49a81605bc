"""Versions and locks of the objects of a bucket.

A delete without a version hides an object behind a delete marker, and frees nothing; a lock binds one version
and not its name, so a put or such a delete over a locked object is never refused ("Object Lock and
versioning" in the S3 user guide, and seen so on SeaweedFS). To free an object is to delete each version by
its id; a locked one is refused with AccessDenied, as a missing permission is, so only a look at the version
tells which of the two it was.

A lock is prolonged by whoever may PutObjectRetention. It is shortened by nobody in compliance mode, and in
governance mode by who has BypassGovernanceRetention and says so, which is never done here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from fleet.errors import ObjectLocked, ObjectMissing, StoreDenied
from repository.stores.interface import LockMode, whole_second_after
from repository.stores.s3_client import S3Client
from repository.stores.s3_errors import mapped_to_store

LOCK_HINT = (
    "With lock_days the bucket must have been made with Object Lock, and the credentials need "
    "PutObjectRetention beside what a backup needs; `backstay check` tells which of them is missing."
)
_MODES: dict[LockMode, str] = {"compliance": "COMPLIANCE", "governance": "GOVERNANCE"}


class Version(NamedTuple):
    """One version of the object ``name`` (in the bucket); ``is_marker``: it says that the object is gone.

    ``tag``: equal where the content is, unless the bucket encrypts with keys of KMS.
    """

    name: str
    id: str
    modified_at: datetime
    is_marker: bool
    is_latest: bool
    size: int
    tag: str


class LockSeen(NamedTuple):
    """A version's lock: ``mode`` as S3 says it, ``until`` in UTC; ``held``: a legal hold, without an end."""

    mode: str | None
    until: datetime | None
    held: bool

    def binds(self, now: datetime) -> bool:
        return self.held or (self.until is not None and self.until > now)


def lock_headers(mode: LockMode, until: datetime) -> dict[str, Any]:
    """What a put says so that the object is locked from birth."""
    return {"ObjectLockMode": _MODES[mode], "ObjectLockRetainUntilDate": until}


@dataclass(frozen=True)
class VersionedBucket:
    """A bucket; every ``name`` is whole, with the store's prefix. ``place``: what it is called in errors."""

    client: S3Client
    bucket: str
    place: str

    def versions(self, prefix: str) -> Iterator[Version]:
        """Every version of every object whose name starts so, sorted by name; of one object newest first.

        One request for each 1,000. Raises ``StoreDenied`` without ListBucketVersions.
        """
        asked: dict[str, Any] = {"Bucket": self.bucket, "Prefix": prefix}
        while True:
            with mapped_to_store(prefix, self.place):
                answer = self.client.list_object_versions(**asked)
            found = [_version(each, False) for each in answer.get("Versions", ())]
            found += [_version(each, True) for each in answer.get("DeleteMarkers", ())]
            # Sorted in two steps, of which the second keeps the order of the first.
            found.sort(key=lambda each: (each.is_latest, each.modified_at), reverse=True)
            yield from sorted(found, key=lambda each: each.name)
            if not answer.get("IsTruncated"):
                return
            asked["KeyMarker"] = answer["NextKeyMarker"]
            if answer.get("NextVersionIdMarker"):
                asked["VersionIdMarker"] = answer["NextVersionIdMarker"]

    def versions_of(self, name: str) -> list[Version]:
        """Those of one object, newest first."""
        found: list[Version] = []
        for each in self.versions(name):
            # Names that go on sort behind it.
            if each.name != name:
                break
            found.append(each)
        return found

    def delete_version(self, version: Version, now: datetime) -> None:
        """Raises ``ObjectLocked`` if a lock binds it at ``now``, ``StoreDenied`` without the permission."""
        try:
            with mapped_to_store(version.name, self.place):
                self.client.delete_object(Bucket=self.bucket, Key=version.name, VersionId=version.id)
        except ObjectMissing:
            return
        except StoreDenied:
            if version.is_marker:
                raise
            lock = self._seen_lock(version)
            if lock is None or not lock.binds(now):
                raise
            raise _locked(version.name, self.place, lock) from None

    def read(self, version: Version) -> bytes:
        """What one version holds, whatever lies over it. Raises ``ObjectMissing``."""
        with mapped_to_store(version.name, self.place):
            answer = self.client.get_object(Bucket=self.bucket, Key=version.name, VersionId=version.id)
            body = answer["Body"]
            try:
                data: bytes = body.read()
            finally:
                body.close()
        return data

    def lock_of(self, name: str, version: str | None = None) -> LockSeen:
        """The lock of an object's newest version, or of ``version``. Raises ``ObjectMissing``."""
        asked = {"Bucket": self.bucket, "Key": name} | ({"VersionId": version} if version else {})
        with mapped_to_store(name, self.place):
            answer = self.client.head_object(**asked)
        until = answer.get("ObjectLockRetainUntilDate")
        return LockSeen(
            answer.get("ObjectLockMode"),
            until.astimezone(UTC) if until else None,
            answer.get("ObjectLockLegalHoldStatus") == "ON",
        )

    def prolong(self, name: str, mode: LockMode, until: datetime) -> None:
        """One request, and two more where it is refused: the store itself refuses to shorten a lock."""
        until = whole_second_after(until)
        try:
            self._retain(name, _MODES[mode], until)
        except StoreDenied as error:
            lock = self.lock_of(name)
            if lock.until is not None and lock.until >= until:
                return
            if lock.mode is None or lock.mode == _MODES[mode]:
                raise StoreDenied(error.message, hint=LOCK_HINT) from error
            # Locked when the configuration named the other mode; a lock's mode cannot be changed.
            self._retain(name, lock.mode, until)

    def _retain(self, name: str, mode: str, until: datetime) -> None:
        with mapped_to_store(name, self.place):
            self.client.put_object_retention(
                Bucket=self.bucket, Key=name, Retention={"Mode": mode, "RetainUntilDate": until}
            )

    def _seen_lock(self, version: Version) -> LockSeen | None:
        try:
            return self.lock_of(version.name, version.id)
        except (StoreDenied, ObjectMissing):
            return None


def _version(found: dict[str, Any], is_marker: bool) -> Version:
    return Version(
        str(found["Key"]),
        str(found["VersionId"]),
        found["LastModified"].astimezone(UTC),
        is_marker,
        bool(found["IsLatest"]),
        int(found.get("Size", 0)),
        str(found.get("ETag", "")),
    )


def _locked(name: str, place: str, lock: LockSeen) -> ObjectLocked:
    if lock.held:
        return ObjectLocked(
            f"{name} in {place} is under a legal hold",
            hint="Whoever placed the hold must take it away (PutObjectLegalHold) before it can be deleted.",
        )
    until = lock.until.strftime("%Y-%m-%d %H:%M:%S UTC") if lock.until else "a date that was not told"
    return ObjectLocked(
        f"{name} in {place} is locked until {until}", hint="Delete it after that date.", until=lock.until
    )
