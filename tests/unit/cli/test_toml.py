"""Plain values as TOML."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cli.toml import to_toml

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_SCALARS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(-1e9, 1e9) | _TEXTS
_VALUES = st.recursive(
    _SCALARS | st.lists(_SCALARS, max_size=3),
    lambda inner: (
        st.dictionaries(_TEXTS, inner, max_size=3)
        | st.lists(st.dictionaries(_TEXTS, inner, max_size=2), min_size=1, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(_TEXTS, _VALUES, max_size=4))
def test_what_is_written_reads_back_the_same(values: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(values)) == values


def test_what_is_not_set_is_left_out() -> None:
    assert to_toml({"a": None, "b": {"c": None, "d": 1}}) == "[b]\nd = 1"


def test_a_small_table_inside_another_takes_one_line() -> None:
    values = {"accounts": {"backup": {"user": "backstay", "password": {"env": "PW"}}}}
    assert to_toml(values) == '[accounts.backup]\nuser = "backstay"\npassword = { env = "PW" }'


def test_a_list_of_tables_stands_below_its_own_headings() -> None:
    text = to_toml({"shards": [{"name": "s1", "servers": [{"port": 1}]}, {"name": "s2", "servers": []}]})
    assert text == (
        '[[shards]]\nname = "s1"\n\n[[shards.servers]]\nport = 1\n\n[[shards]]\nname = "s2"\nservers = []'
    )
