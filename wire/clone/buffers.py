"""Memory for blocks, used again and again: receiving into fresh pages of memory costs more than receiving."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

MOST_IDLE = 64


class BufferPool:
    """Buffers of one size. ``take`` may be called by several threads, and a release by any."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._idle: deque[bytearray] = deque(maxlen=MOST_IDLE)

    def take(self) -> tuple[memoryview, Callable[[], None]]:
        """A buffer of ``size`` bytes with old content, and what gives it back; call that exactly once."""
        try:
            buffer = self._idle.pop()
        except IndexError:
            buffer = bytearray(self.size)
        return memoryview(buffer), lambda: self._idle.append(buffer)
