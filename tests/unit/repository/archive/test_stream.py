"""Events for replay: whole transactions, each once, in order, in bounded memory."""

from __future__ import annotations

import random
import threading

import pytest
from archived_binlogs import EMPTY, OTHER, SOURCE, THIRD, MadeFile, binlog, facts
from hypothesis import given, settings
from hypothesis import strategies as st
from sealed_backups import TickingClock, file_keyring
from test_line import gtids

from fleet.errors import ObjectMissing, SourceDiverged
from fleet.gtid import GtidSet
from fleet.transaction import Gtid
from repository import layout
from repository.archive.archive import ShardArchive
from repository.archive.line import Line
from repository.archive.stream import stream
from repository.repository import Repository
from repository.stores.memory import MemoryStore


def replayed(line: Line, have: GtidSet = EMPTY, **options: object) -> dict[object, dict[int, bytes]]:
    """The chunks by file; what was given out twice, or begins wrongly, is an error."""
    found: dict[object, dict[int, bytes]] = {}
    for chunk in stream(line, have, **options):  # pyright: ignore[reportArgumentType]
        assert chunk is not None and len(chunk.data)
        chunks = found.setdefault(chunk.file, {})
        assert bool(chunks) or chunk.start == 4
        assert chunk.start >= max((at + len(data) for at, data in chunks.items()), default=0)
        chunks[chunk.start] = bytes(chunk.data)
    return found


def expected(made: MadeFile, wanted: GtidSet) -> bytes:
    """The head, and the wanted transactions."""
    return bytes(made.data[4 : made.head]) + b"".join(
        bytes(made.data[each.start : each.start + each.length])
        for each in made.transactions
        if each.gtid.as_set() <= wanted
    )


def joined(chunks: dict[int, bytes]) -> bytes:
    return b"".join(chunks.values())


def test_a_line_is_given_out_without_what_follows_its_last_transaction(archive: ShardArchive) -> None:
    files = [
        MadeFile(binlog(1)).run(SOURCE, 1, 30).rotate(),
        MadeFile(binlog(2), gtids("a:1-30")).run(SOURCE, 31, 60).rotate(),
    ]
    for made in files:
        made.put(archive, made.cuts(7))
    found = replayed(Line.of(archive))
    assert [joined(found[made.name]) for made in files] == [expected(made, made.gtids()) for made in files]


def test_half_a_transaction_is_never_given_out(archive: ShardArchive) -> None:
    made = MadeFile(binlog()).run(SOURCE, 1, 10)
    cut = made.edges[-3]
    made.put(archive, [0, made.edges[9], cut])
    found = replayed(Line.of(archive))
    assert joined(found[made.name]) == expected(made, gtids("a:1-9"))
    assert cut > made.transactions[8].start + made.transactions[8].length


def test_what_the_replica_has_is_neither_given_out_nor_fetched(
    archive: ShardArchive, store: MemoryStore
) -> None:
    made = MadeFile(binlog(1)).run(SOURCE, 1, 30).rotate()
    later = MadeFile(binlog(2), gtids("a:1-30")).run(SOURCE, 31, 60)
    ends = [each.start + each.length for each in later.transactions]
    made.put(archive, made.cuts(4))
    later.put(archive, [0, ends[9], ends[19], ends[29]])
    line = Line.of(archive)
    for ref in archive.file(made.name).segments:
        store.delete(layout.segment("s1", ref.name))
    found = replayed(line, gtids("a:1-50"))
    assert list(found) == [later.name]
    assert joined(found[later.name]) == expected(later, gtids("a:51-60"))
    assert list(stream(line, gtids("a:1-60"))) == []
    with pytest.raises(ObjectMissing, match=r"binlog\.000001"):
        replayed(line)


