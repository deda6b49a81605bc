"""How stored backups are read again by whoever verifies them: with how many threads, and what of a page."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from fleet.model import Fleet
from wire.clone.pages import PageSize, damaged_pages

_OF_A_THREAD = 8_000_000
"""Bytes a second that one thread reads at the least, if a rate is given."""


def reading_threads(fleet: Fleet, rate: int | None = None) -> int:
    """How many threads read; ``rate`` in bytes a second, beside the one of the configuration.

    Few bytes a second are not shared by many objects: each would be read to its end, and noted, late.
    """
    threads = fleet.parallelism.download_threads
    limits = [rate, fleet.repository.throttle_bytes_per_second]
    if slowest := min((each for each in limits if each), default=0):
        return max(1, min(threads, slowest // _OF_A_THREAD))
    return threads


def page_check(data: memoryview, logical: int, physical: int) -> Sequence[int]:
    """Which pages have a wrong checksum: ``repository`` knows nothing of InnoDB's."""
    return damaged_pages(data, _size(logical, physical))


@lru_cache
def _size(logical: int, physical: int) -> PageSize:
    return PageSize(logical, physical)
