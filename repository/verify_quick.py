"""Is all there, without reading data: keys open, chains are whole, objects have their sizes."""

from __future__ import annotations

from fleet.errors import ObjectMissing
from repository import layout
from repository.layout import BackupName
from repository.manifest import Manifest
from repository.reader import BackupReader
from repository.reduced import find_remainder
from repository.repository import Repository
from repository.seal import damaged
from repository.verify import VerifyReport, check_documents, was_pruned
from repository.verify_tally import Damage, Tally, each_once


def look_at_backup(repository: Repository, manifest: Manifest) -> VerifyReport:
    """Keys, manifest, proofs, holds, the chain's manifests, and one list of packs and index parts.

    Number and sizes are compared with the manifest's; where these disagree, the index says which object it
    is. ``objects`` of the report counts what was read or seen in the list, ``stored_bytes`` are those of the
    list. What the list does not show is asked for by name. Raises what says nothing about the backup.
    """
    done = Tally()
    for tally in check_documents(repository, manifest):
        done.add(tally)
    sizes = {info.key: info.size for info in repository.store.list(layout.packs_and_parts(manifest.backup))}
    parts = {layout.index_part(manifest.backup, part.number): part.size for part in manifest.index}
    for name, size in parts.items():
        with done.noting(name):
            done.stored_bytes += _check_size(repository, name, size, sizes.get(name))
    packs = {name: size for name, size in sizes.items() if layout.is_pack(name)}
    wanted = manifest.sizes.stored_bytes - sum(parts.values())
    if (len(packs), sum(packs.values())) == (manifest.sizes.packs, wanted):
        done.objects += len(packs)
        done.stored_bytes += wanted
    else:
        _look_closer(repository, manifest, packs, done)
    damages = each_once(sorted(done.damages, key=lambda damage: damage.name))
    pruned = bool(damages) and was_pruned(repository, manifest.backup)
    return VerifyReport(
        shard=manifest.shard,
        label=manifest.label,
        objects=done.objects,
        stored_bytes=done.stored_bytes,
        frames=0,
        records=0,
        damages=() if pruned else damages,
        pages=0,
        donor_pages=0,
        lost={},
        pruned=pruned,
    )


def look_at_rest(repository: Repository, manifest: Manifest) -> VerifyReport:
    """Of a backup that was reduced: its manifest, keys and index parts, and of each pack itself or what is
    left of it. Raises what says nothing about the backup.
    """
    done, backup = Tally(), manifest.backup
    for tally in check_documents(repository, manifest):
        done.add(tally)
    sizes = {info.key: info.size for info in repository.store.list(layout.packs_and_parts(backup))}
    there = {layout.parse_pack(name) for name in sizes}
    there |= {found[0] for name in sizes if (found := layout.parse_remainder(name))}
    for part in manifest.index:
        name = layout.index_part(backup, part.number)
        with done.noting(name):
            done.stored_bytes += _check_size(repository, name, part.size, sizes.get(name))
    for number in range(manifest.sizes.packs):
        with done.noting(layout.pack(backup, number)):
            if number not in there and find_remainder(repository.store, backup, number) is None:
                repository.store.stat(layout.pack(backup, number))
    damages = each_once(sorted(done.damages, key=lambda damage: damage.name))
    pruned = bool(damages) and was_pruned(repository, backup)
    return VerifyReport(
        shard=manifest.shard,
        label=manifest.label,
        objects=done.objects,
        stored_bytes=sum(sizes.values()),
        frames=0,
        records=0,
        damages=() if pruned else damages,
        pages=0,
        donor_pages=0,
        lost={},
        pruned=pruned,
    )


def _look_closer(repository: Repository, manifest: Manifest, packs: dict[str, int], done: Tally) -> None:
    """Number or sizes are not the manifest's: ask the index, part by part, which packs there should be."""
    reader = BackupReader(repository, manifest)
    before = len(done.damages)
    for reference in manifest.index:
        tally = Tally()
        with tally.noting(layout.index_part(manifest.backup, reference.number)):
            for pack in reader.index_part(reference).packs:
                if pack.backup == manifest.backup:
                    with done.noting(pack.name):
                        listed = packs.pop(pack.name, None)
                        done.stored_bytes += _check_size(repository, pack.name, pack.size, listed)
        done.damages += tally.damages
    if len(done.damages) == before and not packs:
        _check_sums(manifest, done)


def _check_sums(manifest: Manifest, done: Tally) -> None:
    """All that the index names is there, and the manifest says otherwise, or a list was behind."""
    listed = done.stored_bytes
    if listed != manifest.sizes.stored_bytes:
        name = layout.manifest(manifest.backup)
        problem = f"it says {manifest.sizes.stored_bytes:,} bytes are stored, and the index {listed:,}"
        done.damages.append(Damage(name, problem))


def _check_size(repository: Repository, name: str, wanted: int, listed: int | None) -> int:
    """The size. Raises ``ObjectMissing``, ``ObjectDamaged``."""
    size = repository.store.stat(name).size if listed is None else listed
    if size != wanted:
        raise damaged(name, f"it has {size} bytes, and {wanted} were stored")
    return size


def lost_manifests(repository: Repository, shard: str | None = None) -> tuple[Damage, ...]:
    """Manifests that were there and are not: a restore of the backup was proven, and nobody deleted it."""
    prefix = layout.PROOFS if shard is None else f"{layout.PROOFS}{shard}/"
    proofs = (layout.parse_proof(info.key) for info in repository.store.list(prefix))
    found: dict[BackupName, Damage] = {}
    for backup in {proof[0] for proof in proofs if proof}:
        name = layout.manifest(backup)
        try:
            repository.store.stat(name)
        except ObjectMissing:
            if not was_pruned(repository, backup):
                found[backup] = Damage(name, "it is not there, and a restore of that backup was proven")
    return tuple(damage for _, damage in sorted(found.items()))
