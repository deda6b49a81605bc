"""A segment object: header, transaction index, then the events (FORMAT.md, section 10). Pure: no store.

Header and index stand in front, so a ranged read of the front tells all but the events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fleet.gtid import GtidSet
from fleet.transaction import Transaction
from repository import layout
from repository.archive import columns
from repository.archive.columns import ColumnsMalformedError, TransactionColumns
from repository.codec import FrameDecoder, FrameEncoder, encode_alone
from repository.layout import BinlogFile, SegmentName
from repository.manifest import GtidText, parse_document
from repository.seal import (
    FORMAT_NUMBER,
    FRAME_OVERHEAD_BYTES,
    HEADER_BYTES,
    BackupKey,
    FrameOpener,
    Identity,
    ObjectKind,
    damaged,
    parse_header,
    parse_length,
    seal_object,
)

MAGIC = b"\xfebin"
FRAME_BYTES = 1024 * 1024
"""Index and events are cut into frames of this size."""

Closed: TypeAlias = Literal["rotate", "stop", "torn"]


class SegmentDraft(NamedTuple):
    """What the one who received the events knows.

    ``data``: whole events, in plain, the file's bytes from ``start`` on; from 0 they begin with the magic
    number. ``closed``: how the file ends here, None if it does not, or nobody knows yet. ``previous_gtids``:
    of the file. ``gtids_before``: executed at ``start``. ``transactions``: those that end in ``data``, in
    order; the first may begin before ``start``.
    """

    file: BinlogFile
    start: int
    data: bytes | bytearray | memoryview
    closed: Closed | None
    previous_gtids: GtidSet
    gtids_before: GtidSet
    transactions: Sequence[Transaction]


class SegmentHeader(BaseModel):
    """What a segment says of itself. Positions are bytes of the file, times microseconds since 1970."""

    model_config = ConfigDict(frozen=True)

    format: int = Field(default=FORMAT_NUMBER, description="Number of the format.")
    epoch: int = Field(description="The epoch it belongs to.")
    server_uuid: str = Field(description="The server whose file it is.")
    file: str = Field(description="The server's name of the file.")
    created: int = Field(description="Timestamp of the format description event, Unix seconds.")
    start: int = Field(ge=0, description="Position of the first byte.")
    end: int = Field(description="Position behind the last byte.")
    closed: Closed | None = Field(
        description="How the file ends here; null: it does not, or it is not known."
    )
    previous_gtids: GtidText = Field(description="The file's Previous_gtids.")
    gtids_before: GtidText = Field(description="Executed before the first transaction that ends here.")
    gtids: GtidText = Field(description="The transactions that end here.")
    transactions: int = Field(ge=0, description="How many end here.")
    first_at_us: int | None = Field(description="The earliest of their commit times; null: there is none.")
    last_at_us: int | None = Field(description="The latest of their commit times.")
    whole_until: int | None = Field(description="Position behind the last transaction that ends here.")
    index_frames: int = Field(ge=0, description="Frames of the transaction index, behind this header.")
    index_bytes: int = Field(ge=0, description="Their bytes in the object.")
    data_frames: int = Field(ge=1, description="Frames of events, to the end of the object.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the plain bytes, in hex.")

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not self.start < self.end:
            raise ValueError(f"a segment from byte {self.start} to {self.end}")
        return self

    @property
    def name(self) -> SegmentName:
        return SegmentName(self.epoch, self.server_uuid, self.file, self.created, self.start, self.end)

    @property
    def previous_set(self) -> GtidSet:
        return GtidSet.parse(self.previous_gtids)

    @property
    def set_before(self) -> GtidSet:
        return GtidSet.parse(self.gtids_before)

    @property
    def own_set(self) -> GtidSet:
        return GtidSet.parse(self.gtids)


@dataclass(frozen=True, slots=True, repr=False)
class SealedSegment:
    """A segment ready to be stored: ``content`` is the object, ``sha256`` the digest of that."""

    header: SegmentHeader
    content: bytearray
    sha256: bytes

    @property
    def name(self) -> SegmentName:
        return self.header.name

    @property
    def plain_bytes(self) -> int:
        return self.header.end - self.header.start


@dataclass(frozen=True, slots=True, repr=False)
class Segment:
    """A segment that was read: header, index, and the plain bytes, checked against their SHA-256."""

    header: SegmentHeader
    columns: TransactionColumns
    data: bytes


def identity_of(repository_id: str, shard: str, name: SegmentName) -> Identity:
    return Identity(repository_id, layout.segment(shard, name), ObjectKind.SEGMENT)


def seal_segment(draft: SegmentDraft, identity: Identity, key: BackupKey, level: int) -> SealedSegment:
    """Compress and seal. Raises ``ValueError`` if the draft contradicts itself."""
    _check(draft)
    encoder = FrameEncoder(level)
    index = _frames(encoder, columns.encode(draft.transactions))
    data = _frames(encoder, draft.data)
    header = _header_of(draft, index, data)
    frames = [encode_alone(encoder, header.model_dump_json().encode()), *index, *data]
    content = seal_object(identity, key, frames)
    return SealedSegment(header, content, hashlib.sha256(content).digest())


class FrontReader:
    """Reads header and index out of the first bytes of a segment object; ``missing`` says how many more.

    Every method raises ``ObjectDamaged``, naming the object.
    """

    def __init__(self, identity: Identity, name: SegmentName, key: BackupKey, front: bytes) -> None:
        self._name = name
        self._object = identity.name
        self._opener = FrameOpener(identity, key.unwrap(parse_header(front, identity), identity))
        self._decoder = FrameDecoder()

    def header_bytes(self, front: bytes) -> int:
        """How many bytes of the object the header needs: what is in ``front`` may be less."""
        if len(front) < HEADER_BYTES + 4:
            return HEADER_BYTES + 4
        length, _ = parse_length(self._object, 0, memoryview(front)[HEADER_BYTES : HEADER_BYTES + 4])
        return HEADER_BYTES + 4 + length

    def header(self, front: bytes) -> SegmentHeader:
        """``front`` must have ``header_bytes``."""
        end = self.header_bytes(front)
        text = self._open(0, memoryview(front)[HEADER_BYTES:end])
        header = parse_document(SegmentHeader, self._object, bytes(text))
        if header.name != self._name:
            raise damaged(
                self._object, f"it says that it is bytes {header.start} to {header.end} of {header.file}"
            )
        return header

    def index(self, header: SegmentHeader, frames: memoryview) -> TransactionColumns:
        """``frames``: the ``index_bytes`` behind the header's frame."""
        joined = b"".join(
            bytes(self._open(number, frame)) for number, frame in self._walk(1, header.index_frames, frames)
        )
        try:
            found = columns.decode(joined)
        except ColumnsMalformedError as error:
            raise damaged(self._object, str(error)) from error
        if len(found) != header.transactions:
            raise damaged(self._object, f"{len(found)} transactions in its index, {header.transactions} said")
        return found

    def data(self, header: SegmentHeader, frames: memoryview) -> bytes:
        """``frames``: all behind the index, to the end of the object."""
        first = 1 + header.index_frames
        joined = b"".join(
            bytes(self._open(number, frame))
            for number, frame in self._walk(first, header.data_frames, frames)
        )
        if len(joined) != header.end - header.start:
            raise damaged(self._object, f"it holds {len(joined)} bytes of the file, not what its name says")
        if hashlib.sha256(joined).hexdigest() != header.sha256:
            raise damaged(self._object, "its events have not the SHA-256 of its header")
        return joined

    def _walk(self, first: int, count: int, frames: memoryview) -> Iterator[tuple[int, memoryview]]:
        """Number and bytes of ``count`` frames that fill ``frames``."""
        at = 0
        for number in range(first, first + count):
            length, _ = parse_length(self._object, number, frames[at : at + 4])
            yield number, frames[at : at + 4 + length]
            at += 4 + length
        if at != len(frames):
            raise damaged(self._object, f"its frames {first} to {first + count - 1} end at another byte")

    def _open(self, number: int, frame: memoryview) -> memoryview:
        # Whether a frame is the last is sealed with it: one too many or too few is found by what follows.
        plaintext, _ = self._opener.open(number, frame, bytearray(len(frame)))
        return self._decoder.decode(plaintext, self._object, number).data


