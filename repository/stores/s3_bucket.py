"""What a bucket is set to do with objects: versions, locks, lifecycle rules; as far as we may ask.

A rule of a lifecycle deletes (``Expiration``) or moves to another storage class (``Transitions``) whatever
its filter lets through, some days after it was put, and knows nothing of what needs it. In a bucket with
versions an expiration hides an object behind a delete marker; ``NoncurrentVersionExpiration`` is what frees
old versions ("Elements to describe lifecycle actions" in the S3 user guide).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from fleet.errors import ObjectLocked, ObjectMissing, StoreDenied
from repository.stores.s3 import S3Store
from repository.stores.s3_errors import mapped_to_store

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class LifecycleRule:
    """One rule that is in force. ``prefix``: of names in the bucket, all of the store's prefix included.

    ``expires``: after how long objects go, in words, or None. ``moves``: the storage classes that objects are
    moved to. ``frees_versions``: old versions go. ``by_tag``: it applies to objects with certain tags alone.
    """

    name: str
    prefix: str
    expires: str | None
    moves: tuple[str, ...]
    frees_versions: bool
    by_tag: bool


@dataclass(frozen=True, slots=True)
class BucketSeen:
    """``None`` where we may not ask. ``prefix``: of the store, empty or with a ``/`` at its end.

    ``default_lock``: how the bucket locks whatever is put, in words. ``frees_versions``: a trial object that
    was deleted left no version behind.
    """

    prefix: str
    versioning: str | None
    object_lock: bool | None
    default_lock: str | None
    rules: tuple[LifecycleRule, ...] | None
    frees_versions: bool | None


def look_at_bucket(store: S3Store, trials: str) -> BucketSeen:
    """Ask for all of it, and put and delete an object below ``trials``. Raises what a put raises, and
    ``StoreUnreachable``.
    """
    client, bucket = store.versioned.client, store.versioned.bucket

    def ask(what: str, question: Callable[..., dict[str, Any]]) -> dict[str, Any] | None:
        """The answer; empty where there is nothing to tell, None where we may not know."""
        try:
            with mapped_to_store(what, store.describe()):
                return question(Bucket=bucket)
        except ObjectMissing:
            return {}
        except StoreDenied:
            return None

    versioning = ask("versioning", client.get_bucket_versioning)
    lock = ask("object lock", client.get_object_lock_configuration)
    lifecycle = ask("lifecycle", client.get_bucket_lifecycle_configuration)
    status = str(versioning.get("Status", "")) if versioning is not None else None
    configured = (lock or {}).get("ObjectLockConfiguration", {})
    return BucketSeen(
        prefix=store.prefix,
        versioning=status,
        object_lock=None if lock is None else configured.get("ObjectLockEnabled") == "Enabled",
        default_lock=_default(configured),
        rules=None if lifecycle is None else tuple(map(_rule, _in_force(lifecycle))),
        frees_versions=_frees_versions(store, trials) if status else None,
    )


def _frees_versions(store: S3Store, trials: str) -> bool:
    key = f"{trials}{secrets.token_hex(8)}"
    store.put(key, b"")
    with suppress(StoreDenied, ObjectLocked):
        store.delete(key)
    try:
        return not store.versioned.versions_of(store.prefix + key)
    except StoreDenied:
        return False


def _default(configured: dict[str, Any]) -> str | None:
    found = configured.get("Rule", {}).get("DefaultRetention", {})
    if not found:
        return None
    length = f"{found['Days']} days" if "Days" in found else f"{found.get('Years')} years"
    return f"for {length} ({str(found.get('Mode', '')).lower()})"


def _in_force(lifecycle: dict[str, Any]) -> list[dict[str, Any]]:
    return [rule for rule in lifecycle.get("Rules", ()) if rule.get("Status") == "Enabled"]


def _rule(rule: dict[str, Any]) -> LifecycleRule:
    only = rule.get("Filter", {})
    both = only.get("And", {})
    expiration = rule.get("Expiration", {})
    expires = None
    if "Days" in expiration:
        expires = f"{expiration['Days']} days after they are put"
    elif "Date" in expiration:
        expires = f"on {expiration['Date']:%Y-%m-%d}"
    prefix = rule.get("Prefix") or only.get("Prefix") or both.get("Prefix") or ""
    return LifecycleRule(
        name=str(rule.get("ID", "")) or "without a name",
        prefix=str(prefix),
        expires=expires,
        moves=tuple(str(each.get("StorageClass", "")) for each in rule.get("Transitions", ())),
        frees_versions="NoncurrentVersionExpiration" in rule,
        by_tag="Tag" in only or bool(both.get("Tags")),
    )
