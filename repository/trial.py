"""A store is tried before it is trusted: one small object is put, read, refused a second time, deleted."""

from __future__ import annotations

import secrets
from contextlib import suppress

from fleet.errors import ObjectDamaged, ObjectExists, ObjectLocked, StoreDenied
from repository import layout
from repository.stores.interface import Store


def try_store(store: Store) -> bool:
    """Write to ``store`` as a backup does. Tells whether the object could be deleted, too; a backup
    need not, and a bucket may lock whatever is put.

    Raises ``ObjectDamaged`` if it reads back something else or overwrites what is there, else what the store
    raises: ``StoreDenied``, ``StoreFull``, ``StoreUnreachable``.
    """
    name = layout.trial(secrets.token_hex(8))
    content = secrets.token_bytes(64)
    store.put(name, content)
    try:
        if store.get(name) != content:
            raise ObjectDamaged(f"{store.describe()} gave back other bytes than were stored")
        with suppress(ObjectExists):
            store.put(name, bytes(64))
            raise ObjectDamaged(
                f"{store.describe()} overwrote an object that was to be put only if there is none",
                hint="A store that ignores conditions on a put cannot keep backups safe from each other.",
            )
    finally:
        may_delete = _delete(store, name)
    return may_delete


def _delete(store: Store, name: str) -> bool:
    try:
        store.delete(name)
    except (StoreDenied, ObjectLocked):
        return False
    return True
