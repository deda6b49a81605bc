"""What a backup stands on: other backups whose packs it names, or whose pages it continues."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.errors import ObjectMissing
from repository import layout
from repository.chain import Chain
from repository.index import PackRef, Record
from repository.lane import FileTally
from repository.layout import BackupName
from repository.manifest import Manifest, Reference
from repository.repository import Repository


class Referred:
    """What a backup in the making refers to in packs of others, in bytes of the files' data."""

    def __init__(self) -> None:
        self.backups: set[BackupName] = set()
        self.tallies: dict[int, FileTally] = {}
        self.bytes = 0

    def add(self, pack: PackRef, records: Sequence[Record]) -> None:
        self.backups.add(pack.backup)
        for record in records:
            tally = self.tallies.get(record.file)
            if tally is None:
                tally = self.tallies[record.file] = FileTally()
            tally.add(record.stage, record.offset, record.offset + record.length)
            self.bytes += record.length

    def references(self) -> tuple[Reference, ...]:
        return tuple(Reference(shard=shard, label=label) for shard, label in sorted(self.backups))


def check_foundations(repository: Repository, manifest: Manifest) -> None:
    """Raise ``ObjectMissing`` if a backup that ``manifest`` builds on has no manifest any more.

    Asked right before the manifest is put: a base may have been removed while the backup ran.
    """
    built_on = [BackupName(manifest.shard, manifest.built_on)] if manifest.built_on else []
    for backup in dict.fromkeys(manifest.foundations() + built_on):
        try:
            repository.store.stat(layout.manifest(backup))
        except ObjectMissing as error:
            raise ObjectMissing(
                f"{backup}, which {manifest.backup} builds on, was removed while the backup ran",
                hint="Nothing was kept of it; take the backup again.",
            ) from error


def check_whole(repository: Repository, chain: Chain) -> None:
    """Raise ``ObjectMissing`` if a backup that a link of ``chain`` refers to has no manifest any more."""
    for link in chain.links:
        for backup in link.foundations():
            try:
                repository.store.stat(layout.manifest(backup))
            except ObjectMissing as error:
                raise ObjectMissing(
                    f"{backup}, in whose packs pages of {link.backup} lie, is not there",
                    hint="Without it this backup cannot be restored; take a full backup: --stored.",
                ) from error
