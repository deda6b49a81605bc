"""Index parts: which frame of which pack holds which extents (FORMAT.md, section 7). Pure: no store.

Records are kept as the 56 bytes that the format gives them, so a part in the making costs what it weighs.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import xxhash
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fleet.blocks import Extent, Stage
from repository import layout
from repository.codec import FrameDecoder, FrameEncoder, encode_alone
from repository.layout import BackupName
from repository.seal import BackupKey, FrameSpan, Identity, ObjectKind, damaged, unseal_object

RECORD_BYTES = 56
MAX_PACKS_PER_PART = 512
MAX_RECORDS_PER_PART = 2**18
"""Either limit flushes a part: 14 MiB of records at most, and one pack's more."""

_RECORD = struct.Struct(">BBHIQIIIIII16s")
_PACK_FIELD = range(20, 24)
_RECORDS_PER_FRAME = 18_724
_STAGES = {stage.value: stage for stage in Stage}
_DIGEST_UNKNOWN = 1
_NO_DIGEST = bytes(16)


class Record(NamedTuple):
    """One extent and where it lies. Offsets and lengths in bytes.

    ``pack`` is a position in the part's ``packs``. ``frame_offset`` and ``frame_length`` say where the frame
    stands in the pack, its u32 length included; ``skip`` where the extent begins in the frame's data.
    ``digest`` is the XXH3-128 of the extent's bytes, big endian; empty if it is not known.
    """

    stage: Stage
    file: int
    offset: int
    length: int
    pack: int
    frame: int
    frame_offset: int
    frame_length: int
    skip: int
    digest: bytes

    @property
    def span(self) -> FrameSpan:
        return FrameSpan(self.frame, self.frame_offset, self.frame_length)


# As Record._make, without a check that costs as much as the rest: a shard has millions of records.
_record = cast("Callable[[tuple[Any, ...]], Record]", partial(tuple.__new__, Record))


class PackRef(BaseModel):
    """A stored pack, as an index part names it."""

    model_config = ConfigDict(frozen=True)

    shard: str = Field(description="Shard of the backup that owns the pack.")
    label: str = Field(description="Label of the backup that owns the pack.")
    number: int = Field(ge=0, description="Number of the pack in its backup.")
    size: int = Field(ge=0, description="Size of the stored object in bytes.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the stored object, in hex.")
    frames: int = Field(ge=1, description="How many frames the pack has.")
    data_key: str = Field(description="The wrapped data key of the pack's header, in base64.")

    @property
    def backup(self) -> BackupName:
        return BackupName(self.shard, self.label)

    @property
    def name(self) -> str:
        """The object's name in the store."""
        return layout.pack(self.backup, self.number)

    @property
    def wrapped_key(self) -> bytes:
        return base64.b64decode(self.data_key)


class PackRecords:
    """The records of one pack while it is filled; which position the pack gets is set later."""

    def __init__(self) -> None:
        self.rows = bytearray()

    def add(self, stage: Stage, extents: Sequence[Extent], data: memoryview, span: FrameSpan) -> None:
        """Record that the frame at ``span`` holds ``extents``, whose bytes are ``data``."""
        skip = 0
        rows = self.rows
        for file, offset, length in extents:
            digest = xxhash.xxh3_128_digest(data[skip : skip + length])
            rows += _RECORD.pack(stage, 0, 0, file, offset, length, 0, *span, skip, digest)
            skip += length


def pack_records(records: Iterable[Record]) -> bytearray:
    """The rows of ``records``; which position their pack gets is set later."""
    rows = bytearray()
    for stage, file, offset, length, _, *place, digest in records:
        flags = 0 if digest else _DIGEST_UNKNOWN
        rows += _RECORD.pack(stage, flags, 0, file, offset, length, 0, *place, digest or _NO_DIGEST)
    return rows


