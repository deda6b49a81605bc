"""Who the archiver is to a source: two archivers of one shard are the same replica, so the later one fences.

MySQL ends the older of two dump connections that name the same replica uuid. The uuid is derived from the
repository and the shard, so it is the same on every machine; and the server id too, unless configured.
"""

from __future__ import annotations

import uuid
from typing import NamedTuple

_NAMESPACE = uuid.UUID("b6c1f3f0-6d3f-5c0e-9d5a-0f6a3f1e7c42")
_FIRST_ID = 1 << 31
"""Derived server ids lie in the upper half: people number their servers from below."""


class ReplicaIdentity(NamedTuple):
    """As what the archiver registers at the source."""

    server_id: int
    replica_uuid: str


def replica_identity(repository_id: str, shard: str, server_id: int | None = None) -> ReplicaIdentity:
    """The same for every archiver of this shard into this repository. ``server_id``: as configured."""
    name = uuid.uuid5(_NAMESPACE, f"{repository_id}/{shard}")
    derived = _FIRST_ID + name.int % (_FIRST_ID - 1)
    return ReplicaIdentity(server_id or derived, str(name))
