"""Re-reading everything that a backup is made of, without MySQL: is every stored byte as it was written?"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate, zip_longest

import xxhash

from fleet.errors import FormatUnsupported, KeyUnusable, NotFound, ObjectDamaged, ObjectMissing
from repository import layout
from repository.catalog import Catalog
from repository.chain import read_chain
from repository.index import PackRef, Record
from repository.manifest import IndexPartRef, Manifest
from repository.reader import BackupReader, Frame
from repository.repository import Repository
from repository.seal import damaged

_DAMAGE = (ObjectMissing, ObjectDamaged, FormatUnsupported, KeyUnusable, NotFound)


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong: the object's name, and what is wrong with it."""

    name: str
    problem: str


@dataclass(frozen=True)
class VerifyProgress:
    """How far it is, in bytes of stored objects. ``bytes_total`` is what the manifest promises.

    What lies in packs of other backups counts there as it is, so less may have to be read than that.
    """

    bytes_done: int
    bytes_total: int
    objects_done: int
    damages: int


@dataclass(frozen=True)
class VerifyReport:
    """What was read, and all that was wrong. Sizes in bytes, as stored."""

    shard: str
    label: str
    objects: int
    stored_bytes: int
    frames: int
    records: int
    damages: tuple[Damage, ...]

    @property
    def is_sound(self) -> bool:
        return not self.damages


def verify_backup(
    repository: Repository,
    manifest: Manifest,
    progress: Callable[[VerifyProgress], None] | None = None,
    *,
    threads: int = 2,
) -> VerifyReport:
    """Read keys, manifest, proofs, index parts and packs of one backup, packs in so many ``threads``.

    Its own packs are read whole, those of other backups as far as its records name them. Of what it builds
    on, the manifests must be there and fit; the packs of an incremental's base are verified with the base.
    Damage is collected, each with the name of its object. Raises only what says nothing about the backup:
    ``StoreUnreachable``, ``StoreDenied``, ``KeyServiceUnreachable``.
    """
    reader = BackupReader(repository, manifest)
    done = _Tally()

    def add(tally: _Tally) -> None:
        done.add(tally)
        if progress:
            promised = manifest.sizes.stored_bytes + manifest.sizes.referred_bytes
            total = max(promised, done.stored_bytes)
            progress(VerifyProgress(done.stored_bytes, total, done.objects, len(done.damages)))

    for document in _documents(repository, manifest):
        add(document)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="verify")
    try:
        for reference in manifest.index:
            for tally in _part(reader, reference, pool):
                add(tally)
    finally:
        pool.shutdown(cancel_futures=True)
    return VerifyReport(
        shard=manifest.shard,
        label=manifest.label,
        objects=done.objects,
        stored_bytes=done.stored_bytes,
        frames=done.frames,
        records=done.records,
        damages=each_once(sorted(done.damages, key=lambda damage: damage.name)),
    )


def each_once(damages: Iterable[Damage]) -> tuple[Damage, ...]:
    """The first of each object: several index parts name one pack, and several backups one base."""
    found: dict[str, Damage] = {}
    for damage in damages:
        found.setdefault(damage.name, damage)
    return tuple(found.values())


@dataclass
class _Tally:
    """What was read so far, or in one step."""

    objects: int = 0
    stored_bytes: int = 0
    frames: int = 0
    records: int = 0
    damages: list[Damage] = field(default_factory=list[Damage])

    def add(self, other: _Tally) -> None:
        self.objects += other.objects
        self.stored_bytes += other.stored_bytes
        self.frames += other.frames
        self.records += other.records
        self.damages += other.damages

    @contextmanager
    def noting(self, name: str) -> Generator[None]:
        """Count the object ``name``, and keep its damage instead of raising it."""
        self.objects += 1
        try:
            yield
        except _DAMAGE as error:
            self.damages.append(Damage(name, error.message))


def _documents(repository: Repository, manifest: Manifest) -> Iterator[_Tally]:
    """Wrapped keys, manifest and proofs."""
    catalog, backup = Catalog(repository), manifest.backup
    for info in repository.store.list(layout.wrapped_keys(backup)):
        key_id = layout.parse_key_id(info.key)
        if key_id in repository.keys.openers:
            tally = _Tally()
            with tally.noting(info.key):
                repository.unwrap(backup, key_id)
            yield tally
    tally = _Tally()
    with tally.noting(layout.manifest(backup)):
        if catalog.manifest(*backup) != manifest:
            raise damaged(layout.manifest(backup), "it is not the manifest that was read before")
    yield tally
    for info in repository.store.list(layout.proofs(backup)):
        tally = _Tally()
        with tally.noting(info.key):
            catalog.proof(backup, info.key)
        yield tally
    yield _foundations(catalog, manifest)