class IndexBuilder:
    """Gathers confirmed packs until a part is full. Not thread-safe."""

    def __init__(self, max_packs: int, max_records: int = MAX_RECORDS_PER_PART) -> None:
        self._max_packs = max_packs
        self._max_bytes = max_records * RECORD_BYTES
        self._packs: dict[str, tuple[int, PackRef]] = {}
        self._rows = bytearray()

    def add(self, pack: PackRef, rows: bytearray) -> None:
        """Take over records of a pack; ``rows`` must not be used again."""
        count = count_records(rows)
        position, _ = self._packs.setdefault(pack.name, (len(self._packs), pack))
        for at, byte in zip(_PACK_FIELD, position.to_bytes(4, "big"), strict=True):
            rows[at::RECORD_BYTES] = bytes((byte,)) * count
        self._rows += rows

    @property
    def is_full(self) -> bool:
        return len(self._packs) >= self._max_packs or len(self._rows) >= self._max_bytes

    def take(self) -> tuple[list[PackRef], bytearray] | None:
        """What was gathered since the last time, or None if that is nothing."""
        if not self._packs:
            return None
        taken = [pack for _, pack in self._packs.values()], self._rows
        self._packs, self._rows = {}, bytearray()
        return taken


class IndexPart:
    """One part as a reader sees it."""

    def __init__(self, name: str, packs: tuple[PackRef, ...], rows: Sequence[bytes]) -> None:
        self.name = name
        self.packs = packs
        self._rows = rows

    @property
    def record_count(self) -> int:
        return sum(map(count_records, self._rows))

    @property
    def stages(self) -> frozenset[Stage]:
        """Those that the part has records of; found without looking at each."""
        met = {number for rows in self._rows for number in set(rows[::RECORD_BYTES])}
        return frozenset(stage for number, stage in _STAGES.items() if number in met)

    def records(self, wanted: Stage | None = None) -> Iterator[Record]:
        """All records, or those of one stage, in the order of the part. Raises ``ObjectDamaged``."""
        packs = len(self.packs)
        for rows in self._rows:
            for row in _RECORD.iter_unpack(rows):
                if row[1] | row[2] or row[0] not in _STAGES or row[6] >= packs:
                    row = self._without_digest(row)  # noqa: PLW2901 - the same row, as it is meant
                if wanted is None or row[0] == wanted:
                    yield _record((_STAGES[row[0]], *row[3:]))

    def _without_digest(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """An unusual row, if all that is unusual is that it has no digest. Raises ``ObjectDamaged``."""
        stage, flags, zero, _, _, _, pack, *_, digest = row
        is_known = stage in _STAGES and not zero and pack < len(self.packs)
        if not is_known or flags != _DIGEST_UNKNOWN or digest != _NO_DIGEST:
            raise damaged(self.name, f"a record of stage {stage}, flags {flags}, pack {pack}")
        return (*row[:-1], b"")

    def by_pack(self) -> Iterator[tuple[PackRef, list[Record]]]:
        """Each pack of the part with its records. Raises ``ObjectDamaged``."""
        sorted_out: list[list[Record]] = [[] for _ in self.packs]
        for record in self.records():
            sorted_out[record.pack].append(record)
        yield from zip(self.packs, sorted_out, strict=True)


def count_records(rows: bytes | bytearray) -> int:
    return len(rows) // RECORD_BYTES


class _Head(BaseModel):
    packs: tuple[PackRef, ...]


def index_identity(repository_id: str, backup: BackupName, number: int) -> Identity:
    return Identity(repository_id, layout.index_part(backup, number), ObjectKind.INDEX_PART)


def encode_part(packs: Sequence[PackRef], rows: bytearray, level: int) -> list[memoryview]:
    """The plaintexts of the frames of an index part."""
    encoder = FrameEncoder(level)
    head = _Head(packs=tuple(packs)).model_dump_json().encode()
    frames = [encode_alone(encoder, head)]
    step = _RECORDS_PER_FRAME * RECORD_BYTES
    view = memoryview(rows)
    frames += [encode_alone(encoder, view[at : at + step]) for at in range(0, len(rows), step)]
    return frames


def decode_part(identity: Identity, backup_key: BackupKey, data: bytes) -> IndexPart:
    """Unseal and check a whole part. Raises ``ObjectDamaged``, naming it."""
    decoder = FrameDecoder()
    frames = [
        bytes(decoder.decode(plaintext, identity.name, number).data)
        for number, plaintext in enumerate(unseal_object(identity, backup_key, data))
    ]
    try:
        head = _Head.model_validate_json(frames[0])
    except ValidationError as error:
        raise damaged(
            identity.name, f"its list of packs is malformed ({error.error_count()} faults)"
        ) from error
    if any(len(rows) % RECORD_BYTES for rows in frames[1:]):
        raise damaged(identity.name, "a frame does not hold whole records")
    return IndexPart(identity.name, head.packs, frames[1:])
