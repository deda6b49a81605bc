"""Where changed pages wait until it is known whether the donor sends them again.

What is written on the donor while its files are read comes a second time, in the page stage. So changed
pages of the file stage wait here, sealed, on this host's disk; when the page stage is over, those that came
again are left out.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Sequence

from backup.segments import Place, SealedSegments
from backup.stored_pages import StoredPages
from fleet.blocks import Block, Extent, Stage


class Pen:
    """Blocks of the file stage, kept until ``open``. ``put`` may be called by several threads.

    What finds no room is passed on at once: then a page may be stored twice, and the later one counts.
    """

    def __init__(
        self, segments: SealedSegments, stored: StoredPages, pass_on: Callable[[Block], None]
    ) -> None:
        self._segments = segments
        self._stored = stored
        self._pass_on = pass_on
        self._lock = threading.Lock()
        self._waiting: list[tuple[Place, array[int]]] = []
        self.left_out_bytes = 0
        """What came again, and was not stored twice."""

    def put(self, block: Block) -> None:
        """Take over ``block``. Raises ``DiskFull``, and what passing it on raises."""
        place = self._segments.reserve(len(block.data))
        if place is None or not self._segments.write(place, block.data):
            self._stored.claim(block.extents)
            self._pass_on(block)
            return
        numbers = array("Q", [number for extent in block.extents for number in extent])
        with self._lock:
            self._waiting.append((place, numbers))
        block.release()

    def open(self) -> None:
        """No page comes again: pass on what nobody claimed. Raises as ``put``."""
        waiting, self._waiting = self._waiting, []
        for place, numbers in waiting:
            data = self._segments.read(place)
            extents = [Extent(*numbers[at : at + 3]) for at in range(0, len(numbers), 3)]
            self._pass_unclaimed(extents, data)

    def _pass_unclaimed(self, extents: Sequence[Extent], data: memoryview) -> None:
        kept: list[Extent] = []
        pieces: list[memoryview] = []
        begin = 0
        for extent in extents:
            for free in self._stored.claim((extent,)):
                kept.append(free)
                skip = begin + free.offset - extent.offset
                pieces.append(data[skip : skip + free.length])
            begin += extent.length
        left = sum(map(len, pieces))
        self.left_out_bytes += len(data) - left
        if left:
            whole = data if left == len(data) else memoryview(b"".join(pieces))
            self._pass_on(Block(Stage.FILE, tuple(kept), whole, _nothing))


def _nothing() -> None:
    """What was read from the disk has no buffer to give back."""
