"""What is printed beside tables that were handed over works whatever the names hold."""

from __future__ import annotations

from fleet.table_name import TableName
from restore.table_delivery import _how_to_import  # pyright: ignore[reportPrivateUsage]


def test_the_way_to_import_is_typed_in_the_client_and_holds_names_with_any_quote() -> None:
    told = _how_to_import(TableName("shop", "it's `odd`")).splitlines()
    assert "ALTER TABLE `recovered`.`it's ``odd``` DISCARD TABLESPACE;" in told
    assert "ALTER TABLE `recovered`.`it's ``odd``` IMPORT TABLESPACE;" in told
    assert "source create.sql" in told
    assert not any(line.startswith("mysql ") for line in told)
