"""What is measured: a case is one command with what must be there before it and what it leaves."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from benchmarks.donor import Donor
from benchmarks.tools import Tool
from infra.sandbox.objectstore import REGION, SeaweedServer

ROOT = Path(__file__).parents[1]
BUCKET = "benchmark"


class Group(Enum):
    """Cases that are compared with each other: the same data, to or from the same kind of place."""

    BACKUP_FILES = "backup into files"
    BACKUP_S3 = "backup into S3"
    RESTORE_FILES = "restore from files"
    RESTORE_S3 = "restore from S3"


@dataclass(frozen=True)
class Case:
    """One thing to measure.

    ``before`` clears the way and is not measured; ``command`` is, until ``durable`` is on disk; ``stored``
    then tells how many bytes it left; ``after`` removes what nobody needs. ``needs`` names the backup that a
    restore restores. ``report`` is a JSON file with figures of its own that the command leaves.
    """

    name: str
    title: str
    group: Group
    command: tuple[str, ...]
    encrypted: bool = True
    ours: bool = False
    environ: Mapping[str, str] = field(default_factory=dict[str, str])
    before: Callable[[], None] = lambda: None
    after: Callable[[], None] = lambda: None
    durable: Path | None = None
    stored: Callable[[], int] = lambda: 0
    needs: str | None = None
    report: Path | None = None


@dataclass(frozen=True)
class Workplace:
    """Where everything happens: scratch ``directory``, the donor, the object store, the peers' tools.

    ``secret`` is a file with the passphrase of every tool; ``root`` a MySQL option file of the donor's root.
    """

    directory: Path
    donor: Donor
    store: SeaweedServer
    tools: Mapping[str, Tool]

    @property
    def secret(self) -> Path:
        return self.directory / "passphrase"

    @property
    def store_pid(self) -> int:
        """The object store's process."""
        assert self.store.process is not None
        return self.store.process.pid

    def scratch(self, name: str) -> Path:
        """The path of a file or folder of the run."""
        return self.directory / name

    def environ(self, **extra: str) -> dict[str, str]:
        """What a measured command may see of our environment, with the object store's keys."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        keys = {
            "HOME": str(self.directory),
            "AWS_ACCESS_KEY_ID": self.store.access_key,
            "AWS_SECRET_ACCESS_KEY": self.store.secret_key,
            "AWS_DEFAULT_REGION": REGION,
            "BENCHMARK_ENDPOINT": self.store.endpoint,
            "PYTHONPATH": str(ROOT),
        }
        return kept | keys | extra

    def bytes_in_store(self, prefix: str) -> int:
        """The size of all objects below ``prefix``."""
        pages = self.store.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return sum(found["Size"] for page in pages for found in page.get("Contents", []))

    def empty_store(self, prefix: str) -> None:
        """Delete all objects below ``prefix``."""
        client = self.store.client()
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
            names = [{"Key": found["Key"]} for found in page.get("Contents", [])]
            if names:
                client.delete_objects(Bucket=BUCKET, Delete={"Objects": names})