def test_a_branch_is_never_given_out(archive: ShardArchive) -> None:
    made = MadeFile(binlog(1)).run(SOURCE, 1, 20).rotate()
    made.put(archive, made.cuts(5))
    archive.open_epoch(facts(1, inherited=gtids("a:1-15")), TickingClock())
    new = MadeFile(binlog(1, epoch=2, uuid=OTHER), gtids("a:1-12")).run(SOURCE, 13, 15).run(OTHER, 1, 5)
    new.put(archive, new.cuts(5))
    found = replayed(Line.of(archive))
    assert joined(found[made.name]) == expected(made, gtids("a:1-15"))
    assert joined(found[new.name]) == expected(new, gtids("b:1-5"))
    with pytest.raises(SourceDiverged, match=r"1 transactions .*:17"):
        replayed(Line.of(archive), gtids("a:1-15:17"))


def test_nothing_behind_the_end_of_the_replay_is_fetched(archive: ShardArchive, store: MemoryStore) -> None:
    made = MadeFile(binlog(1)).run(SOURCE, 1, 30)
    ends = [each.start + each.length for each in made.transactions]
    made.put(archive, [0, ends[9], ends[19], ends[29]])
    line = Line.of(archive)
    store.delete(layout.segment("s1", line.parts[2].part.segment.name))
    found = replayed(line, until=line.locate(Gtid(SOURCE, "", 20)))
    assert joined(found[made.name]) == expected(made, gtids("a:1-20"))


@given(st.integers(0, 2**32), st.data())
@settings(max_examples=60, deadline=None)
def test_every_cut_hole_and_set_gives_whole_transactions_once(
    tmp_path_factory: pytest.TempPathFactory, seed: int, data: st.DataObject
) -> None:
    chance = random.Random(seed)
    keyring = file_keyring(tmp_path_factory.getbasetemp())
    store = MemoryStore()
    archive = ShardArchive(Repository.create(store, keyring, TickingClock()), "s1", level=1)
    archive.open_epoch(facts(), TickingClock())
    made = MadeFile(binlog(1), seed=seed).run(SOURCE, 1, 12, size=chance.randrange(1, 400)).rotate()
    other = MadeFile(binlog(1, uuid=OTHER), gtids("a:1-4"), seed=seed + 1).run(SOURCE, 5, 15).run(OTHER, 1, 3)
    last = MadeFile(binlog(1, uuid=THIRD), gtids("a:1-15,b:1-3")).run(THIRD, 1, 4)
    files = (made, other, last)
    for each in files:
        each.put(archive, each.cuts(data.draw(st.integers(1, 9))))
        each.put(archive, each.cuts(data.draw(st.integers(1, 5))))
    for _ in range(data.draw(st.integers(0, 2))):
        segments = archive.file(chance.choice((made, other)).name).segments[1:]
        if segments:
            store.delete(layout.segment("s1", chance.choice(segments).name))
    line = Line.of(archive)
    have = union_of(
        chance.sample([t.gtid for each in files for t in each.transactions], chance.randrange(20))
    )
    found = replayed(line, have, threads=2, memory_bytes=chance.choice([1, 3000, 10**6]))
    given_out = b"".join(joined(found.get(each.name, {}))[each.head - 4 :] for each in files)
    seen = have
    wanted = b""
    for part in line.parts:
        assert not part.wanted & (seen - have)
        seen |= part.wanted
    for each in files:
        own = [part.wanted for part in line.parts if part.file == each.name]
        mine = GtidSet(origin for gtids in own for origin in gtids) - have
        wanted += expected(each, mine)[each.head - 4 :]
    assert given_out == wanted
    everything = GtidSet(origin for each in files for origin in each.gtids())
    missing = GtidSet(origin for gap in line.gaps for origin in gap.missing)
    assert (line.gtids | missing, line.gtids & missing) == (everything, EMPTY)


def union_of(chosen: list[Gtid]) -> GtidSet:
    return GtidSet(origin for gtid in chosen for origin in gtid.as_set())


def test_a_stream_that_is_cancelled_gives_nothing_more(archive: ShardArchive) -> None:
    made = MadeFile(binlog(1)).run(SOURCE, 1, 20)
    made.put(archive, made.cuts(9))
    cancelled = threading.Event()
    cancelled.set()
    assert list(stream(Line.of(archive), EMPTY, cancelled=cancelled)) == []
