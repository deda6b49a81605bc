"""Which pages a backup stores itself: a bit for each page of each tablespace file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from fleet.blocks import Extent
from repository.overlay import PageMap
from wire.clone.outcome import SpaceFile

SpaceOf = Callable[[int], SpaceFile | None]
"""By the number that blocks give a file: its tablespace, or ``None`` if it is none."""


class StoredPages:
    """A ``PageMap`` that several threads claim pages of; what belongs to no tablespace is always free."""

    def __init__(self, space_of: SpaceOf) -> None:
        self._space_of = space_of
        self._lock = threading.Lock()
        self.map = PageMap()

    def claim(self, extents: Sequence[Extent]) -> list[Extent]:
        """Those parts of ``extents`` that nobody had claimed before, in their order; now they are."""
        free: list[Extent] = []
        for extent in extents:
            space = self._space_of(extent.file)
            if space is None:
                free.append(extent)
                continue
            with self._lock:
                runs = self.map.claim(
                    (space.space_id, space.ordinal), space.page_size.physical, extent.offset, extent.length
                )
            free += [Extent(extent.file, offset, length) for offset, length in runs]
        return free
