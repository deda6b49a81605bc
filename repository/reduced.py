"""Reading packs of which only a remainder is left (FORMAT.md, section 16)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from fleet.blocks import Extent, Stage
from fleet.errors import ObjectMissing
from repository import layout
from repository.codec import FrameDecoder
from repository.index import PackRef
from repository.layout import BackupName
from repository.remainder import Held, Moved, Remainder, parse_head, parse_table
from repository.repository import Repository, is_there
from repository.seal import (
    HEADER_BYTES,
    MAX_PLAINTEXT_BYTES,
    BackupKey,
    FrameOpener,
    Identity,
    ObjectKind,
    damaged,
    parse_header,
    parse_length,
)
from repository.stores.interface import Store

_FRONT_BYTES = 64 * 1024
"""Read at once: header, frame 0, and the table of most remainders."""

_ASKED_FOR = 4
"""So many reductions of a pack are asked for by name."""


class Restored(NamedTuple):
    """A frame of the pack as it was, as far as it is ``held``; between that its data is zeros."""

    number: int
    stage: Stage
    extents: tuple[Extent, ...]
    data: memoryview
    held: Held


class ReducedPack:
    """What is left of one pack. Belongs to one thread."""

    def __init__(self, repository: Repository, remainder: Remainder, key: BackupKey) -> None:
        self.remainder = remainder
        self._store = repository.store
        identity = _identity(repository, remainder.name)
        self._opener = FrameOpener(identity, key.unwrap(remainder.wrapped_key, identity))
        self._decoder = FrameDecoder()
        self._plaintext = bytearray(MAX_PLAINTEXT_BYTES)
        # Neighbours in the pack lie in one frame here, so the last one is asked for again and again.
        self._last: tuple[int, Stage, tuple[Extent, ...], bytes] | None = None

    def frames(self, numbers: Iterable[int] | None = None) -> Iterator[Restored]:
        """The frames of the pack with these numbers, in this order, each once; all that have something left
        if that is None. Raises ``ObjectMissing`` for one of which nothing is left, and as a reader does.
        """
        for number in self.remainder.frames if numbers is None else dict.fromkeys(numbers):
            moved = self.remainder.frames.get(number)
            if moved is None:
                raise _let_go(self.remainder, number)
            yield self._restored(number, moved)

    def _restored(self, number: int, moved: Iterable[Moved]) -> Restored:
        moved = list(moved)
        data = memoryview(bytearray(moved[0].payload))
        extents: list[Extent] = []
        stages: set[Stage] = set()
        for new_frame, group in groupby(moved, key=attrgetter("new_frame")):
            for each in group:
                stage, places, content = self._content(each)
                stages.add(stage)
                extents.append(_extent_at(self.remainder.name, new_frame, places, each))
                data[each.skip : each.skip + each.length] = content[
                    each.new_skip : each.new_skip + each.length
                ]
        if len(stages) != 1:
            raise damaged(self.remainder.name, f"bytes of frame {number} come from several stages")
        return Restored(number, stages.pop(), tuple(extents), data, Held(moved))

    def _content(self, moved: Moved) -> tuple[Stage, tuple[Extent, ...], bytes]:
        if self._last is None or self._last[0] != moved.new_frame:
            span = self.remainder.span(moved)
            sealed = memoryview(self._store.get_range(self.remainder.name, span.offset, span.length))
            plaintext, _ = self._opener.open(span.number, sealed, self._plaintext)
            stage, extents, data = self._decoder.decode(plaintext, self.remainder.name, span.number)
            if stage is None:
                raise damaged(self.remainder.name, f"frame {span.number} holds no data of a file")
            self._last = moved.new_frame, stage, extents, bytes(data)
        return self._last[1:]


def find_reduced(repository: Repository, pack: PackRef, key: Callable[[], BackupKey]) -> ReducedPack | None:
    """What is left of a pack that is not there; None if that is nothing. Some three requests.

    Raises ``ObjectDamaged``, ``FormatUnsupported`` and what the store raises.
    """
    name = find_remainder(repository.store, pack.backup, pack.number)
    if name is None:
        return None
    remainder = read_remainder(repository, name, key())
    if (remainder.head.pack, remainder.head.size, remainder.head.sha256) != (
        pack.number,
        pack.size,
        pack.sha256,
    ):
        raise damaged(name, f"it is not what is left of {pack.name}")
    return ReducedPack(repository, remainder, key())


def find_remainder(store: Store, backup: BackupName, number: int) -> str | None:
    """The name of what is left of a pack, or None. Raises what the store raises."""
    names = [info.key for info in store.list(layout.remainders(backup, number))]
    there = [found for name in names if (found := layout.parse_remainder(name))]
    if there:
        return layout.remainder(backup, *max(there))
    # A list may be behind, and data that is there must not be taken for lost.
    for reduction in range(_ASKED_FOR):
        name = layout.remainder(backup, number, reduction)
        if is_there(store, name):
            return name
    return None


def read_remainder(repository: Repository, name: str, key: BackupKey) -> Remainder:
    """All of the remainder but its data. Raises as ``find_reduced``, and ``ObjectMissing``."""
    size = repository.store.stat(name).size
    front = memoryview(repository.store.get_range(name, 0, min(size, _FRONT_BYTES)))
    identity = _identity(repository, name)
    wrapped = parse_header(front, identity)
    opener, decoder = FrameOpener(identity, key.unwrap(wrapped, identity)), FrameDecoder()

    def text_at(number: int, offset: int) -> tuple[bytes, int]:
        length, _ = parse_length(name, number, front[offset : offset + 4])
        sealed = front[offset : offset + 4 + length]
        plaintext, _ = opener.open(number, sealed, bytearray(max(len(sealed), 1)))
        return bytes(decoder.decode(plaintext, name, number).data), offset + 4 + length

    text, offset = text_at(0, HEADER_BYTES)
    head = parse_head(name, text)
    data_offset = offset + head.table_bytes
    if data_offset > size:
        raise damaged(name, f"its table ends at byte {data_offset}, and the object at {size}")
    if data_offset > len(front):
        front = memoryview(repository.store.get_range(name, 0, data_offset))
    rows = b""
    for number in range(1, head.table_frames + 1):
        text, offset = text_at(number, offset)
        rows += text
    if offset != data_offset:
        raise damaged(name, f"its table ends at byte {offset}, and should at {data_offset}")
    return Remainder(name, head, wrapped, data_offset, parse_table(name, head, rows))


def _extent_at(name: str, frame: int, places: tuple[Extent, ...], moved: Moved) -> Extent:
    skip = 0
    for extent in places:
        if (skip, extent.length) == (moved.new_skip, moved.length):
            return extent
        skip += extent.length
    raise damaged(name, f"frame {frame} has no extent of {moved.length} bytes at {moved.new_skip}")


def _let_go(remainder: Remainder, number: int) -> ObjectMissing:
    return ObjectMissing(
        f"{remainder.name} holds nothing of frame {number}, which no backup needed any more",
        hint="Its backup has expired, and was reduced to what others refer to; restore a newer one.",
    )


def _identity(repository: Repository, name: str) -> Identity:
    return Identity(repository.repository_id, name, ObjectKind.REMAINDER)
