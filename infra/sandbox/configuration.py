"""The ``backstay.toml`` of a sandbox, with the secrets that it names, as in production: in private files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cli.toml import to_toml
from fleet import config
from fleet.model import Fleet
from infra.sandbox.accounts import Credentials, SandboxAccounts
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.files import write_private
from infra.sandbox.objectstore import REGION, SeaweedServer
from infra.sandbox.ports import free_ports

FILE = "backstay.toml"
BUCKET = "backstay"
_TITLE = "# Written by `backstay sandbox up`, deleted by `backstay sandbox down`.\n\n"


class ConfiguredServer(NamedTuple):
    """One line of a shard."""

    shard: str
    name: str
    port: int
    region: str
    role: str


def write_configuration(
    directory: Path,
    servers: Sequence[ConfiguredServer],
    accounts: SandboxAccounts,
    distribution: MysqlDistribution,
    store: SeaweedServer | None,
) -> Fleet:
    """Write config and a new key; return the fleet as ``fleet.config`` reads it.

    The passwords are there already. Without a ``store`` the repository is the folder ``repository``.
    """
    secrets = directory / "secrets"
    secrets.mkdir(mode=0o700, exist_ok=True)
    write_private(secrets / "key", os.urandom(32))
    if store is not None:
        write_private(secrets / "s3-access-key", store.access_key.encode())
        write_private(secrets / "s3-secret-key", store.secret_key.encode())
    has_replicas = any(server.role == "replica" for server in servers)
    page, scheduler = free_ports(2)
    document: dict[str, Any] = {
        "name": "sandbox",
        "regions": list(dict.fromkeys(server.region for server in servers)),
        "accounts": {
            "backup": _account(accounts.backup),
            "archive": _account(accounts.archive),
            "diff": _account(accounts.diff),
        },
        "repository": _repository(directory, store),
        "keys": [{"id": "sandbox-1", "provider": "file", "file": "secrets/key"}],
        "backup": {"donor": "replica" if has_replicas else "primary"},
        # Below the user's own state it would stay when the sandbox is gone.
        "archive": {"spool_directory": "spool"},
        "service": {"directory": "service", "port": page},
        "scheduler": {"port": scheduler},
        "restore": {"mysqld": str(distribution.mysqld)},
        "shards": _shards(servers),
    }
    write_private(directory / FILE, (_TITLE + to_toml(document) + "\n").encode())
    return config.load(directory / FILE)


def _account(credentials: Credentials) -> dict[str, Any]:
    return {"user": credentials.user, "password": {"file": f"secrets/{credentials.user}-password"}}


def _repository(directory: Path, store: SeaweedServer | None) -> dict[str, Any]:
    if store is None:
        return {"url": (directory / "repository").as_uri()}
    return {
        "url": f"s3://{BUCKET}/fleet",
        "endpoint": store.endpoint,
        "region": REGION,
        "addressing": "path",
        "access_key": {"file": "secrets/s3-access-key"},
        "secret_key": {"file": "secrets/s3-secret-key"},
    }


def _shards(servers: Sequence[ConfiguredServer]) -> list[dict[str, Any]]:
    shards: dict[str, list[dict[str, Any]]] = {}
    for server in servers:
        shards.setdefault(server.shard, []).append(
            {
                "name": server.name,
                "host": "127.0.0.1",
                "port": server.port,
                "region": server.region,
                "role": server.role,
                "tls": {"mode": "verify-identity", "ca": "tls/ca.pem"},
            }
        )
    return [{"name": name, "servers": members} for name, members in shards.items()]
