"""Memory that lanes and uploads pass around."""

from __future__ import annotations

import threading


class PackBuffers:
    """Memory for packs, used again and again: fresh memory costs a page fault for every 4 KiB."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._lock = threading.Lock()
        self._free: list[bytearray] = []
        self.made = 0

    def take(self) -> bytearray:
        with self._lock:
            if self._free:
                return self._free.pop()
            self.made += 1
        return bytearray(self._size_bytes)

    def give_back(self, buffer: bytearray) -> None:
        with self._lock:
            self._free.append(buffer)
