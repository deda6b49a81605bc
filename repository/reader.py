"""Reading a backup: index parts, then frames by ranges of packs; all is checked before it is handed out.

Memory: one index part, and for each iteration over frames one range of a pack and one frame.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from fleet.blocks import Extent, Stage
from fleet.errors import ObjectMissing
from repository.codec import FrameDecoder
from repository.index import IndexPart, PackRef, decode_part, index_identity
from repository.layout import BackupName
from repository.manifest import IndexPartRef, Manifest
from repository.reduced import find_reduced
from repository.remainder import Held
from repository.repository import Repository
from repository.seal import (
    HEADER_BYTES,
    MAX_PLAINTEXT_BYTES,
    BackupKey,
    FrameOpener,
    FrameSpan,
    Identity,
    ObjectKind,
    damaged,
    parse_header,
    parse_length,
)

MIB = 1024 * 1024


class Frame(NamedTuple):
    """An unsealed frame of a pack: the bytes of ``extents``, one after the other.

    ``data`` is valid until the next frame is asked for. ``span`` is where the frame stands in the pack. Of a
    pack that was reduced ``held`` says which bytes are there: take them by ``cut``. Of such a frame
    ``extents`` are the pieces that are left, and ``span`` is known only if it was asked for.
    """

    number: int
    stage: Stage
    extents: tuple[Extent, ...]
    data: memoryview
    span: FrameSpan | None
    held: Held | None = None

    def cut(self, skip: int, length: int) -> memoryview:
        """``length`` bytes of ``data`` from ``skip`` on; fewer if it ends earlier.

        Raises ``ObjectMissing`` for bytes that were let go when the pack was reduced.
        """
        if self.held is not None and not self.held.holds(skip, length):
            raise ObjectMissing(
                f"{length} bytes at {skip} of frame {self.number} are not there: the backup that stored them "
                "has expired, and was reduced to what others refer to",
                hint="Restore a newer backup.",
            )
        return self.data[skip : skip + length]

    def places(self) -> Iterator[tuple[int, Extent]]:
        """The extents that are there, each with the place in ``data`` where its bytes begin."""
        if self.held is not None:
            yield from zip(self.held.skips, self.extents, strict=True)
            return
        skip = 0
        for extent in self.extents:
            yield skip, extent
            skip += extent.length


class Read(NamedTuple):
    """One ranged read and the frames in it, by offset. Bytes."""

    offset: int
    length: int
    spans: tuple[FrameSpan, ...]


class BackupReader:
    """Reads one backup, and what it refers to or builds on. Thread-safe; an iterator belongs to one thread.

    Frames that lie within ``gap_bytes`` of each other are fetched by one read of about ``read_bytes``.
    """

    def __init__(
        self,
        repository: Repository,
        manifest: Manifest,
        *,
        read_bytes: int = 16 * MIB,
        gap_bytes: int = MIB // 8,
    ) -> None:
        self.repository = repository
        self.manifest = manifest
        self._read_bytes = read_bytes
        self._gap_bytes = gap_bytes
        self._lock = threading.Lock()
        self._keys: dict[BackupName, BackupKey] = {}

    def index_parts(self) -> Iterator[IndexPart]:
        """All index parts, one at a time. Raises as ``index_part``."""
        return map(self.index_part, self.manifest.index)

    def index_part(self, reference: IndexPartRef, backup: BackupName | None = None) -> IndexPart:
        """The part of ``backup``, which may be another link of the chain; without it, of this backup.

        Raises ``ObjectMissing``, ``ObjectDamaged``, ``KeyUnusable`` and what the store raises.
        """
        backup = backup or self.manifest.backup
        identity = index_identity(self.repository.repository_id, backup, reference.number)
        data = self.repository.store.get(identity.name)
        if len(data) != reference.size:
            raise damaged(identity.name, f"it has {len(data)} bytes, and the manifest says {reference.size}")
        if hashlib.sha256(data).hexdigest() != reference.sha256:
            raise damaged(identity.name, "its SHA-256 is not the one in the manifest")
        part = decode_part(identity, self.backup_key(backup), data)
        if (len(part.packs), part.record_count) != (reference.packs, reference.records):
            raise damaged(identity.name, "it has more or fewer packs or records than the manifest says")
        return part

    def frames(self, pack: PackRef, spans: Sequence[FrameSpan] | None = None) -> Iterator[Frame]:
        """The frames at ``spans``, by offset, each once; all frames of the pack if that is None.

        A pack that is not there may have been reduced: then what is left of its frames is yielded. Raises
        ``ObjectMissing``, ``ObjectDamaged``, ``KeyUnusable`` and what the store raises.
        """
        yielded = 0
        try:
            for frame in self._frames(pack, spans):
                yield frame
                yielded += 1
        except ObjectMissing:
            reduced = find_reduced(self.repository, pack, partial(self.backup_key, pack.backup))
            if reduced is None:
                raise
            # What came from the pack itself was whole.
            left = None if spans is None else {span.number: span for span in _by_offset(spans)[yielded:]}
            for number, stage, extents, data, held in reduced.frames(left):
                if left is not None or number >= yielded:
                    yield Frame(number, stage, extents, data, left[number] if left else None, held)

    def _frames(self, pack: PackRef, spans: Sequence[FrameSpan] | None) -> Iterator[Frame]:
        opener = self._opener(pack)
        reads = self._all_reads(pack) if spans is None else self._reads(pack, spans)
        decoder = FrameDecoder()
        plaintext = bytearray(MAX_PLAINTEXT_BYTES)
        for span, sealed in reads:
            opened, _ = opener.open(span.number, sealed, plaintext)
            stage, extents, data = decoder.decode(opened, opener.name, span.number)
            if stage is None or not extents:
                raise damaged(opener.name, f"frame {span.number} holds no data of a file")
            yield Frame(span.number, stage, extents, data, span)

    def backup_key(self, backup: BackupName) -> BackupKey:
        """The key of this backup or of one that it refers to. Raises ``KeyUnusable``, ``ObjectMissing``."""
        with self._lock:
            if backup not in self._keys:
                self._keys[backup] = self.repository.backup_key(backup)
            return self._keys[backup]

    def _opener(self, pack: PackRef) -> FrameOpener:
        identity = Identity(self.repository.repository_id, pack.name, ObjectKind.PACK)
        return FrameOpener(identity, self.backup_key(pack.backup).unwrap(pack.wrapped_key, identity))

    def _reads(self, pack: PackRef, spans: Sequence[FrameSpan]) -> Iterator[tuple[FrameSpan, memoryview]]:
        for read in plan_reads(spans, self._read_bytes, self._gap_bytes):
            data = memoryview(self.repository.store.get_range(pack.name, read.offset, read.length))
            for span in read.spans:
                start = span.offset - read.offset
                yield span, data[start : start + span.length]

    def _all_reads(self, pack: PackRef) -> Iterator[tuple[FrameSpan, memoryview]]:
        """Every frame from the header on; whatever disagrees with ``pack`` is an error."""
        window = self._covering(pack, _Window(0, memoryview(b"")), 0, HEADER_BYTES)
        wrapped = parse_header(window.cut(0, HEADER_BYTES), Identity("", pack.name, ObjectKind.PACK))
        if wrapped != pack.wrapped_key:
            raise damaged(pack.name, "its data key is not the one in the index")
        offset, number, last = HEADER_BYTES, 0, False
        while not last:
            window = self._covering(pack, window, offset, 4)
            length, last = parse_length(pack.name, number, window.cut(offset, 4))
            window = self._covering(pack, window, offset, 4 + length)
            yield FrameSpan(number, offset, 4 + length), window.cut(offset, 4 + length)
            offset, number = offset + 4 + length, number + 1
        if (number, offset) != (pack.frames, pack.size):
            raise damaged(
                pack.name,
                f"its last frame is number {number - 1} and ends at byte {offset}; "
                f"the index says {pack.frames} frames and {pack.size} bytes",
            )

    def _covering(self, pack: PackRef, window: _Window, offset: int, length: int) -> _Window:
        """``window`` if the bytes are in it, else one that begins with them and goes on for a whole read."""
        if window.offset <= offset and offset + length <= window.end:
            return window
        rest = pack.size - offset
        if length > rest:
            raise damaged(pack.name, f"the bytes from {offset} on go beyond the {pack.size} of the index")
        # One read for all of a pack that is a little larger than the usual read.
        reach = rest if rest <= 2 * self._read_bytes else max(self._read_bytes, length)
        return _Window(offset, memoryview(self.repository.store.get_range(pack.name, offset, reach)))


class _Window(NamedTuple):
    """Bytes of an object from ``offset`` on."""

    offset: int
    data: memoryview

    @property
    def end(self) -> int:
        return self.offset + len(self.data)

    def cut(self, offset: int, length: int) -> memoryview:
        return self.data[offset - self.offset : offset - self.offset + length]


def plan_reads(spans: Iterable[FrameSpan], read_bytes: int, gap_bytes: int) -> Iterator[Read]:
    """Few reads that cover all ``spans``: neighbours join while gaps are small and the read stays small."""
    group: list[FrameSpan] = []
    start = end = 0
    for span in _by_offset(spans):
        after = span.offset + span.length
        if group and (span.offset - end > gap_bytes or after - start > read_bytes):
            yield Read(start, end - start, tuple(group))
            group = []
        if not group:
            start = end = span.offset
        group.append(span)
        end = max(end, after)
    if group:
        yield Read(start, end - start, tuple(group))


def _by_offset(spans: Iterable[FrameSpan]) -> list[FrameSpan]:
    return sorted(set(spans), key=lambda span: span.offset)
