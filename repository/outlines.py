"""What is kept in mind of a backup where a thousand are looked at, and which of them are whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from fleet.errors import ToolError
from fleet.gtid import GtidSet
from repository.catalog import BackupSummary, why_broken
from repository.layout import BackupName
from repository.manifest import Base
from repository.repository import Repository
from repository.shorts import ShortManifest, Shorts


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


def read_outlines(
    repository: Repository, names: Iterable[BackupName], shorts: Shorts | None = None
) -> Outlines:
    """The backups of these names, and of all that they name in turn, each asked for by its name.

    ``shorts`` reads them, for whoever looks at them once more. Raises what keeps us from asking the store,
    and ``Cancelled``.
    """
    shorts = shorts or Shorts()
    backups: dict[BackupName, Outline] = {}
    unreadable: dict[BackupName, ToolError] = {}
    missing: set[BackupName] = set()
    wanted = sorted(set(names))
    while wanted:
        for name, found in zip(wanted, shorts.read(repository, wanted), strict=True):
            if found is None:
                missing.add(name)
            elif isinstance(found, ShortManifest):
                backups[name] = _outline(found)
            else:
                unreadable[name] = found
        named = {need for name in wanted if name in backups for need in backups[name].needs}
        wanted = sorted(named - backups.keys() - unreadable.keys() - missing)
    return Outlines(backups, unreadable, frozenset(missing))


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
