"""Where data lands: one connection's DATA messages become blocks in the sink."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fleet.blocks import Block, Extent, Stage
from fleet.errors import ProtocolViolation
from wire.clone import keys
from wire.clone.connection import READ_AHEAD, READ_AHEAD_OF_PAGES, CloneConnection
from wire.clone.descriptors import DataBlock, State
from wire.clone.files import REDO_FILES
from wire.clone.outcome import CloneSink
from wire.clone.pages import PageSize, stamp_checksum
from wire.clone.progress import StageProgress
from wire.clone.redo import HEADER_BYTES
from wire.clone.snapshot import GROUP_BYTES, LARGEST_BLOCK, Snapshot, stage_of


@dataclass(slots=True)
class _Group:
    """Pages on their way into one block."""

    buffer: memoryview
    release: Callable[[], None]
    length: int = 0
    members: list[DataBlock] = field(default_factory=list[DataBlock])


class Landing:
    """Takes the data of one connection, in its order, to the sink. Used by that connection's reader alone."""

    def __init__(self, snapshot: Snapshot, sink: CloneSink, connection: CloneConnection, stream: int) -> None:
        self._snapshot = snapshot
        self._sink = sink
        self._connection = connection
        self._stream = stream
        self._state = State.NONE
        self._progress = StageProgress(0)
        self._chunk = 0
        self._group: _Group | None = None

    def receive(self, block: DataBlock, give_up: Callable[[], None]) -> None:
        """Read the bytes of ``block`` off the connection and hand them over, now or with their group."""
        stage = stage_of(block.state)
        if stage is None or not 0 < block.length <= LARGEST_BLOCK or block.offset + block.length >= 1 << 63:
            raise ProtocolViolation(
                f"{block.length} bytes at {block.offset} of file {block.file_index} in {block.state.name}"
            )
        if block.state is not self._state:
            self.finish_chunk()
            self._progress, self._state = self._snapshot.progress(block.state, give_up), block.state
            self._connection.read_ahead = READ_AHEAD_OF_PAGES if stage is Stage.PAGE else READ_AHEAD
        progress = self._progress
        if self._chunk != block.chunk:
            self.finish_chunk()
            self._chunk = block.chunk
        if not progress.is_new(block.chunk, block.block):
            self._connection.skip(block.length)
        elif stage is not Stage.REDO and self._snapshot.files.is_dropped(block.file_index):
            self._flush()
            self._connection.skip(block.length)
            progress.handed_over(block.chunk, block.block)
        elif stage is Stage.PAGE:
            self._gather(block)
        else:
            self._take(block, stage)

    def finish_chunk(self) -> None:
        """The chunk that was under way is complete: another begins, or the stage ends."""
        self._flush()
        if self._chunk:
            self._progress.finish(self._chunk)
        self._chunk = 0

    def abandon(self) -> None:
        """Give back what was gathered and not handed over."""
        if self._group is not None:
            self._group.release()
        self._group = None

    def _take(self, block: DataBlock, stage: Stage) -> None:
        if block.length > self._snapshot.pool.size:
            raise ProtocolViolation(f"a block of {block.length} bytes, more than 64 pages")
        buffer, release = self._snapshot.pool.take()
        view = buffer[: block.length]
        try:
            self._connection.read_into(view)
            index = block.file_index
            if stage is Stage.REDO:
                self._look_at_redo(block, view)
                index += REDO_FILES
            else:
                self._check_place(block)
        except BaseException:
            release()
            raise
        landed = Block(stage, (Extent(index, block.offset, block.length),), view, release)
        self._snapshot.hand_over(landed, self._sink, self._stream)
        self._snapshot.count(block, block.length)
        if stage is Stage.FILE:
            self._snapshot.files.count_received(block.file_index, block.length)
        self._progress.handed_over(block.chunk, block.block)

    def _check_place(self, block: DataBlock) -> None:
        """Where chunks are left out, those that come must lie where their numbers say, or others are lost."""
        file, chunk_bytes = self._snapshot.files.get(block.file_index), self._snapshot.chunk_bytes
        begin = (block.chunk - file.chunks[0]) * chunk_bytes
        if self._snapshot.skipped_bytes and not begin <= block.offset < begin + chunk_bytes:
            raise ProtocolViolation(f"chunk {block.chunk} of {file.name} has bytes at {block.offset}")

    def _look_at_redo(self, block: DataBlock, view: memoryview) -> None:
        if not 0 <= block.file_index < self._snapshot.files.announced(State.REDO):
            raise ProtocolViolation(f"data of redo file {block.file_index}, which was not announced")
        # The last chunk but one is the header, the last one the block in which the log ends.
        if block.chunk == self._progress.chunks - 1:
            if block.file_index != 0 or block.offset != 0:
                raise ProtocolViolation(f"the redo header came for file {block.file_index} at {block.offset}")
            self._snapshot.redo.header(view)
        elif block.offset < HEADER_BYTES and block.file_index == 0:
            raise ProtocolViolation("redo data lies where its header belongs")
        self._snapshot.redo.block(block.file_index, block.offset, view)

    def _gather(self, block: DataBlock) -> None:
        group = self._group
        if group is not None and group.length + block.length > GROUP_BYTES:
            self._flush()
            group = None
        if group is None:
            group = self._group = _Group(*self._snapshot.pool.take())
        view = group.buffer[group.length : group.length + block.length]
        self._connection.read_into(view)
        file = self._snapshot.files.get(block.file_index)
        if block.offset == 0:
            _wrap_key(view, file.page_size)
            self._snapshot.files.grow_space(block.file_index, block.file_size)
        self._snapshot.files.grow(block.file_index, block.offset + block.length)
        group.members.append(block)
        group.length += block.length

    def _flush(self) -> None:
        group, self._group = self._group, None
        if group is None:
            return
        extents = tuple(Extent(member.file_index, member.offset, member.length) for member in group.members)
        block = Block(Stage.PAGE, extents, group.buffer[: group.length], group.release)
        self._snapshot.hand_over(block, self._sink, self._stream)
        self._snapshot.count(group.members[0], group.length)
        self._progress.handed_over(self._chunk, group.members[-1].block)


def _wrap_key(page: memoryview, size: PageSize | None) -> None:
    """Page 0 of an encrypted tablespace carries its key in clear; see ``keys``."""
    if size is None or len(page) != size.physical:
        raise ProtocolViolation(f"a page of {len(page)} bytes in a file of {size}")
    info = page[size.key_offset : size.key_offset + keys.INFO_BYTES]
    # The first page of a further file of the system tablespace is not page 0.
    if int.from_bytes(page[4:8], "big") == 0 and keys.holds_key(info):
        keys.rewrap(info)
        stamp_checksum(page, size)