def read_segment(identity: Identity, name: SegmentName, key: BackupKey, content: bytes) -> Segment:
    """Unseal and check a whole object. Raises ``ObjectDamaged``, naming it."""
    reader = FrontReader(identity, name, key, content)
    header = reader.header(content)
    index_at = reader.header_bytes(content)
    data_at = index_at + header.index_bytes
    view = memoryview(content)
    found = reader.index(header, view[index_at:data_at])
    return Segment(header, found, reader.data(header, view[data_at:]))


def _check(draft: SegmentDraft) -> None:
    end = draft.start + len(draft.data)
    if not draft.data or (draft.start == 0) != (bytes(draft.data[:4]) == MAGIC):
        raise ValueError(
            f"{draft.file}: a segment of {len(draft.data)} bytes at {draft.start} begins wrongly"
        )
    at = draft.start
    for transaction in draft.transactions:
        behind = transaction.start + transaction.length
        if not at < behind <= end:
            raise ValueError(
                f"{draft.file}: {transaction.gtid} ends at {behind}, not after {at} and by {end}"
            )
        at = behind


def _header_of(draft: SegmentDraft, index: Sequence[memoryview], data: Sequence[memoryview]) -> SegmentHeader:
    times = [transaction.committed_at_us for transaction in draft.transactions]
    last = draft.transactions[-1] if draft.transactions else None
    return SegmentHeader(
        **draft.file._asdict(),
        start=draft.start,
        end=draft.start + len(draft.data),
        closed=draft.closed,
        previous_gtids=draft.previous_gtids.one_line(),
        gtids_before=draft.gtids_before.one_line(),
        gtids=columns.gtids_of(draft.transactions).one_line(),
        transactions=len(draft.transactions),
        first_at_us=min(times, default=None),
        last_at_us=max(times, default=None),
        whole_until=last.start + last.length if last else None,
        index_frames=len(index),
        index_bytes=sum(len(frame) + FRAME_OVERHEAD_BYTES for frame in index),
        data_frames=len(data),
        sha256=hashlib.sha256(draft.data).hexdigest(),
    )


def _frames(encoder: FrameEncoder, data: bytes | bytearray | memoryview) -> list[memoryview]:
    view = memoryview(data)
    return [encode_alone(encoder, view[at : at + FRAME_BYTES]) for at in range(0, len(view), FRAME_BYTES)]
