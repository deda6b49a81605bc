"""The clone client's sink: what comes is sifted, penned in if it may come again, and put into the spool."""

from __future__ import annotations

from collections.abc import Callable

from backup.damage import SuspectPages
from backup.pen import Pen
from backup.segments import SealedSegments
from backup.sifting import HeldPages, Sieve
from backup.spool import Spool
from backup.stored_pages import SpaceOf, StoredPages
from fleet.blocks import Block, Stage


class Intake:
    """A ``CloneSink``. With ``held``, what a base holds is left out; ``stored`` knows the others.

    Kept pages of the file stage may wait here until ``finish``, when the donor waits for nothing any more.
    """

    def __init__(
        self,
        spool: Spool,
        pen: SealedSegments,
        held: HeldPages | None,
        space_of: SpaceOf,
        *,
        on_stage_start: Callable[[Stage, int], None],
        on_stage_end: Callable[[Stage], None],
        on_bytes: Callable[[int], None],
    ) -> None:
        self._spool = spool
        self._segments = pen
        self._is_sifting = held is not None
        self.stored = StoredPages(space_of)
        self.suspects = SuspectPages()
        self._pen = Pen(pen, self.stored, spool.put)
        keep = self._pen.put if self._is_sifting else spool.put
        self._sieve = Sieve(held, space_of, self.suspects, keep)
        self._on_stage_start = on_stage_start
        self._on_stage_end = on_stage_end
        self._on_bytes = on_bytes

    @property
    def unstored_bytes(self) -> int:
        """What came and was left out: the base has it, or it came again."""
        return self._sieve.unchanged_bytes + self._pen.left_out_bytes

    def put(self, block: Block, stream: int) -> None:
        self._on_bytes(len(block.data))
        if block.stage is Stage.FILE:
            self._sieve.put(block, stream)
            return
        if block.stage is Stage.PAGE:
            changed = self._sieve.changed_of(block, stream)
            if changed is None:
                return
            block = changed
            self.suspects.came_again(block.extents)
            if self._is_sifting:
                self.stored.claim(block.extents)
        self._spool.put(block)

    def has_room(self) -> bool:
        return self._spool.has_room()

    def before_ack(self, stage: Stage) -> None:
        self._on_stage_end(stage)

    def stage_started(self, stage: Stage, estimate_bytes: int) -> None:
        self._on_stage_start(stage, estimate_bytes)

    def finish(self) -> None:
        """The clone is complete and the donor free: what waited goes on. Raises what the spool raises."""
        self._sieve.flush()
        self._pen.open()

    def discard(self) -> None:
        """Give back all that still waits."""
        self._sieve.discard()
        self._segments.discard()
