"""Names of tables: as people write them, and as MySQL calls their files."""

from __future__ import annotations

import re

import pytest

from fleet.errors import UsageError
from fleet.table_name import TableName


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("shop.orders", TableName("shop", "orders")),
        ("`shop`.`orders`", TableName("shop", "orders")),
        ("`a.b`.c", TableName("a.b", "c")),
        ("a.`b``c`", TableName("a", "b`c")),
        ("my-shop.the orders", TableName("my-shop", "the orders")),
    ],
)
def test_a_name_is_read_as_people_write_it(text: str, name: TableName) -> None:
    assert TableName.parse(text) == name


@pytest.mark.parametrize("text", ["", "orders", "a.b.c", ".b", "a.", "`a.b", "a.b`", "`a`b.c"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        TableName.parse(text)


def test_a_name_is_quoted_for_a_statement() -> None:
    assert TableName("a`b", "c d").quoted == "`a``b`.`c d`"


def test_files_are_named_in_mysqls_own_encoding() -> None:
    assert TableName("b", "we-ird name").file_pattern == "b/we@002dird@0020name"
    assert TableName("b", "Plain_1").file_pattern == "b/Plain_1"


def test_letters_beyond_ascii_may_be_encoded_in_two_ways() -> None:
    pattern = TableName("b", "märz").file_pattern
    assert re.fullmatch(pattern, "b/m@0krz")
    assert re.fullmatch(pattern, "b/m@00e4rz")
    assert not re.fullmatch(pattern, "b/m@0k@0krz")
