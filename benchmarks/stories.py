"""The stories by name, with the size of their data and the room they need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import (
    chain_restore,
    incremental,
    mirroring,
    month,
    one_table,
    planning,
    referring,
    retention,
    scheduling,
    serving,
    verifying,
)
from benchmarks.cases import Workplace
from benchmarks.story import Told
from fleet.errors import UsageError

Say = Callable[[str], None]


@dataclass(frozen=True)
class Story:
    """``play(place, size_bytes, rounds, say)`` on data of usually ``size_mb``; its disk must have room for
    ``room`` times as much. One that lives ``days`` is also given ``days=``."""

    play: Callable[..., Told]
    size_mb: int
    room: float
    days: bool = False

    def told(self, place: Workplace, size_bytes: int, rounds: int, say: Say, days: int | None) -> Told:
        """Play it. Raises UsageError for ``days`` where none are lived."""
        if days is None:
            return self.play(place, size_bytes, rounds, say)
        if not self.days:
            raise UsageError("--days is given, and the story lives none", hint="Leave --days out.")
        return self.play(place, size_bytes, rounds, say, days=days)


STORIES: Mapping[str, Story] = {
    "incremental": Story(incremental.play, 2048, 7),
    "chain-restore": Story(chain_restore.play, 2048, 4),
    "one-table": Story(one_table.play, 2048, 3),
    "referring": Story(referring.play, 256, 20),
    "retention": Story(retention.play, 48, 80, days=True),
    "verify": Story(verifying.play, 2048, 4),
    "planning": Story(planning.play, 48, 40),
    "mirror": Story(mirroring.play, 2048, 4),
}


@dataclass(frozen=True)
class LoneStory:
    """``play(directory, say, **numbers)``, without donor and store: it starts what it needs. ``numbers``:
    what it is told, and what counts if it is not. Its disk must have room for ``room_bytes``.
    """

    play: Callable[..., Told]
    room_bytes: int
    numbers: Mapping[str, int]

    def told(self, directory: Path, given: Mapping[str, int | None], say: Say) -> Told:
        """Play it. Raises UsageError for a number that is none of its."""
        said = {name: number for name, number in given.items() if number is not None}
        for name in said:
            if name not in self.numbers:
                own = ", ".join(f"--{each}" for each in self.numbers) or "no number"
                raise UsageError(f"--{name} means nothing to this story", hint=f"It knows {own}.")
        return self.play(directory, say, **(dict(self.numbers) | said))


LONE_STORIES: Mapping[str, LoneStory] = {
    "month": LoneStory(
        month.play, 12 * 10**9, {"minutes": month.MINUTES, "shards": month.SHARDS, "seed": month.SEED}
    ),
    "serve": LoneStory(serving.play, 3 * 10**9, {}),
    "scheduling": LoneStory(scheduling.play, 10**9, {"deployments": scheduling.DEPLOYMENTS}),
}
