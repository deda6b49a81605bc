"""Fleets of one scratch server, for tests that need a whole config but only one donor."""

import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from fleet.clock import SystemClock
from fleet.errors import RepositoryExists
from fleet.model import Fleet
from infra.sandbox.objectstore import SeaweedServer
from infra.sandbox.scratch import ScratchServer
from repository.keys import Keyring
from repository.repository import Repository
from repository.stores.interface import Store
from repository.stores.opening import open_store
from wire import admin
from wire.session import open_session


def fleet_of(
    scratch: ScratchServer,
    *,
    folder: Path | None = None,
    repository: dict[str, Any] | None = None,
    **sections: Any,
) -> Fleet:
    """A fleet whose shard ``s1`` is ``scratch``; its key and a file repository lie in ``folder``."""
    folder = folder or Path("/nonexistent")
    key = folder / "backstay.key"
    if folder.is_dir() and not key.exists():
        key.write_bytes(bytes(range(32)))
        key.chmod(0o600)
    server = scratch.server.model_dump(mode="json", exclude_unset=True)
    sections.setdefault("backup", {"donor": "primary", "retries": 0})
    return Fleet.model_validate(
        {
            "name": "test",
            "regions": [scratch.server.region],
            "shards": [{"name": "s1", "servers": [server]}],
            "accounts": {"backup": scratch.backup_account},
            "repository": repository or {"url": f"file://{folder}/repository"},
            "keys": [{"id": "k1", "provider": "file", "file": str(key)}],
            **sections,
        }
    )


def bucket_section(
    seaweed: SeaweedServer, name: str, folder: Path, *, endpoint: str | None = None, versioning: bool = True
) -> dict[str, Any]:
    """``repository`` in a new bucket whose name begins with ``name``; its keys lie in ``folder``.

    ``endpoint``: of what stands before ``seaweed``.
    """
    bucket = f"{name}-{time.time_ns()}"
    seaweed.create_bucket(bucket, versioning=versioning)
    section: dict[str, Any] = {
        "url": f"s3://{bucket}/fleet",
        "endpoint": endpoint or seaweed.endpoint,
        "region": "us-east-1",
        "addressing": "path",
    }
    for key, secret in (("access_key", seaweed.access_key), ("secret_key", seaweed.secret_key)):
        kept = folder / f"{bucket}.{key}"
        kept.write_text(secret)
        kept.chmod(0o600)
        section[key] = {"file": str(kept)}
    return section


def repository_of(fleet: Fleet, store: Store | None = None) -> Repository:
    """The fleet's repository, made if it is not there yet; ``store`` stands in for the one of the config."""
    store = store or open_store(fleet.repository)
    keyring = Keyring.from_config(fleet.keys)
    with suppress(RepositoryExists):
        Repository.create(store, keyring, SystemClock())
    return Repository.open(store, keyring)


def is_free(scratch: ScratchServer) -> bool:
    """No recipient is being served; what a dead one left behind ends with the next clone's start."""
    session = open_session(scratch.server, scratch.backup_account, connect_timeout=5, read_timeout=20)
    with closing(session):
        return admin.running_clone(session) is None


def wait_free(scratch: ScratchServer, seconds: float = 5.0) -> None:
    """The donor serves no clone any more, within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not is_free(scratch):
        assert time.monotonic() < deadline, "the donor still serves a clone"
        time.sleep(0.05)


def fill(scratch: ScratchServer, rows: int = 40_000) -> None:
    """A table ``app.items`` with a checksum that is worth comparing, about 300 bytes a row."""
    scratch.query("CREATE DATABASE IF NOT EXISTS app")
    scratch.query(
        "CREATE TABLE app.items (id INT AUTO_INCREMENT PRIMARY KEY, pad VARCHAR(300), KEY (pad(20)))"
    )
    scratch.query("INSERT INTO app.items (pad) VALUES (HEX(RANDOM_BYTES(128)))")
    count = 1
    while count < rows:
        scratch.query(
            "INSERT INTO app.items (pad) SELECT HEX(RANDOM_BYTES(128)) FROM app.items LIMIT %s",
            (rows - count,),
        )
        count = min(rows, count * 2)
