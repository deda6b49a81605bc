"""What a month is watched for: two backups of a shard at once, and moments that restores must bring back."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import cycle, groupby, pairwise
from typing import NamedTuple

from fleet.errors import ToolError
from fleet.process import is_gone
from infra.sandbox.dataset import checksums
from infra.sandbox.fleet import SandboxFleet
from repository import layout
from repository.catalog import Catalog
from repository.repository import Repository
from repository.turn_objects import Turn, objects_by_turn, read_turn

_LOOK_SECONDS = 0.5
_MOMENT_SECONDS = 3.0


class Taken(NamedTuple):
    """A backup that was there at some time."""

    shard: str
    label: str
    kind: str
    began: datetime
    ended: datetime


class TurnSeen(NamedTuple):
    """One number of a shard's turn. ``beside``: the holder before it, of another token, whose process lived
    and whose turn was still in force when this one was put.
    """

    shard: str
    number: int
    token: str | None
    told_by: str
    beside: str | None


class Noted(NamedTuple):
    """The primary stood still: what its tables held."""

    shard: str
    at: datetime
    sums: Mapping[str, int | None]


def at_once(taken: Iterable[Taken]) -> list[str]:
    """Pairs of backups of one shard that were taken at the same time."""
    found: list[str] = []
    for shard, own in groupby(
        sorted(taken, key=lambda each: (each.shard, each.began)), lambda each: each.shard
    ):
        last: Taken | None = None
        for each in own:
            if last is not None and each.began < last.ended:
                until, began = f"{last.ended:%T.%f}", f"{each.began:%T.%f}"
                found.append(f"{shard}: {last.label} was taken until {until}, {each.label} began at {began}")
            last = each if last is None or each.ended > last.ended else last
    return found


def turns_at_once(seen: Iterable[TurnSeen]) -> list[str]:
    """Turns of one shard that two had at the same time."""
    found: list[str] = []
    ordered = sorted(seen, key=lambda each: (each.shard, each.number))
    for shard, own in groupby(ordered, lambda each: each.shard):
        over: set[str | None] = set()
        numbers = list(own)
        found += (f"{shard}: turn {each.number} of {each.told_by} was put while {each.beside} had it"
                  for each in numbers if each.beside)  # fmt: skip
        for before, after in pairwise(numbers):
            if before.token != after.token:
                over.add(before.token)
            if after.token in over:
                found.append(f"{shard}: turn {after.number} of {after.told_by} came after another's")
    return found


class Watch:
    """Looks all the time, from ``start`` to ``stop``, at turns and manifests, and notes moments."""

    def __init__(self, sandbox: SandboxFleet, repository: Repository) -> None:
        self.taken: dict[tuple[str, str], Taken] = {}
        self.turns: dict[tuple[str, int], TurnSeen] = {}
        self.noted: list[Noted] = []
        self.failures: list[str] = []
        self._sandbox, self._repository = sandbox, repository
        self._next = cycle(sandbox.shards)
        self._last: dict[str, Turn] = {}
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._guarded, args=(look, seconds), daemon=True)
            for look, seconds in ((self.look, _LOOK_SECONDS), (self.note, _MOMENT_SECONDS))
        ]

    def start(self) -> None:
        """Begin to look."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def look(self) -> None:
        """All turns and all manifests, the new ones read."""
        for objects in objects_by_turn(self._repository.store, layout.turns("shard")):
            for each in objects:
                if (each.terms.name, each.number) not in self.turns:
                    # Deleted meanwhile, or put a moment ago.
                    with suppress(ToolError):
                        self._saw(read_turn(self._repository.store, each))
        catalog = Catalog(self._repository)
        for shard in self._sandbox.shards:
            for info in self._repository.store.list(layout.manifests(shard.name)):
                label = info.key.rpartition("/")[2]
                if (shard.name, label) not in self.taken:
                    with suppress(ToolError):
                        self._found(shard.name, label, catalog)

    def note(self) -> None:
        """A moment of the next shard."""
        shard = next(self._next)
        connection = shard.primary.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute("FLUSH TABLES WITH READ LOCK")
                sums = checksums(connection)
                self.noted.append(Noted(shard.name, datetime.now(UTC), sums))
                cursor.execute("UNLOCK TABLES")
        finally:
            connection.close()

    def _saw(self, turn: Turn) -> None:
        before = self._last.get(turn.terms.name)
        beside = None
        if before is not None and before.token != turn.token and not before.is_released:
            is_over = turn.put_at >= before.until or is_gone(before.process)
            # Its last word may have come and gone between two looks.
            is_next = turn.number == before.number + 1
            beside = before.told_by if is_next and not is_over else None
        seen = TurnSeen(turn.terms.name, turn.number, turn.token, turn.told_by, beside)
        self.turns[turn.terms.name, turn.number] = seen
        self._last[turn.terms.name] = turn

    def _found(self, shard: str, label: str, catalog: Catalog) -> None:
        manifest = catalog.manifest(shard, label)
        times = manifest.timings.started_at, manifest.timings.finished_at
        self.taken[shard, label] = Taken(shard, label, manifest.kind, *times)

    def _guarded(self, look: Callable[[], None], seconds: float) -> None:
        while not self._stopping.wait(seconds):
            try:
                look()
            except Exception as error:  # noqa: BLE001 - told at the end: what is not looked at is not proven
                self.failures.append(f"watching failed: {type(error).__name__}: {error}")


def chosen(noted: Sequence[Noted], since: datetime, count: int, chance: random.Random) -> list[Noted]:
    """Moments since then at random, of as many shards as there are."""
    left = [each for each in noted if each.at >= since]
    chance.shuffle(left)
    found: list[Noted] = []
    while left and len(found) < count:
        fewest = min((sum(one.shard == each.shard for one in found) for each in left), default=0)
        pick = next(each for each in left if sum(one.shard == each.shard for one in found) == fewest)
        left.remove(pick)
        found.append(pick)
    return found
