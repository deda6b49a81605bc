"""What the server itself knows of its changed pages: page tracking, by ``component_mysqlbackup``.

The component comes with MySQL (8.0.18 and later, every edition). Once it is switched on, InnoDB notes the
number of each page that it writes. It tells page numbers, not their contents, and forgets them all at a
restart of the server.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PageTracking:
    """``start_lsn``: pages changed since then are known; ``None`` while tracking is off."""

    component: bool
    start_lsn: int | None


@dataclass(frozen=True, slots=True)
class PageList:
    """Changed pages: sorted page numbers, without duplicates, by space id."""

    pages: Mapping[int, array[int]]

    def has_any(self, space_id: int, first_page: int, last_page: int) -> bool:
        """Was any page from ``first_page`` to ``last_page``, both included, changed?"""
        pages = self.pages.get(space_id)
        if pages is None:
            return False
        place = bisect_left(pages, first_page)
        return place < len(pages) and pages[place] <= last_page
