"""Finding transactions: the columns against the plainest filter there is."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from archived_binlogs import CREATED, EMPTY, OTHER, SOURCE, MadeFile, binlog, facts
from hypothesis import given, settings
from hypothesis import strategies as st
from sealed_backups import TickingClock, file_keyring

from fleet.gtid import GtidSet
from fleet.transaction import Gtid, Kind, Transaction
from repository.archive import columns
from repository.archive.archive import ShardArchive
from repository.archive.columns import ColumnsMalformedError
from repository.archive.find import Query, find
from repository.archive.line import Line
from repository.repository import Repository
from repository.stores.memory import MemoryStore

TABLES = (("shop.orders",), ("shop.orders", "shop.stock"), ("shop.Orders",), ("crm.people",), ())
KINDS = (Kind.INSERT, Kind.UPDATE, Kind.DELETE | Kind.INSERT, Kind.DDL, Kind.XA, Kind.STATEMENT, Kind.EMPTY)


def filled(seed: int, last: int, uuid: str = SOURCE, epoch: int = 1) -> MadeFile:
    chance = random.Random(seed)
    made = MadeFile(binlog(epoch=epoch, uuid=uuid), seed=seed)
    for number in range(1, last + 1):
        kinds = chance.choice(KINDS)
        made.commit(
            f"{uuid}:{number}",
            at_us=CREATED * 10**6 + chance.randrange(100) * 10**6,
            tables=chance.choice(TABLES),
            kinds=kinds,
            statement=chance.choice(("DROP TABLE `orders`", "alter table people"))
            if kinds & Kind.DDL
            else "",
            size=chance.randrange(200),
        )
    return made


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """Two epochs, cuts everywhere, a branch."""
    keyring = file_keyring(tmp_path_factory.mktemp("keys"))
    archive = ShardArchive(Repository.create(MemoryStore(), keyring, TickingClock()), "s1", level=1)
    archive.open_epoch(facts(), TickingClock())
    old = filled(1, 120)
    old.put(archive, old.cuts(9))
    archive.open_epoch(facts(1, inherited=GtidSet.parse(f"{SOURCE}:1-100")), TickingClock())
    new = filled(2, 90, OTHER, 2)
    new.put(archive, new.cuts(7))
    return Line.of(archive)


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(CREATED, UTC) + timedelta(seconds=seconds)


@given(
    st.lists(st.sampled_from(["shop.orders", "shop.*", "*.people", "none.at_all", "*"]), max_size=2),
    st.sampled_from([Kind.EMPTY, Kind.DELETE, Kind.INSERT | Kind.DDL, Kind.STATEMENT]),
    st.tuples(st.none() | st.integers(0, 99), st.none() | st.integers(0, 99)),
    st.sampled_from(["", "drop table", "PEOPLE", "orders", "nowhere"]),
    st.none() | st.integers(100, 350),
    st.none() | st.integers(0, 5),
)
@settings(max_examples=80, deadline=None)
def test_what_is_found_is_what_a_plain_filter_finds(
    line: Line,
    tables: list[str],
    kinds: Kind,
    between: tuple[int | None, int | None],
    text: str,
    bigger_than: int | None,
    limit: int | None,
) -> None:
    first, last = (at(each) if each is not None else None for each in between)
    query = Query(tuple(tables), kinds, (first, last), text, bigger_than, limit)

    def matches(each: Transaction) -> bool:
        committed = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=each.committed_at_us)
        names = {"shop.*": ("shop.",), "*.people": ("crm.",), "*": ("shop.", "crm.")}
        return (
            (
                not tables
                or any(t == p or t.startswith(names.get(p, "!")) for t in each.tables for p in tables)
            )
            and (not kinds or bool(each.kinds & kinds))
            and (first is None or first <= committed)
            and (last is None or committed <= last)
            and text.lower() in each.statement.lower()
            and (bigger_than is None or each.length > bigger_than)
        )

    found = [entry.transaction for entry in find(line, query)]
    everything = [entry.transaction for entry in line.transactions()]
    assert len(everything) == 190
    assert found == [each for each in everything if matches(each)][:limit]


def test_a_drop_is_found_and_a_restore_can_stop_before_it(line: Line) -> None:
    (found,) = find(line, Query(text="drop table", limit=1))
    assert found.transaction.statement == "DROP TABLE `orders`"
    assert line.locate(found.transaction.gtid) == found
    assert found.transaction.gtid.as_set() & line.gtids_before(found) == EMPTY


TAGS = st.sampled_from(["", "nightly", "tag_2"])
TRANSACTIONS = st.lists(
    st.builds(
        Transaction,
        gtid=st.builds(Gtid, st.sampled_from([SOURCE, OTHER]), TAGS, st.integers(1, 2**63 - 2)),
        committed_at_us=st.integers(0, 2**64 - 1),
        start=st.integers(0, 2**40),
        length=st.integers(1, 2**40),
        kinds=st.integers(0, 63).map(Kind),
        tables=st.lists(st.text(max_size=20), max_size=3).map(tuple),
        statement=st.text(max_size=30),
    ),
    max_size=30,
)


@given(TRANSACTIONS)
def test_an_index_gives_back_what_was_put_in(transactions: list[Transaction]) -> None:
    found = columns.decode(columns.encode(transactions))
    assert found.transactions() == transactions
    assert found.gtids() == columns.gtids_of(transactions)
    assert found.gtids() == GtidSet(origin for each in transactions for origin in each.gtid.as_set())
    some = GtidSet(origin for each in transactions[::2] for origin in each.gtid.as_set())
    rows = range(len(transactions))
    assert found.rows_in(some, rows) == [row for row in rows if transactions[row].gtid.as_set() <= some]


@given(TRANSACTIONS, st.binary(max_size=40), st.integers(0, 500))
def test_other_bytes_are_malformed_and_nothing_worse(
    transactions: list[Transaction], noise: bytes, where: int
) -> None:
    whole = columns.encode(transactions)
    for data in (noise, whole[:where], whole[:where] + noise + whole[where + len(noise) :], whole + noise):
        try:
            columns.decode(data)
        except ColumnsMalformedError:
            continue
