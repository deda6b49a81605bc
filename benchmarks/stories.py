"""The stories by name, with the size of their data and the room they need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks import chain_restore, incremental, one_table, referring
from benchmarks.cases import Workplace
from benchmarks.story import Told

Say = Callable[[str], None]


@dataclass(frozen=True)
class Story:
    """``play(place, size_bytes, rounds, say)`` on data of usually ``size_mb``; its disk must have room for
    ``room`` times as much."""

    play: Callable[[Workplace, int, int, Say], Told]
    size_mb: int
    room: float


STORIES: Mapping[str, Story] = {
    "incremental": Story(incremental.play, 2048, 7),
    "chain-restore": Story(chain_restore.play, 2048, 4),
    "one-table": Story(one_table.play, 2048, 4),
    "referring": Story(referring.play, 256, 20),
}
