"""Single tables are followed through the DDL of the range, under all the names that their rows have had."""

from __future__ import annotations

import pytest

from fleet.errors import TargetUnreachable
from fleet.gtid import GtidSet
from fleet.table_name import TableName
from fleet.transaction import Gtid, Kind, Transaction
from restore.table_history import TableHistory
from tests.unit.restore.made_lines import T0, A
from wire.binlog.ddl import read_ddl

ORDERS = TableName("shop", "orders")


def history(*texts: str, asked: TableName = ORDERS, folds: bool = False) -> TableHistory:
    """As the archive would tell of these statements, said in schema ``shop``: its index names what they
    change, but for the table that is swapped with a partition."""
    statements: list[Transaction] = []
    full: dict[Gtid, str] = {}
    for number, text in enumerate(texts, start=1):
        (origin,) = GtidSet.parse(f"{A}:{number}")
        gtid = Gtid(origin.uuid, "", number)
        touched = read_ddl(text, "shop").touched
        tables = touched[:1] if "EXCHANGE" in text else touched
        statements.append(
            Transaction(gtid, T0 + number, number * 100, 100, Kind.DDL, tuple(sorted(tables)), text[:200])
        )
        full[gtid] = text
    return TableHistory([asked], statements, lambda each: (full[each.gtid], "shop"), folds=folds)


def served(found: TableHistory) -> list[int]:
    return [deed.transaction.gtid.number for deed in found.deeds]


def test_statements_about_other_tables_are_not_served() -> None:
    found = history(
        "ALTER TABLE orders ADD COLUMN a INT",
        "ALTER TABLE customers ADD COLUMN a INT",
        "CREATE TABLE copy LIKE orders",
        "CREATE TRIGGER x BEFORE INSERT ON orders FOR EACH ROW SET NEW.a = 1",
        "TRUNCATE TABLE orders",
    )
    assert served(found) == [1, 5]
    assert found.names == {"shop.orders"}
    found.check()


def test_a_table_that_was_swapped_in_by_renames_brings_the_names_it_came_from() -> None:
    found = history(
        "CREATE TABLE _orders_new LIKE orders",
        "ALTER TABLE _orders_new ADD COLUMN a INT",
        "RENAME TABLE orders TO _orders_old, _orders_new TO orders",
        "DROP TABLE _orders_old",
    )
    assert found.names == {"shop.orders", "shop._orders_new", "shop._orders_old"}
    assert served(found) == [1, 2, 3, 4]
    found.check()


def test_a_partition_exchange_brings_the_partitioned_table() -> None:
    found = history("ALTER TABLE sales EXCHANGE PARTITION p0 WITH TABLE orders")
    assert found.names == {"shop.orders", "shop.sales"}
    assert served(found) == [1]


def test_a_schema_that_is_made_on_the_way_is_made() -> None:
    found = history("CREATE DATABASE shop", "CREATE DATABASE other", "CREATE TABLE orders (id INT)")
    assert served(found) == [1, 3]
    assert found.makes(ORDERS)
    found.check()


@pytest.mark.parametrize(
    "gone",
    [
        "DROP TABLE customers, orders",
        "DROP DATABASE shop",
        "RENAME TABLE orders TO elsewhere",
        "ALTER TABLE orders RENAME TO archive.orders",
    ],
)
def test_a_table_that_is_gone_at_the_point_is_refused_with_the_last_point_that_has_it(gone: str) -> None:
    found = history("TRUNCATE TABLE orders", gone)
    with pytest.raises(TargetUnreachable, match=r"shop\.orders is not there") as caught:
        found.check()
    assert f"--before-gtid {A}:2" in (caught.value.hint or "")


def test_a_table_that_was_dropped_and_made_again_is_there() -> None:
    history("DROP TABLE orders", "CREATE TABLE orders (id INT)").check()


def test_rows_that_came_from_a_file_are_refused() -> None:
    with pytest.raises(TargetUnreachable, match="imported"):
        history("ALTER TABLE orders IMPORT TABLESPACE").check()


def test_names_are_compared_as_the_server_does() -> None:
    assert served(history("TRUNCATE TABLE Orders")) == []
    assert served(history("TRUNCATE TABLE Orders", folds=True)) == [1]


def test_parents_that_foreign_keys_are_given_on_the_way_are_known() -> None:
    found = history(
        "ALTER TABLE orders ADD FOREIGN KEY (c) REFERENCES customers (id) ON DELETE CASCADE",
        "ALTER TABLE items ADD FOREIGN KEY (o) REFERENCES orders (id)",
    )
    assert [(each.table, each.cascades) for each in found.parents] == [("shop.customers", True)]


def test_a_table_that_was_dropped_is_told_even_where_a_tablespace_was_imported_before() -> None:
    found = history(
        "ALTER TABLE orders IMPORT TABLESPACE", "DROP TABLE orders", "CREATE TABLE other (id INT)"
    )
    with pytest.raises(TargetUnreachable, match="DROP TABLE orders") as caught:
        found.check_there()
    assert caught.value.hint == f"The last point that has it is --before-gtid {A}:2."
