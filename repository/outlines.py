"""What is kept in mind of a backup where a thousand are looked at: all of its manifest but the file table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import TypedDict

from fleet.errors import Cancelled, ObjectMissing, ToolError
from fleet.gtid import GtidSet
from repository import layout
from repository.catalog import BackupSummary, why_broken
from repository.codec import FrameDecoder
from repository.layout import BackupName
from repository.manifest import (
    Base,
    Donor,
    GtidBracket,
    Lsn,
    Reference,
    Sizes,
    Timings,
    check_readable,
    parse_document,
)
from repository.repository import Repository
from repository.seal import Identity, ObjectKind, damaged, unseal_object

_READERS = 8


class Outline(NamedTuple):
    """A backup in short. ``needs``: its base, and the backups whose packs it names; not what those need.

    ``low`` and ``high``: it holds all of the one, and nothing outside of the other.
    """

    summary: BackupSummary
    checkpoint_lsn: int
    base: Base | None
    needs: list[BackupName]
    low: GtidSet
    high: GtidSet

    @property
    def name(self) -> BackupName:
        return BackupName(self.summary.shard, self.summary.label)

    @property
    def finished_at(self) -> datetime:
        return self.summary.finished_at


@dataclass(frozen=True, slots=True)
class Outlines:
    """``unreadable``: manifests that are there, and what kept us from reading each.

    ``missing``: names for which there is no manifest.
    """

    backups: Mapping[BackupName, Outline]
    unreadable: Mapping[BackupName, ToolError]
    missing: frozenset[BackupName]

    def broken(self, backup: BackupName) -> str | None:
        """Which backup it needs and cannot have, or None if its chain goes down to a full."""
        return why_broken(
            backup, self.backups, {name: error.message for name, error in self.unreadable.items()}
        )


def read_outlines(repository: Repository, names: Iterable[BackupName]) -> Outlines:
    """The backups of these names, and of all that they name in turn, each asked for by its name.

    Raises what keeps us from asking the store, and ``Cancelled``.
    """
    backups: dict[BackupName, Outline] = {}
    unreadable: dict[BackupName, ToolError] = {}
    missing: set[BackupName] = set()
    wanted = sorted(set(names))
    with ThreadPoolExecutor(_READERS, thread_name_prefix="outlines") as readers:
        while wanted:
            looked_at = readers.map(partial(_look_at, repository), wanted)
            for name, found in zip(wanted, looked_at, strict=True):
                if found is None:
                    missing.add(name)
                elif isinstance(found, Outline):
                    backups[name] = found
                else:
                    unreadable[name] = found
            named = {need for name in wanted if name in backups for need in backups[name].needs}
            wanted = sorted(named - backups.keys() - unreadable.keys() - missing)
    return Outlines(backups, unreadable, frozenset(missing))


def _look_at(repository: Repository, backup: BackupName) -> Outline | ToolError | None:
    try:
        return read_outline(repository, backup)
    except ObjectMissing as error:
        # The wrapped key may be what is missing: then the manifest is there, and cannot be read.
        return error if _is_there(repository, backup) else None
    except Cancelled:
        raise
    except ToolError as error:
        if error.retryable:
            raise
        return error


def _is_there(repository: Repository, backup: BackupName) -> bool:
    try:
        repository.store.stat(layout.manifest(backup))
    except ObjectMissing:
        return False
    return True


def read_outline(repository: Repository, backup: BackupName) -> Outline:
    """Raises as ``Catalog.read_manifest``."""
    return _outline(read_short(repository, backup))


def read_short(repository: Repository, backup: BackupName) -> ShortManifest:
    """The manifest of ``backup`` without its file table. Raises as ``Catalog.read_manifest``."""
    name = layout.manifest(backup)
    sealed = repository.store.get(name)
    identity = Identity(repository.repository_id, name, ObjectKind.MANIFEST)
    decoder = FrameDecoder()
    text = b"".join(
        bytes(decoder.decode(plaintext, name, number).data)
        for number, plaintext in enumerate(unseal_object(identity, repository.backup_key(backup), sealed))
    )
    read = _parse(name, text)
    if read.backup != backup or read.repository_id != repository.repository_id:
        raise damaged(name, f"it says that it is the manifest of {read.backup}")
    return read


class _Fields(BaseModel):
    model_config = ConfigDict(frozen=True)

    repository_id: str
    shard: str
    label: str
    kind: str
    donor: Donor
    lsn: Lsn
    gtid: GtidBracket
    timings: Timings
    sizes: Sizes
    refers_to: tuple[Reference, ...] = ()
    base: Base | None = None
    built_on: str | None = None
    consolidates: str | None = None

    @property
    def backup(self) -> BackupName:
        return BackupName(self.shard, self.label)


class ShortManifest(_Fields):
    """The fields of a manifest but for ``directories``, ``index``, and ``files``, which are only counted."""

    files: int


class _Entry(TypedDict):
    """Nothing of a file: a table of thousands is most of a manifest, and its objects take longest to make."""


class _Read(_Fields):
    format: Any = None
    needs: Any = None
    files: list[_Entry]


def _parse(name: str, text: bytes) -> ShortManifest:
    try:
        read = _Read.model_validate_json(text)
        check_readable(name, {"format": read.format, "needs": read.needs})
    except ValidationError:
        # It says what is wrong, and whether a newer version wrote it.
        read = parse_document(_Read, name, text)
    fields: dict[str, Any] = {each: getattr(read, each) for each in ShortManifest.model_fields}
    return ShortManifest.model_construct(None, **{**fields, "files": len(read.files)})


def _outline(read: ShortManifest) -> Outline:
    summary = BackupSummary(
        shard=read.shard,
        label=read.label,
        kind=read.kind,
        started_at=read.timings.started_at,
        finished_at=read.timings.finished_at,
        proven=False,
        files=read.files,
        files_bytes=read.sizes.files_bytes,
        stored_bytes=read.sizes.stored_bytes,
        donor=read.donor.server_name,
        server_version=read.donor.version,
        gtid_high=read.gtid.high,
        gtid_low=read.gtid.low,
        base=read.base.label if read.base else None,
        built_on=read.built_on,
        consolidates=read.consolidates,
        refers=bool(read.refers_to),
    )
    base = [BackupName(read.shard, read.base.label)] if read.base else []
    return Outline(
        summary,
        read.lsn.checkpoint,
        read.base,
        base + [BackupName(each.shard, each.label) for each in read.refers_to],
        GtidSet.parse(read.gtid.low),
        GtidSet.parse(read.gtid.high),
    )
