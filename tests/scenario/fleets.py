"""Fleets of one scratch server, for tests that need a whole config but only one donor."""

from pathlib import Path
from typing import Any

from fleet.model import Fleet
from infra.sandbox.scratch import ScratchServer


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
