"""Fleets that are only described, for what is decided before any server is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fleet.model import Fleet

SHARD_A = {
    "name": "a",
    "servers": [
        {"name": "a1", "host": "a1", "region": "eu", "role": "primary"},
        {"name": "a2", "host": "a2", "region": "us"},
    ],
}
SHARD_B = {"name": "b", "servers": [{"name": "b1", "host": "b1", "region": "us", "role": "primary"}]}


def described(**sections: Any) -> Fleet:
    """A fleet of shards ``a``, with a replica in the other region, and ``b``, with none."""
    document: dict[str, Any] = {
        "name": "shop",
        "regions": ["eu", "us"],
        "accounts": {"backup": {"user": "backstay", "password": {"env": "NOT_READ_HERE"}}},
        "repository": {"url": "file:///srv/backups"},
        "keys": [{"id": "one", "provider": "file", "file": "/etc/backstay/key"}],
        "shards": [SHARD_A, SHARD_B],
    }
    return Fleet.model_validate({**document, **sections}, context={"directory": Path("/")})
