"""Writes ``archive-1/`` beside this file: an archive of binlogs, its key, and what it must give.

It was run once, when section 10 of the format was settled, and refuses to run again: a golden archive is
worth something only as long as nobody writes it anew.

    python tests/golden/make_archive_1.py
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fleet.gtid import GtidSet
from fleet.transaction import Kind
from repository.archive.archive import ShardArchive
from repository.archive.ledger import Life, Note
from repository.archive.line import Line
from repository.archive.stream import stream
from repository.keys import FileSource, Keyring, create_key_file
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore
from tests.unit.repository.archive.archived_binlogs import CREATED, EMPTY, OTHER, SOURCE, MadeFile, binlog, facts

FOLDER = Path(__file__).with_name("archive-1")
TABLES = (("shop.orders",), ("shop.orders", "shop.stock"), ("caf\u00e9.t",), ())
KINDS = (Kind.INSERT, Kind.UPDATE, Kind.DELETE, Kind.INSERT | Kind.DELETE, Kind.XA, Kind.STATEMENT)


class FixedClock:
    """Moves a second at a time from a day that everybody remembers."""

    def __init__(self) -> None:
        self._now = datetime(2026, 3, 1, 2, 14, 59, tzinfo=UTC)

    def now(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now

    def monotonic(self) -> float:
        return self._now.timestamp()

    def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


def filled(made: MadeFile, uuid: str, first: int, last: int) -> MadeFile:
    """Every kind, several tables, a tagged GTID, a DDL statement, a clock that steps back, one large row."""
    chance = random.Random(first)
    for number in range(first, last + 1):
        is_drop = number % 11 == 0
        made.commit(
            f"{uuid}:nightly:{number}" if number % 7 == 0 else f"{uuid}:{number}",
            at_us=CREATED * 10**6 + (number - 40 * (number % 13 == 0)) * 10**5,
            tables=("shop.orders",) if is_drop else chance.choice(TABLES),
            kinds=Kind.DDL if is_drop else chance.choice(KINDS),
            statement="DROP TABLE `caf\u00e9`.`orders`" if is_drop else "",
            size=30_000 if number % 17 == 0 else chance.randrange(300),
        )
    return made


def write(archive: ShardArchive, clock: FixedClock) -> list[MadeFile]:
    """Overlapping segments, a composed file, a purged one, a torn tail, two servers, three epochs."""
    archive.open_epoch(facts(), clock)
    executed = GtidSet.parse(f"{SOURCE}:1-9")
    one = filled(MadeFile(binlog(9), executed), SOURCE, 10, 40).rotate()
    two = filled(MadeFile(binlog(10, created=CREATED + 1), executed | one.gtids()), SOURCE, 41, 80)
    one.put(archive, one.cuts(9), "rotate")
    archive.compose(one.name)
    two.put(archive, two.cuts(7), "torn")
    two.put(archive, two.cuts(4), "torn")
    all_of_it = one.gtids() | two.gtids()
    lost = two.transactions[-1].gtid.as_set() | two.transactions[-2].gtid.as_set()
    inherited = all_of_it - lost
    archive.open_epoch(facts(1, server_uuid=OTHER, inherited=inherited, branch=lost), clock)
    three = filled(MadeFile(binlog(2, epoch=2, uuid=OTHER), executed | inherited), OTHER, 1, 20).rotate()
    purged = GtidSet.parse(f"{OTHER}:22-25")
    four = MadeFile(binlog(5, epoch=2, uuid=OTHER), executed | inherited | three.gtids() | purged)
    filled(four, OTHER, 26, 50)
    three.put(archive, three.cuts(4), "rotate")
    four.put(archive, four.cuts(6))
    skipped = three.transactions[3].gtid.as_set()
    restored = inherited | three.gtids()
    archive.open_epoch(facts(2, reason="restore", inherited=restored, skipped=skipped), clock)
    five = filled(MadeFile(binlog(1, epoch=3), executed | restored), SOURCE, 101, 110)
    five.put(archive, five.cuts(3), "stop")
    archive.note(2, Note(kind="gap", at=clock.now(), text="purged before it was archived", gtids=str(purged)))
    archive.note(1, Note(kind="torn-tail", at=clock.now(), text="the source died", file="binlog.000010"))
    life = {"gtid_executed": str(executed | restored), "skipped": str(skipped)}
    archive.record_life(Life(server_uuid=SOURCE, restored_at=clock.now(), epoch=2, **life))
    return [one, two, three, four, five]


def described(archive: ShardArchive, epoch: int) -> dict[str, object]:
    """The line of one epoch, in words."""
    line = Line.of(archive, epoch)
    out = hashlib.sha256()
    for chunk in stream(line, EMPTY):
        if chunk:
            out.update(f"{chunk.file}:{chunk.start}:{len(chunk.data)};".encode() + chunk.data)
    return {
        "gtids": line.gtids.one_line(),
        "first_gtids": line.first_gtids.one_line(),
        "skipped": line.skipped.one_line(),
        "gaps": [[gap.missing.one_line(), str(gap.after), str(gap.before)] for gap in line.gaps],
        "branches": [[branch.epoch, branch.gtids.one_line()] for branch in line.branches],
        "transactions": [
            [str(t.gtid), t.committed_at_us, t.start, t.length, int(t.kinds), list(t.tables), t.statement]
            for t in (entry.transaction for entry in line.transactions())
        ],
        "stream": out.hexdigest(),
    }


def main() -> None:
    if FOLDER.exists():
        sys.exit(f"{FOLDER} exists; a golden archive is never written anew")
    FOLDER.mkdir()
    clock = FixedClock()
    create_key_file(FOLDER / "backup.key")
    keyring = Keyring([FileSource("office-safe", FOLDER / "backup.key")])
    archive = ShardArchive(Repository.create(FilesystemStore(FOLDER / "repository"), keyring, clock), "s1")
    made = write(archive, clock)
    expected = {
        "files": [
            [*each.name, len(each.data), hashlib.sha256(each.data).hexdigest(), each.previous.one_line()]
            for each in made
        ],
        "lines": {epoch: described(archive, epoch) for epoch in (1, 2, 3)},
    }
    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
