"""Re-reading everything that a backup is made of, without MySQL: is every stored byte as it was written?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

from fleet.blocks import Stage
from fleet.clock import Clock, SystemClock
from fleet.errors import ObjectMissing
from repository import layout
from repository.catalog import Catalog
from repository.chain import Space, read_chain, space_of
from repository.index import PackRef, Record
from repository.layout import BackupName
from repository.manifest import FileEntry, IndexPartRef, Manifest
from repository.reader import BackupReader
from repository.repository import Repository
from repository.seal import Identity, ObjectKind, damaged, unseal_object
from repository.verify_journal import VerifyJournal
from repository.verify_pack import OwnerIndex, PackCheck, check_pack, unreadable_frames
from repository.verify_sample import Sample
from repository.verify_tally import DAMAGE, Damage, PageCheck, Suspect, Tally, VerifyProgress, each_once

__all__ = ["Damage", "Reading", "VerifyProgress", "VerifyReport", "each_once", "verify_backup"]

_MOST_NOTED_AT_DONOR = 1000
"""A manifest lists no more damaged pages; where it lists so many, there were perhaps others."""


@dataclass(frozen=True)
class Reading:
    """How backups are read in one run.

    ``pages`` checks the pages' own checksums. ``sample``: only these packs, and all else that is small.
    ``journal``: what an earlier run found sound is not read again. ``owners``: backups that are read in this
    run as well, so that who refers to a pack of theirs need not read it a second time. ``only``: of the packs
    no others than these.
    """

    threads: int = 2
    pages: PageCheck | None = None
    sample: Sample | None = None
    journal: VerifyJournal | None = None
    owners: OwnerIndex | None = None
    only: frozenset[str] | None = None
    clock: Clock = field(default_factory=SystemClock)


@dataclass(frozen=True)
class VerifyReport:
    """What was read, and all that was wrong. Sizes in bytes, as stored.

    ``pages`` had their checksums looked at, ``donor_pages`` of them are wrong because they were so when they
    were copied: the donor's damage, and not the repository's. ``lost``: the frames that cannot be read, by
    pack. ``pruned``: the backup was deleted while it was read.
    """

    shard: str
    label: str
    objects: int
    stored_bytes: int
    frames: int
    records: int
    damages: tuple[Damage, ...]
    pages: int
    donor_pages: int
    lost: Mapping[str, frozenset[int]]
    pruned: bool = False
    seconds: float = 0.0

    @property
    def backup(self) -> BackupName:
        return BackupName(self.shard, self.label)

    @property
    def is_sound(self) -> bool:
        return not self.damages


def verify_backup(
    repository: Repository,
    manifest: Manifest,
    progress: Callable[[VerifyProgress], None] | None = None,
    *,
    reading: Reading | None = None,
) -> VerifyReport:
    """Read keys, manifest, proofs, holds, mark, index parts and packs of one backup.

    Its own packs are read whole, those of other backups as far as its records name them, unless these are
    read in the same run. Of what it builds on, the manifests must be there and fit; the packs of an
    incremental's base are verified with the base. Damage is collected, each with the name of its object.
    Raises only what says nothing about the backup: ``StoreUnreachable``, ``StoreDenied``,
    ``KeyServiceUnreachable``.
    """
    reading = reading or Reading()
    start = reading.clock.monotonic()
    reader = BackupReader(repository, manifest)
    done = Tally()
    left = _Left(manifest, reading)

    def add(tally: Tally) -> None:
        done.add(tally)
        if progress:
            total = done.passed_bytes + left.after(done.passed_bytes)
            progress(VerifyProgress(done.passed_bytes, total, done.objects, len(done.damages)))

    for document in check_documents(repository, manifest):
        add(document)
    pool = ThreadPoolExecutor(reading.threads, thread_name_prefix="verify")
    try:
        for reference in manifest.index:
            for tally in _part(reader, reference, reading, pool):
                add(tally)
            left.records -= reference.records
        add(Tally())
    finally:
        pool.shutdown(cancel_futures=True)
    donor_pages, wrong = _judge_pages(reader, done.suspects)
    damages = each_once(sorted([*done.damages, *wrong], key=lambda damage: damage.name))
    pruned = bool(damages) and was_pruned(repository, manifest.backup)
    return VerifyReport(
        shard=manifest.shard,
        label=manifest.label,
        objects=done.objects,
        stored_bytes=done.stored_bytes,
        frames=done.frames,
        records=done.records,
        damages=() if pruned else damages,
        pages=done.pages,
        donor_pages=donor_pages,
        lost={} if pruned else done.lost,
        pruned=pruned,
        seconds=round(reading.clock.monotonic() - start, 3),
    )


def was_pruned(repository: Repository, backup: BackupName) -> bool:
    """Was the backup deleted as retention deletes? Its manifest is gone, and there is the sign of it, or no
    key is left. Raises what the store raises.
    """
    try:
        repository.store.stat(layout.manifest(backup))
    except ObjectMissing:
        pass
    else:
        return False
    try:
        repository.store.stat(layout.pruning_mark(backup))
    except ObjectMissing:
        return not any(repository.store.list(layout.wrapped_keys(backup)))
    return True


class _Left:
    """What is still to be read, as the manifest promises it; nothing at the end.

    What lies in packs of other backups is known in bytes of data alone, and mostly takes less; of a sample,
    the part is known. There it goes by the records, and becomes exact part by part.
    """

    def __init__(self, manifest: Manifest, reading: Reading) -> None:
        self._promised = promised_bytes(manifest, reading)
        self._is_exact = reading.sample is None and (reading.owners is not None or not manifest.refers_to)
        self._all = max(1, sum(part.records for part in manifest.index))
        self.records = sum(part.records for part in manifest.index)

    def after(self, passed_bytes: int) -> int:
        """Bytes that are left when so many were read, or tried."""
        if self._is_exact and self.records:
            return max(0, self._promised - passed_bytes)
        return round(self._promised * self.records / self._all)


def promised_bytes(manifest: Manifest, reading: Reading) -> int:
    """Bytes of the store that will be read of a backup; where packs of others are, more than that."""
    sizes = manifest.sizes
    whole = sizes.stored_bytes + (0 if reading.owners else sizes.referred_bytes)
    return round(whole * (reading.sample.fraction if reading.sample else 1))


def check_documents(repository: Repository, manifest: Manifest) -> Iterator[Tally]:
    """Wrapped keys, manifest, proofs, what retention says of the backup, and what it builds on, one by one.

    Damage is noted. Raises what says nothing about the backup.
    """
    catalog, backup = Catalog(repository), manifest.backup
    for info in repository.store.list(layout.wrapped_keys(backup)):
        key_id = layout.parse_key_id(info.key)
        if key_id in repository.keys.openers:
            tally = Tally()
            with tally.noting(info.key):
                repository.unwrap(backup, key_id)
            yield tally
    tally = Tally()
    with tally.noting(layout.manifest(backup)):
        if catalog.manifest(*backup) != manifest:
            raise damaged(layout.manifest(backup), "it is not the manifest that was read before")
    yield tally
    for info in repository.store.list(layout.proofs(backup)):
        tally = Tally()
        with tally.noting(info.key):
            catalog.proof(backup, info.key)
        yield tally
    small = [(info.key, ObjectKind.HOLD) for info in repository.store.list(layout.holds(backup))]
    mark = layout.expired_mark(backup)
    small += [(mark, ObjectKind.MARK) for info in repository.store.list(mark) if info.key == mark]
    for name, kind in small:
        tally = Tally()
        with tally.noting(name):
            _unseal(repository, backup, name, kind)
        yield tally
    yield _foundations(catalog, manifest)


def _unseal(repository: Repository, backup: BackupName, name: str, kind: ObjectKind) -> None:
    """All frames of a small object. What was deleted since it was listed is no damage."""
    identity = Identity(repository.repository_id, name, kind)
    try:
        data = repository.store.get(name)
    except ObjectMissing:
        return
    for _ in unseal_object(identity, repository.backup_key(backup), data):
        pass


def _foundations(catalog: Catalog, manifest: Manifest) -> Tally:
    """The manifests of all that the backup builds on, link by link."""
    tally = Tally()
    seen = {manifest.backup}
    waiting = [manifest]
    while waiting:
        for other in waiting.pop().foundations():
            if other not in seen:
                seen.add(other)
                with tally.noting(layout.manifest(other)):
                    waiting.append(catalog.read_manifest(other))
    if not tally.damages:
        try:
            read_chain(catalog, manifest)
        except DAMAGE as error:
            tally.damages.append(Damage(layout.manifest(manifest.backup), error.message))
    return tally


def _part(
    reader: BackupReader, reference: IndexPartRef, reading: Reading, pool: ThreadPoolExecutor
) -> Iterator[Tally]:
    """One index part, then all packs that it names."""
    name = layout.index_part(reader.manifest.backup, reference.number)
    journal = reading.journal
    if journal and (noted := journal.group(name)):
        yield noted.tally
        return
    whole = Tally()
    tally = Tally(passed_bytes=reference.size)
    jobs: list[Future[Tally]] = []
    steps: list[Tally] = [tally]
    with tally.noting(name):
        part = reader.index_part(reference)
        tally.stored_bytes = reference.size
        if reading.owners:
            reading.owners.note(reader.manifest.backup, reference, part)
        files = {entry.number: entry for entry in reader.manifest.files}
        check = PackCheck(reader, files, reading.pages)
        for pack, records in part.by_pack():
            if reading.sample and not reading.sample.takes(pack.name):
                continue
            if reading.only is not None and pack.name not in reading.only:
                continue
            compared = None
            if reading.owners and pack.backup != reader.manifest.backup:
                compared = reading.owners.compare(check, pack, records)
            if compared := compared or (journal and journal.object(name, pack.name)):
                steps.append(compared)
            else:
                jobs.append(pool.submit(_pack, check, pack, records, journal, name))
    for step in steps:
        whole.add(step)
        yield step
    for job in as_completed(jobs):
        whole.add(job.result())
        yield job.result()
    if journal and whole.is_clean:
        journal.note_group(name, whole)


def _pack(
    check: PackCheck, pack: PackRef, records: Sequence[Record], journal: VerifyJournal | None, group: str
) -> Tally:
    tally = check_pack(check, pack, records)
    if tally.damages:
        tally.lost[pack.name] = unreadable_frames(check.reader, pack, records)
    elif journal and tally.is_clean:
        journal.note_object(group, pack.name, tally)
    return tally


def _judge_pages(reader: BackupReader, suspects: Sequence[Suspect]) -> tuple[int, list[Damage]]:
    """How many of the pages the donor had damaged already, and what is wrong with the others.

    A page that was read while the donor wrote it came again in the page stage: what counts is that one.
    """
    if not suspects:
        return 0, []
    files = {entry.number: entry for entry in reader.manifest.files}
    anew = _came_again(reader, suspects, files)
    at_donor, is_all = _damaged_at_donor(reader)
    seen = 0
    wrong: dict[str, Damage] = {}
    for suspect in sorted(suspects):
        entry = files[suspect.file]
        if (suspect.file, suspect.page) in anew:
            continue
        if (*space_of(entry), suspect.page) in at_donor or not is_all:
            seen += 1
            continue
        problem = f"page {suspect.page} of {entry.name} has a wrong checksum, and was sealed with it"
        wrong.setdefault(suspect.pack, Damage(suspect.pack, problem))
    return seen, list(wrong.values())


def _came_again(
    reader: BackupReader, suspects: Iterable[Suspect], files: Mapping[int, FileEntry]
) -> set[tuple[int, int]]:
    pages = {(suspect.file, suspect.page) for suspect in suspects}
    wanted = {file for file, _ in pages}
    found: set[tuple[int, int]] = set()
    for reference in reader.manifest.index:
        try:
            part = reader.index_part(reference)
        except DAMAGE:
            continue  # told already
        for record in part.records(Stage.PAGE):
            if record.file in wanted and (size := files[record.file].page_size):
                first = record.offset // size
                again = range(first, first + record.length // size)
                found |= {(record.file, page) for page in again} & pages
    return found


def _damaged_at_donor(reader: BackupReader) -> tuple[set[tuple[int, int, int]], bool]:
    """What the manifests of the backup and of those that it refers to list, by space, and is that all?"""
    catalog = Catalog(reader.repository)
    found: set[tuple[int, int, int]] = set()
    is_all = True
    for backup in [None, *(BackupName(each.shard, each.label) for each in reader.manifest.refers_to)]:
        try:
            manifest = reader.manifest if backup is None else catalog.read_manifest(backup)
        except DAMAGE:
            continue
        spaces: dict[str, Space] = {
            entry.name: space_of(entry) for entry in manifest.files if entry.space_id is not None
        }
        found |= {(*spaces[page.file], page.page) for page in manifest.damaged_pages if page.file in spaces}
        is_all = is_all and len(manifest.damaged_pages) < _MOST_NOTED_AT_DONOR
    return found, is_all
