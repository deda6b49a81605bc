"""What a backup stands on: other backups whose packs it names, or whose pages it continues."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.errors import ObjectMissing
from repository import layout
from repository.catalog import Catalog
from repository.chain import Chain
from repository.index import PackRef, Record
from repository.lane import FileTally
from repository.layout import BackupName
from repository.manifest import Manifest, Reference
from repository.repository import Repository, is_there
from repository.seal import damaged

_GONE_HINT = (
    "What rests on it cannot be restored; take a full backup: --stored. Or put it back from another copy of "
    "the repository. `backstay verify` tells what is missing."
)


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
    """Raise ``ObjectMissing`` if a backup that ``manifest`` builds on has no manifest any more, or is to go.

    Asked right before the manifest is put: a base may have been removed while the backup ran. Who deletes it
    says so an hour before, and looks again then (FORMAT.md, section 14, rule 7).
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
        if is_there(repository.store, layout.pruning_mark(backup)):
            raise _is_going(backup, manifest)
    base = [BackupName(manifest.shard, manifest.base.label)] if manifest.base else []
    # Who only refers to one that shrinks names bytes that others name too, and they stay.
    for backup in base + built_on:
        marks = (layout.reducing_mark(backup), layout.reduced_mark(backup))
        if any(is_there(repository.store, mark) for mark in marks):
            raise _is_going(backup, manifest)


def _is_going(backup: BackupName, manifest: Manifest) -> ObjectMissing:
    return ObjectMissing(
        f"{backup}, which {manifest.backup} builds on, is about to be pruned",
        hint="Nothing was kept of it; take the backup again: it will build on another one.",
    )


def check_whole(repository: Repository, chain: Chain) -> None:
    """Raise unless all is there that ``chain`` rests on.

    Of each link, and of each backup that a link refers to: its manifest, every index part with its size, and
    as many packs as it wrote; of one that is referred to, what is left of them. One list for each backup: no
    pack and no index part is read, and nothing grows with the number of packs. Raises ``ObjectMissing``,
    ``ObjectDamaged``, ``KeyUnusable``, ``FormatUnsupported`` and what the store raises.
    """
    looked_at = {link.backup for link in chain.links}
    for link in chain.links:
        _check_objects(repository, link)
    for link in chain.links:
        for backup in link.foundations():
            if backup not in looked_at:
                looked_at.add(backup)
                _check_objects(repository, _referred_to(repository, backup, link), whole=False)


def _referred_to(repository: Repository, backup: BackupName, link: Manifest) -> Manifest:
    try:
        return Catalog(repository).read_manifest(backup)
    except ObjectMissing as error:
        raise ObjectMissing(
            f"{backup}, in whose packs pages of {link.backup} lie, is not there", hint=_GONE_HINT
        ) from error


def _check_objects(repository: Repository, manifest: Manifest, *, whole: bool = True) -> None:
    backup = manifest.backup
    awaited = {layout.index_part(backup, part.number): part.size for part in manifest.index}
    packs = 0
    # Sorted by name, all packs come before the first remainder.
    reduced = -1
    for info in repository.store.list(layout.packs_and_parts(backup)):
        size = awaited.pop(info.key, info.size)
        if size != info.size:
            raise damaged(info.key, f"it has {info.size} bytes, and the manifest says {size}")
        packs += layout.is_pack(info.key)
        remainder = layout.parse_remainder(info.key)
        if remainder and remainder[0] != reduced:
            reduced = remainder[0]
            packs += not whole
    if whole and reduced >= 0 and packs < manifest.sizes.packs:
        raise ObjectMissing(
            f"{backup} has expired, and only what other backups refer to is left of it",
            hint="Restore a newer backup; `backstay backup list` tells which there are.",
        )
    if awaited:
        raise ObjectMissing(f"{min(awaited)}, an index part of {backup}, is not there", hint=_GONE_HINT)
    if packs < manifest.sizes.packs:
        raise ObjectMissing(
            f"{backup} wrote {manifest.sizes.packs:,} packs, and {packs:,} are there", hint=_GONE_HINT
        )
