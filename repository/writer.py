"""Writing a backup: lanes fill packs, packs are put, index parts follow them, and the manifest comes last.

The order is that of FORMAT.md, section 3; whatever dies in between leaves leftovers, and never half a backup.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self

from fleet.clock import Clock
from fleet.errors import Cancelled, ObjectDamaged, ToolError
from repository import layout
from repository.buffers import PackBuffers
from repository.claim import claim_label
from repository.codec import encode_document
from repository.crew import Crew
from repository.foundations import Referred, check_foundations
from repository.index import (
    MAX_PACKS_PER_PART,
    IndexBuilder,
    PackRecords,
    PackRef,
    Record,
    count_records,
    encode_part,
    index_identity,
    pack_records,
)
from repository.lane import Lane, LaneWork, OpenPack, check_tallies
from repository.layout import BackupName
from repository.locks import prolong_foundations
from repository.manifest import (
    INCREMENTAL,
    REFERRING,
    BackupFacts,
    IndexPartRef,
    Manifest,
    Needs,
    Sizes,
    Timings,
)
from repository.repository import Repository, tool_version
from repository.seal import (
    FRAME_OVERHEAD_BYTES,
    HEADER_BYTES,
    KEY_BYTES,
    MAX_PLAINTEXT_BYTES,
    BackupKey,
    Identity,
    ObjectKind,
    ObjectSealer,
    seal_object,
)
from repository.stores.interface import Buffer

_LARGEST_FRAME_BYTES = MAX_PLAINTEXT_BYTES + FRAME_OVERHEAD_BYTES
_LARGEST_PACK_BYTES = 2**32 - _LARGEST_FRAME_BYTES


class UploadParallelism(Protocol):
    """What the writer must know of ``fleet.parallelism.Parallelism``."""

    @property
    def upload_threads(self) -> int: ...


@dataclass(frozen=True)
class WriterStatistics:
    """What was done so far. ``compressed_bytes`` is before sealing, ``stored_bytes`` is confirmed.

    ``cpu_seconds``: ``compress``, ``seal`` (extents hashed), ``store`` (packs hashed and put).
    """

    received_bytes: int
    compressed_bytes: int
    stored_bytes: int
    packs: int
    index_parts: int
    records: int
    cpu_seconds: Mapping[str, float]


def begin_backup(
    repository: Repository,
    shard: str,
    kind: str,
    *,
    parallelism: UploadParallelism,
    pack_size: int,
    level: int,
    clock: Clock,
    packs_per_part: int = MAX_PACKS_PER_PART,
    at: datetime | None = None,
) -> BackupWriter:
    """Claim a label for a backup of ``shard`` (``kind``: ``full``, ``incremental``) and start to write it.

    ``pack_size`` in bytes: a pack is finished when it has reached it. ``level`` is zstd's. The label is of
    the second ``at`` if that is given, as for what is made of an older backup, or of the next free one.
    Raises ``KeyUnusable``, ``FormatUnsupported``, ``UsageError`` and what the store raises.
    """
    repository.check_may("write")
    if not 0 < pack_size <= _LARGEST_PACK_BYTES:
        raise ValueError(f"a pack of {pack_size} bytes is beyond the format's limits")
    key = secrets.token_bytes(KEY_BYTES)
    started_at = clock.now()
    backup = claim_label(repository, layout.check_name("shard", shard), kind, key, at or started_at)
    return BackupWriter(
        repository,
        backup,
        BackupKey(key),
        started_at=started_at,
        kind=kind,
        upload_threads=parallelism.upload_threads,
        pack_size=pack_size,
        level=level,
        clock=clock,
        packs_per_part=packs_per_part,
    )


class BackupWriter:
    """A backup in the making: ``complete`` it or ``abandon`` it; leaving it as a context does the latter."""

    def __init__(
        self,
        repository: Repository,
        backup: BackupName,
        key: BackupKey,
        *,
        started_at: datetime,
        kind: str,
        upload_threads: int,
        pack_size: int,
        level: int,
        clock: Clock,
        packs_per_part: int,
    ) -> None:
        self.backup = backup
        self._repository = repository
        self._key = key
        self._started_at = started_at
        self._kind = kind
        self._pack_size = pack_size
        self._level = level
        self._clock = clock
        self._uploads = Crew(upload_threads, name="upload")
        self._buffers = PackBuffers(HEADER_BYTES + pack_size + _LARGEST_FRAME_BYTES)
        # Not the lanes: they hold the writer, and much memory.
        self._work: list[LaneWork] = []
        # Lanes and uploads meet below here. Reentrant, for a signal handler may abandon.
        self._lock = threading.RLock()
        self._index = IndexBuilder(packs_per_part)
        self._referred = Referred()
        self._parts: list[IndexPartRef] = []
        self._next_pack = 0
        self._next_part = 0
        self._packs = 0
        self._stored_bytes = 0
        self._store_seconds = 0.0
        self._manifest_begun = False
        self._is_over = False

    @property
    def label(self) -> str:
        return self.backup.label

    def open_lane(self) -> Lane:
        """A way into the backup for one compressing thread."""
        lane = Lane(self._level, self._pack_size, self._uploads.check, self._open_pack, self._hand_over)
        with self._lock:
            self._work.append(lane.work)
        return lane

    def refer(self, pack: PackRef, records: Sequence[Record]) -> None:
        """``records``, by file numbers of this backup, lie in a pack of another; ``Record.pack`` is ignored.

        For a full, after the lanes are closed; the same pack may come again. Raises as ``Lane.add`` does.
        """
        self._check_lanes()
        if self._kind == INCREMENTAL or pack.backup == self.backup:
            raise ValueError(f"{self.backup} cannot refer to {pack.name}")
        self._uploads.drain()
        with self._lock:
            self._referred.add(pack, records)
            self._index.add(pack, pack_records(records))
        self._flush_index(even_if_not_full=False)

    def complete(
        self,
        facts: BackupFacts,
        *,
        seconds: Mapping[str, float] | None = None,
        unchanged_bytes: int = 0,
        skipped_bytes: int = 0,
        last_check: Callable[[], None] | None = None,
    ) -> Manifest:
        """Wait for all uploads, then put the manifest: from then on the backup exists.

        Every lane must be closed. ``seconds`` are wall seconds by stage. ``unchanged_bytes`` arrived and were
        not stored, ``skipped_bytes`` did not even arrive. Of ``facts``, ``refers_to`` is found here.
        ``last_check`` is called right before the manifest is put, and may raise. Raises
        ``ProtocolViolation`` if more data arrived than the files can hold, ``Cancelled`` if it was abandoned,
        ``ObjectMissing`` if a backup that it builds on is gone, and what the store raises: ``abandon`` then.
        """
        self._check_lanes()
        self._uploads.drain()
        self._flush_index(even_if_not_full=True)
        check_tallies(facts.files, [each.tallies for each in self._work] + [self._referred.tallies])
        manifest = self._manifest(
            facts, seconds or {}, unchanged_bytes=unchanged_bytes, skipped_bytes=skipped_bytes
        )
        prolong_foundations(self._repository, manifest, self._clock.now())
        check_foundations(self._repository, manifest)
        if last_check is not None:
            last_check()
        identity = Identity(manifest.repository_id, layout.manifest(self.backup), ObjectKind.MANIFEST)
        document = encode_document(manifest.model_dump_json().encode(), self._level)
        with self._lock:
            if self._is_over:
                raise self._cancelled()
            self._manifest_begun = True
        self._put(identity.name, seal_object(identity, self._key, document))
        self._is_over = True
        self._uploads.stop(ValueError("the backup is complete"))
        return manifest

    def abandon(self, *, grace_seconds: float = 10.0) -> None:
        """Stop, and remove what was stored as far as that works within ``grace_seconds``. Never hangs.

        Fine from any state, any thread and a signal handler; after ``complete`` it does nothing. Lanes that
        wait get ``Cancelled``. What cannot be removed in time is left to prune.
        """
        with self._lock:
            may_remove = not self._manifest_begun and not self._is_over
            self._is_over = True
        self._uploads.stop(self._cancelled())
        # A put of the manifest that failed may have been heard: then this is a backup, and its data stays.
        if not may_remove:
            return
        deadline = time.monotonic() + grace_seconds
        if self._uploads.wait_idle(grace_seconds):
            removal = threading.Thread(target=self._remove_leftovers, name="abandon", daemon=True)
            removal.start()
            removal.join(max(0.0, deadline - time.monotonic()))

    def statistics(self) -> WriterStatistics:
        """Fine at any time, from any thread."""
        spent = [each.spent for each in self._work]
        with self._lock:
            return WriterStatistics(
                received_bytes=sum(each.received_bytes for each in spent),
                compressed_bytes=sum(each.compressed_bytes for each in spent),
                stored_bytes=self._stored_bytes,
                packs=self._packs,
                index_parts=len(self._parts),
                records=sum(part.records for part in self._parts),
                cpu_seconds={
                    "compress": sum(each.compress_seconds for each in spent),
                    "seal": sum(each.seal_seconds for each in spent),
                    "store": self._store_seconds,
                },
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abandon()

    def _check_lanes(self) -> None:
        self._uploads.check()
        if not all(each.is_closed for each in self._work):
            raise ValueError("a lane is still open")

    def _cancelled(self) -> Cancelled:
        return Cancelled(f"backup {self.backup} was abandoned")

    def _open_pack(self) -> OpenPack:
        with self._lock:
            number = self._next_pack
            self._next_pack += 1
        identity = Identity(self._repository.repository_id, layout.pack(self.backup, number), ObjectKind.PACK)
        buffer = self._buffers.take()
        return OpenPack(number, buffer, ObjectSealer(identity, self._key, buffer), PackRecords())

    def _hand_over(self, pack: OpenPack) -> None:
        self._uploads.submit(lambda: self._store_pack(pack))

    def _store_pack(self, pack: OpenPack) -> None:
        view = pack.sealer.view()
        sha256 = self._put(layout.pack(self.backup, pack.number), view)
        reference = PackRef(
            shard=self.backup.shard,
            label=self.backup.label,
            number=pack.number,
            size=len(view),
            sha256=sha256.hex(),
            frames=pack.sealer.frames,
            data_key=base64.b64encode(pack.sealer.wrapped_key).decode(),
        )
        self._buffers.give_back(pack.buffer)
        with self._lock:
            self._packs += 1
            self._index.add(reference, pack.records.rows)
        self._flush_index(even_if_not_full=False)

    def _flush_index(self, *, even_if_not_full: bool) -> None:
        with self._lock:
            part = self._index.take() if even_if_not_full or self._index.is_full else None
            if part is None:
                return
            number = self._next_part
            self._next_part += 1
        packs, rows = part
        identity = index_identity(self._repository.repository_id, self.backup, number)
        sealed = seal_object(identity, self._key, encode_part(packs, rows, self._level))
        sha256 = self._put(identity.name, sealed)
        reference = IndexPartRef(
            number=number,
            size=len(sealed),
            sha256=sha256.hex(),
            packs=len(packs),
            records=count_records(rows),
        )
        with self._lock:
            self._parts.append(reference)

    def _put(self, name: str, data: Buffer) -> bytes:
        """Put an object, confirmed, and return its SHA-256."""
        started = time.thread_time()
        sha256 = hashlib.sha256(data).digest()
        stored = self._repository.store.put(name, data, sha256=sha256)
        if stored.size != len(data) or stored.sha256 not in {None, sha256}:
            raise ObjectDamaged(
                f"{name}: {len(data)} bytes were sent, but the store confirms {stored.size} or other content",
                hint="The backup was not completed; look at the store before the next one.",
            )
        with self._lock:
            self._stored_bytes += stored.size
            self._store_seconds += time.thread_time() - started
        return sha256

    def _manifest(
        self, facts: BackupFacts, seconds: Mapping[str, float], *, unchanged_bytes: int, skipped_bytes: int
    ) -> Manifest:
        done = self.statistics()
        features = {INCREMENTAL: self._kind == INCREMENTAL, REFERRING: bool(self._referred.backups)}
        known: dict[str, Any] = {name: getattr(facts, name) for name in BackupFacts.model_fields}
        known["refers_to"] = self._referred.references()
        return Manifest(
            **known,
            needs=Needs(read=tuple(name for name, is_needed in features.items() if is_needed)),
            repository_id=self._repository.repository_id,
            shard=self.backup.shard,
            label=self.backup.label,
            kind=self._kind,
            created_by=tool_version(),
            index=tuple(sorted(self._parts, key=lambda part: part.number)),
            timings=Timings(
                started_at=self._started_at,
                finished_at=self._clock.now(),
                seconds=dict(seconds),
                cpu_seconds=dict(done.cpu_seconds),
            ),
            sizes=Sizes(
                files_bytes=sum(entry.size for entry in facts.files),
                received_bytes=done.received_bytes + unchanged_bytes,
                stored_bytes=done.stored_bytes,
                packs=done.packs,
                records=done.records,
                unchanged_bytes=unchanged_bytes,
                skipped_bytes=skipped_bytes,
                referred_bytes=self._referred.bytes,
            ),
        )

    def _remove_leftovers(self) -> None:
        # The wrapped key goes last: as long as it is there, nobody takes the label for another backup.
        names = [layout.index_part(self.backup, number) for number in range(self._next_part)]
        names += [layout.pack(self.backup, number) for number in range(self._next_pack)]
        names.append(layout.wrapped_key(self.backup, self._repository.keys.primary.key_id))
        with suppress(ToolError):
            for name in names:
                self._repository.store.delete(name)
