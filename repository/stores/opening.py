"""From the config to a store that is ready for use: retried, throttled, yielding and counted."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from fleet.clock import Clock, SystemClock
from fleet.repository_config import RepositoryConfig, StoreConfig
from repository.stores.counting import Counting, StoreCounts
from repository.stores.filesystem import FilesystemStore
from repository.stores.interface import LockTerms, Store
from repository.stores.retrying import Retrying, RetryPolicy
from repository.stores.throttled import Throttled
from repository.stores.yielding import Yielding

if TYPE_CHECKING:
    from repository.stores.s3 import S3Store

# What a backup, a keyring and an archive are made of. Marks, holds, leases, turns, outcomes and trials come
# and go; proofs can be made again; the mark of a retiring key (keyring/<id>.retiring) is deleted in the end.
LOCKED = re.compile(r"(data|keys|manifests|archive)/.*|keyring/.*\.json|backstay\.json|RESCUE\.md|rescue\.py")


def open_store(
    config: StoreConfig,
    *,
    clock: Clock | None = None,
    policy: RetryPolicy | None = None,
    counts: StoreCounts | None = None,
    connections: int = 64,
) -> Store:
    """The store that ``config`` names, as ``Retrying(Throttled(Yielding(Counting(...))))``.

    Nothing is asked of it yet. ``counts`` is where figures are wanted; ``connections``: how many threads may
    use the store at once without waiting for each other. Raises ``ConfigError`` for a URL, endpoint or pair
    of keys that cannot be, and what reading the secrets raises.
    """
    clock = clock or SystemClock()
    counts = counts or StoreCounts()
    store: Store = Yielding(Counting(_open_plain(config, connections, clock), counts, clock), clock)
    if isinstance(config, RepositoryConfig) and config.throttle_bytes_per_second is not None:
        store = Throttled(store, config.throttle_bytes_per_second, clock)
    return Retrying(store, policy, clock, on_retry=counts.record_retry)


def open_bucket(config: StoreConfig, *, clock: Clock | None = None) -> S3Store | None:
    """The store without wrappers, to ask its bucket for settings and versions; None for a folder."""
    return None if config.scheme == "file" else _open_bucket(config, 4, clock or SystemClock())


def _open_plain(config: StoreConfig, connections: int, clock: Clock) -> Store:
    return (
        FilesystemStore(config.path) if config.scheme == "file" else _open_bucket(config, connections, clock)
    )


def _open_bucket(config: StoreConfig, connections: int, clock: Clock) -> S3Store:
    # boto3 takes a fifth of a second to load: whoever keeps backups in a folder does not wait for it.
    from repository.stores.oss import OssStore, connect_oss  # noqa: PLC0415
    from repository.stores.s3 import S3Store  # noqa: PLC0415
    from repository.stores.s3_client import S3Connection, connect  # noqa: PLC0415

    connection = S3Connection(
        endpoint=config.endpoint,
        region=config.region,
        access_key=config.access_key.reveal() if config.access_key else None,
        secret_key=config.secret_key.reveal() if config.secret_key else None,
        addressing=config.addressing,
        connections=connections,
    )
    if config.scheme == "oss":
        return OssStore(connect_oss(connection), config.bucket, config.prefix)
    return S3Store(
        connect(connection),
        config.bucket,
        config.prefix,
        checksum=config.checksum,
        lock=lock_terms(config),
        clock=clock,
    )


def lock_terms(config: StoreConfig) -> LockTerms | None:
    """How ``config`` wants what is put to be locked."""
    if config.lock_days is None:
        return None
    return LockTerms(config.lock_mode, timedelta(days=config.lock_days), LOCKED)