def _foundations(catalog: Catalog, manifest: Manifest) -> _Tally:
    """The manifests of all that the backup builds on, link by link."""
    tally = _Tally()
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
        except _DAMAGE as error:
            tally.damages.append(Damage(layout.manifest(manifest.backup), error.message))
    return tally


def _part(reader: BackupReader, reference: IndexPartRef, pool: ThreadPoolExecutor) -> Iterator[_Tally]:
    """One index part, then all packs that it names."""
    tally = _Tally(stored_bytes=reference.size)
    jobs: list[Future[_Tally]] = []
    with tally.noting(layout.index_part(reader.manifest.backup, reference.number)):
        part = reader.index_part(reference)
        sizes = {entry.number: entry.size for entry in reader.manifest.files}
        jobs += [pool.submit(_pack, reader, pack, records, sizes) for pack, records in part.by_pack()]
    yield tally
    for job in as_completed(jobs):
        yield job.result()


def _pack(reader: BackupReader, pack: PackRef, records: Sequence[Record], sizes: Mapping[int, int]) -> _Tally:
    is_own = pack.backup == reader.manifest.backup
    by_frame: dict[int, list[Record]] = {}
    for record in records:
        by_frame.setdefault(record.frame, []).append(record)
    spans = {record.span for record in records}
    stored_bytes = pack.size if is_own else sum(span.length for span in spans)
    tally = _Tally(stored_bytes=stored_bytes, records=len(records))
    compare = _compare if is_own else _compare_named
    with tally.noting(pack.name):
        size = reader.repository.store.stat(pack.name).size
        if size != pack.size:
            raise damaged(pack.name, f"it has {size} bytes, and the index says {pack.size}")
        for frame in reader.frames(pack, None if is_own else list(spans)):
            tally.frames += 1
            compare(pack, frame, by_frame.pop(frame.number, []), sizes)
        if by_frame:
            raise damaged(pack.name, f"the index names frame {min(by_frame)}, which it does not have")
    return tally


def _compare(pack: PackRef, frame: Frame, records: Sequence[Record], sizes: Mapping[int, int]) -> None:
    """Do the index's records of this frame say what the frame says? Raises ``ObjectDamaged``."""
    ordered = sorted(records, key=lambda record: record.skip)
    skip = 0
    for extent, record in zip_longest(frame.extents, ordered):
        if extent is None or record is None or record[:4] != (frame.stage, *extent) or record.skip != skip:
            raise damaged(pack.name, f"frame {frame.number} and its index records disagree")
        if record.span != frame.span:
            raise damaged(pack.name, f"frame {frame.number} does not stand where the index says")
        if xxhash.xxh3_128_digest(frame.data[skip : skip + extent.length]) != record.digest:
            raise damaged(pack.name, f"data in frame {frame.number} has not the digest of the index")
        if extent.offset + extent.length > sizes.get(extent.file, 2**64):
            raise damaged(
                pack.name, f"data in frame {frame.number} lies beyond the end of file {extent.file}"
            )
        skip += extent.length


def _compare_named(pack: PackRef, frame: Frame, records: Sequence[Record], sizes: Mapping[int, int]) -> None:
    """Does another backup's frame hold what the records say? They may name some of it, cut, and as another
    file of another stage; but where the bytes lie in their file is the same. Raises ``ObjectDamaged``.
    """
    ends = list(accumulate(extent.length for extent in frame.extents))
    for record in records:
        at = bisect_right(ends, record.skip)
        if record.span != frame.span or at == len(ends) or record.skip + record.length > ends[at]:
            raise damaged(pack.name, f"frame {frame.number} does not hold what the index says")
        extent = frame.extents[at]
        if record.offset - extent.offset != record.skip - (ends[at] - extent.length):
            raise damaged(
                pack.name,
                f"frame {frame.number} holds byte {extent.offset} of a file where the index says another",
            )
        data = frame.data[record.skip : record.skip + record.length]
        if record.digest and xxhash.xxh3_128_digest(data) != record.digest:
            raise damaged(pack.name, f"data in frame {frame.number} has not the digest of the index")
        if record.offset + record.length > sizes.get(record.file, 2**64):
            raise damaged(
                pack.name, f"data in frame {frame.number} lies beyond the end of file {record.file}"
            )
