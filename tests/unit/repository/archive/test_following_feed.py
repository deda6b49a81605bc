"""A standby's feed: what is archived, then what comes, over files and epochs."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from itertools import pairwise

import pytest
from archived_binlogs import EMPTY, OTHER, SOURCE, MadeFile, binlog, facts
from sealed_backups import TickingClock
from test_line import gtids
from test_stream import expected

from fleet.errors import SourceDiverged
from repository.archive.archive import ShardArchive
from repository.archive.line import Line
from restore.feed import ArchiveFeed
from wire.binlog.feed import Piece


def feed(
    archive: ShardArchive, clock: Script, cancelled: threading.Event | None = None
) -> Generator[Piece | None]:
    following = ArchiveFeed(Line.of(archive), server_version="9.7.4", follow=clock)  # pyright: ignore[reportArgumentType]
    return following.pieces(EMPTY, cancelled or threading.Event())  # pyright: ignore[reportReturnType]


def name_of(made: MadeFile) -> str:
    return f"{made.name.epoch}/{made.name.server_uuid}/{made.name.file}.{made.name.created:08x}"


class Script:
    """A clock that does the next thing whenever somebody sleeps."""

    def __init__(self, *steps: object) -> None:
        self.steps = list(steps)
        self.slept = 0.0

    def now(self) -> object: ...

    def monotonic(self) -> float:
        return self.slept

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        if self.steps:
            step = self.steps.pop(0)
            if callable(step):
                step()


def followed(source: Iterator[Piece | None], nothings: int) -> tuple[list[Piece], int]:
    """Pieces until ``nothings`` times in a row nothing came."""
    chunks: list[Piece] = []
    quiet = total = 0
    while quiet < nothings:
        chunk = next(source)
        if chunk is None:
            quiet += 1
            total += 1
        else:
            quiet = 0
            chunks.append(chunk)
    return chunks, total


def test_a_feed_that_follows_gives_what_comes_and_goes_on_over_files_and_epochs(
    archive: ShardArchive,
) -> None:
    made = MadeFile(binlog(1)).run(SOURCE, 1, 20)
    cuts = made.cuts(6)
    new = MadeFile(binlog(1, epoch=2, uuid=OTHER), gtids("a:1-20")).run(OTHER, 1, 9)

    def promote() -> None:
        archive.open_epoch(facts(1, inherited=gtids("a:1-20")), TickingClock())
        new.put(archive, new.cuts(3))

    steps = [lambda pair=pair: made.put(archive, pair) for pair in pairwise(cuts)]
    clock = Script(*steps, None, promote)
    source = feed(archive, clock)
    chunks, nothings = followed(source, 12)
    assert b"".join(c.data for c in chunks if c.file == name_of(made)) == expected(made, gtids("a:1-20"))
    assert b"".join(c.data for c in chunks if c.file == name_of(new)) == expected(new, gtids("b:1-9"))
    assert clock.slept == nothings - 1
    source.close()


def test_a_standby_that_holds_a_branch_is_told(archive: ShardArchive) -> None:
    made = MadeFile(binlog(1)).run(SOURCE, 1, 20)
    made.put(archive, made.cuts(2))
    clock = Script(lambda: archive.open_epoch(facts(1, inherited=gtids("a:1-18")), TickingClock()))
    source = feed(archive, clock)
    with pytest.raises(SourceDiverged, match="19-20 are applied already"):
        followed(source, 12)


def test_a_feed_that_is_cancelled_ends(archive: ShardArchive) -> None:
    made = MadeFile(binlog(1)).run(SOURCE, 1, 20)
    made.put(archive, made.cuts(9))
    cancelled = threading.Event()
    clock = Script(None, cancelled.set)
    source = feed(archive, clock, cancelled)
    assert list(source)[-2:] == [None, None]
