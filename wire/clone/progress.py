"""Which blocks of a stage were handed over: what COM_REINIT tells the donor not to send again."""

from __future__ import annotations

import threading

from fleet.errors import ProtocolViolation
from wire.clone.descriptors import ChunksDone

MOST_UNFINISHED = 200
"""The donor takes at most 256 unfinished chunks (clone0desc.cc); the blocks of others come twice."""


class StageProgress:
    """The chunks of one stage, numbered from 1; made for several reader threads.

    Blocks of a chunk, numbered from 1, come in order over one connection. A block counts once the sink has
    taken it; one that counts already is to be passed over when it comes again.
    """

    def __init__(self, chunks: int) -> None:
        self.chunks = chunks
        self._lock = threading.Lock()
        self._done = bytearray(chunks + 1)
        self._last_block: dict[int, int] = {}

    def is_new(self, chunk: int, block: int) -> bool:
        """Raises ProtocolViolation for a chunk that the stage does not have."""
        if not 1 <= chunk <= self.chunks:
            raise ProtocolViolation(f"a block of chunk {chunk} of {self.chunks}")
        return not self._done[chunk] and block > self._last_block.get(chunk, 0)

    def handed_over(self, chunk: int, block: int) -> None:
        with self._lock:
            self._last_block[chunk] = block

    def finish(self, chunk: int) -> None:
        """The connection that had the chunk went on to another: nothing of it will come any more."""
        with self._lock:
            self._done[chunk] = 1
            self._last_block.pop(chunk, None)

    def summary(self) -> ChunksDone:
        with self._lock:
            unfinished = tuple(sorted(self._last_block.items())[:MOST_UNFINISHED])
            words = [0] * (-(-self.chunks // 32))
            for chunk in (*(chunk for chunk, _ in unfinished), *self._finished()):
                words[(chunk - 1) >> 5] |= 1 << ((chunk - 1) & 31)
        return ChunksDone(unfinished, tuple(words))

    def _finished(self) -> list[int]:
        return [chunk for chunk, done in enumerate(self._done) if done]
