"""What two definitions have in common, what tells their rows apart, and what is asked of each side."""

from __future__ import annotations

from decimal import Decimal

import pytest

from fleet.errors import ServerUnsupported
from restore.diff_definition import definition_changes, is_same_value, shared_columns
from restore.diff_plan import plan_comparison
from wire.binlog.json_values import Json
from wire.binlog.values import Value
from wire.table_columns import Domain
from wire.table_definition import ColumnDefinition, IndexDefinition, IndexPart, TableDefinition


def column(name: str, type_: str = "int", **facts: object) -> ColumnDefinition:
    kind = type_.partition("(")[0].partition(" ")[0]
    text = "utf8mb4" if kind in {"varchar", "enum", "text"} else None
    given: dict[str, object] = {
        "charset": text,
        "collation": text and "utf8mb4_0900_ai_ci",
        "characters": 20 if text else None,
        "nullable": False,
        "default": None,
        "extra": "",
        "generated": False,
        **facts,
    }
    return ColumnDefinition(name=name, kind=kind, type=type_, **given)  # type: ignore[arg-type]


def index(
    *columns: str, name: str = "PRIMARY", unique: bool = True, nullable: bool = False
) -> IndexDefinition:
    return IndexDefinition(name, unique, tuple(IndexPart(each, None) for each in columns), nullable)


def table(
    *columns: ColumnDefinition, indexes: tuple[IndexDefinition, ...] = (index("id"),)
) -> TableDefinition:
    return TableDefinition("app", "t", columns, indexes)


ID = column("id")


def test_equal_tables_are_compared_packet_by_packet_along_their_key() -> None:
    one = table(ID, column("v", "varchar(20)"))
    plan = plan_comparison(one, one)
    assert plan.alike
    assert plan.key == ("id",)
    sql = "SELECT `id`, `id`, `v` FROM `app`.`t` FORCE INDEX FOR ORDER BY (`PRIMARY`) ORDER BY `id`"
    assert plan.past.sql == plan.live.sql == sql


def test_generated_columns_are_left_out_and_others_of_the_live_table_come_last() -> None:
    past = table(ID, column("v"), column("g", generated=True), column("gone"))
    live = table(ID, column("fresh"), column("V", "bigint"), column("g"))
    plan = plan_comparison(past, live)
    assert [each.name for each in plan.columns] == ["id", "V"]
    assert [each.name for each in plan.others] == ["fresh", "g"]
    assert plan.lost == ("gone",)
    assert not plan.alike
    assert plan.live.sql.startswith("SELECT `id`, `id`, `V`, `fresh`, `g` FROM")


@pytest.mark.parametrize(
    ("past", "live", "compared"),
    [
        ("int", "decimal(8,2)", True),
        ("varchar(20)", "text", True),
        ("datetime", "date", True),
        ("varchar(20)", "varbinary(20)", False),
        ("int", "varchar(20)", False),
        ("point", "point", True),
        ("point", "geometry", False),
    ],
)
def test_a_column_of_another_type_is_compared_where_its_values_can_be(
    past: str, live: str, compared: bool
) -> None:
    found = shared_columns(table(column("c", past)), table(column("c", live)))
    assert bool(found) is compared


def test_tables_that_share_no_column_are_refused() -> None:
    with pytest.raises(ServerUnsupported, match="shares no column"):
        plan_comparison(table(ID), table(column("other"), indexes=()))


@pytest.mark.parametrize(
    ("past", "live", "key"),
    [
        ((index("id"),), (index("id"),), ("id",)),
        ((index("id"),), (index("id", "v"),), ()),
        ((index("id"), index("v", name="v")), (index("v", name="other"),), ("v",)),
        ((index("v", name="v", nullable=True),), (index("v", name="v", nullable=True),), ()),
        ((index("v", name="v", unique=False),), (index("v", name="v", unique=False),), ()),
        ((), (index("id"),), ()),
    ],
)
def test_rows_are_told_apart_by_what_both_sides_name_them_by(
    past: tuple[IndexDefinition, ...], live: tuple[IndexDefinition, ...], key: tuple[str, ...]
) -> None:
    columns = ID, column("v", "varchar(20)")
    plan = plan_comparison(table(*columns, indexes=past), table(*columns, indexes=live))
    assert plan.key == key


@pytest.mark.parametrize(
    ("past", "live", "key", "exact"),
    [
        (column("id"), column("id", "bigint unsigned"), ("id",), False),
        (column("id", "varchar(20)"), column("id", "varchar(30)"), ("id",), False),
        (column("id", "varchar(20)"), column("id", "varchar(20)", collation="utf8mb4_bin"), ("id",), True),
        (column("id", "enum('a','b')"), column("id", "enum('b','a')"), (), False),
        (column("id", "datetime"), column("id", "datetime(3)"), (), False),
    ],
)
def test_a_key_of_another_type_is_followed_where_its_order_is_known(
    past: ColumnDefinition, live: ColumnDefinition, key: tuple[str, ...], exact: bool
) -> None:
    plan = plan_comparison(table(past), table(live))
    assert plan.key == key
    assert ("AS BINARY" in plan.live.sql) is exact
    assert ("FORCE INDEX" in plan.live.sql) is (bool(key) and not exact)


def test_what_became_of_columns_and_indexes_is_told_in_order() -> None:
    past = table(ID, column("v", "varchar(20)"), column("gone"), indexes=(index("id"), index("v", name="v")))
    live = table(
        ID, column("v", "varchar(30)", nullable=True, default="x"), column("fresh"), indexes=(index("id"),)
    )
    told = [
        (each.what, each.name, each.past, each.live, each.compared) for each in definition_changes(past, live)
    ]
    text = "collate utf8mb4_0900_ai_ci"
    assert told == [
        ("column", "v", f"varchar(20) {text} not null", f"varchar(30) {text} default x", True),
        ("column", "gone", "int not null", None, False),
        ("column", "fresh", None, "int not null", False),
        ("index", "v", "unique (v)", None, True),
    ]
    assert definition_changes(past, past) == ()


@pytest.mark.parametrize(
    ("past", "live", "domain", "same"),
    [
        (1, Decimal("1.00"), "number", True),
        (Decimal("0.10"), 0.1, "number", True),
        (1, Decimal("1.01"), "number", False),
        ("2026-03-01 02:15:00", "2026-03-01 02:15:00.000", "time", True),
        ("2026-03-01 00:00:00.000", "2026-03-01", "time", True),
        ("2026-03-01 02:15:00", "2026-03-01", "time", False),
        ("-00:00:01.50", "-00:00:01.5", "time", True),
        (Json({"a": 1}), '{"a": 1}', "text", True),
        ("a", "A", "text", False),
        (None, None, "number", True),
        (None, 0.0, "number", False),
        (None, "", "text", False),
    ],
)
def test_a_value_that_survived_a_change_of_its_type_is_the_same(
    past: Value, live: Value, domain: Domain, same: bool
) -> None:
    assert is_same_value(past, live, domain) is same
    assert is_same_value(live, past, domain) is same
