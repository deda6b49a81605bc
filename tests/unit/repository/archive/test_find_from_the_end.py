"""Finding from the end of the line, and what was done to a whole schema."""

from __future__ import annotations

from dataclasses import replace

import pytest
from archived_binlogs import OTHER, SOURCE, MadeFile, binlog, facts
from sealed_backups import TickingClock, file_keyring

from fleet.gtid import GtidSet
from fleet.transaction import Kind
from repository.archive.archive import ShardArchive
from repository.archive.find import Query, find
from repository.archive.line import Line
from repository.repository import Repository
from repository.stores.memory import MemoryStore


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """Two epochs in several pieces, a branch, and a schema that is dropped."""
    keyring = file_keyring(tmp_path_factory.mktemp("keys"))
    archive = ShardArchive(Repository.create(MemoryStore(), keyring, TickingClock()), "s1", level=1)
    archive.open_epoch(facts(), TickingClock())
    old = MadeFile(binlog()).run(SOURCE, 1, 40)
    old.put(archive, old.cuts(6))
    archive.open_epoch(facts(1, inherited=GtidSet.parse(f"{SOURCE}:1-30")), TickingClock())
    new = MadeFile(binlog(epoch=2, uuid=OTHER)).run(OTHER, 1, 20)
    new.commit(f"{OTHER}:21", tables=("shop.*",), kinds=Kind.DDL, statement="DROP DATABASE shop")
    new.commit(f"{OTHER}:22", tables=("shop_2.*",), kinds=Kind.DDL, statement="DROP DATABASE shop_2")
    new.put(archive, new.cuts(5))
    return Line.of(archive)


@pytest.mark.parametrize(
    "query", [Query(), Query(kinds=Kind.DDL), Query(tables=("shop.orders",)), Query(bigger_than=150)]
)
def test_from_the_end_the_same_are_found_the_other_way_round(line: Line, query: Query) -> None:
    forward = list(find(line, query))
    backward = list(find(line, replace(query, newest_first=True)))
    assert backward == forward[::-1]
    assert list(find(line, replace(query, newest_first=True, limit=3))) == backward[:3]


def test_a_dropped_schema_is_found_by_every_table_it_may_have_had(line: Line) -> None:
    for pattern in ("shop.orders", "shop.*", "sh?p.x", "*.orders"):
        found = [one.transaction.statement for one in find(line, Query(tables=(pattern,), kinds=Kind.DDL))]
        assert "DROP DATABASE shop" in found
        assert ("DROP DATABASE shop_2" in found) == (pattern == "*.orders")
    assert not list(find(line, Query(tables=("shops.orders",))))
