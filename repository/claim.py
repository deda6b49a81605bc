"""Claiming a label: from then on nobody else can take the backup's name (FORMAT.md, section 3)."""

from __future__ import annotations

import base64
from contextlib import suppress
from datetime import datetime, timedelta

from fleet.errors import KeyUnusable, ObjectExists, ObjectLocked
from repository import layout
from repository.keys import Binding, WrappedKey
from repository.layout import BackupName
from repository.repository import Repository

_LABEL_ATTEMPTS = 60


def claim_label(repository: Repository, shard: str, kind: str, key: bytes, at: datetime) -> BackupName:
    """Store the wrapped backup key under the first label that nobody has, from second ``at`` on."""
    kek = repository.keys.primary
    for attempt in range(_LABEL_ATTEMPTS):
        backup = BackupName(shard, layout.format_label(at + timedelta(seconds=attempt), kind))
        wrapped = kek.wrap(key, Binding(repository.repository_id, backup))
        envelope = WrappedKey(key_id=kek.key_id, wrapped=base64.b64encode(wrapped).decode())
        name = layout.wrapped_key(backup, kek.key_id)
        try:
            repository.store.put(name, envelope.model_dump_json().encode())
        except ObjectExists:
            continue
        # A writer with another key can claim the same second under another name; then both let go of it.
        if [info.key for info in repository.store.list(layout.wrapped_keys(backup))] == [name]:
            try:
                repository.must_be_current(kek.key_id)
            except KeyUnusable:
                _let_go(repository, name)
                raise
            return backup
        _let_go(repository, name)
    raise ObjectExists(
        f"shard {shard} has a backup for each of {_LABEL_ATTEMPTS} seconds from {layout.format_time(at)} on",
        hint="Is something starting backups in a loop?",
    )


def _let_go(repository: Repository, name: str) -> None:
    # One that is locked stays behind as what an attempt left that died: prune deletes it when it may.
    with suppress(ObjectLocked):
        repository.store.delete(name)
