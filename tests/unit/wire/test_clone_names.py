from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import ProtocolViolation
from wire.clone.names import is_external, mapped_name, safe_name

TABLE, SYSTEM, UNDO, BUFFER_POOL = 7, 0, 0xFFFFFFEF, 0xFFFFFFFF
GENERAL_FLAGS, TABLE_FLAGS = 1 << 11, 0x4021


@pytest.mark.parametrize(
    ("name", "space", "expected"),
    [
        (b"./app/t.ibd", TABLE, "app/t.ibd"),
        (b"app/t.ibd", TABLE, "app/t.ibd"),
        (b"./app/t#p#p0.ibd", TABLE, "app/t#p#p0.ibd"),
        (b"./app/#sql-ib1064-2.ibd", TABLE, "app/#sql-ib1064-2.ibd"),
        (b"./my@002ddb/t@0020u.ibd", TABLE, "my@002ddb/t@0020u.ibd"),
        (b"mysql.ibd", 0xFFFFFFFE, "mysql.ibd"),
        (b"./one/two/general.ibd", TABLE, "one/two/general.ibd"),
        (b"ibdata1", SYSTEM, "ibdata1"),
        (b"undo_001", UNDO, "undo_001"),
        (b"my.ibu", UNDO, "my.ibu"),
        (b"ib_buffer_pool", BUFFER_POOL, "ib_buffer_pool"),
    ],
)
def test_names_that_a_server_writes_are_taken(name: bytes, space: int, expected: str) -> None:
    assert safe_name(name, space) == expected


@pytest.mark.parametrize(
    ("name", "space"),
    [
        (b"../app/t.ibd", TABLE),
        (b"./../t.ibd", TABLE),
        (b"./app/../../t.ibd", TABLE),
        (b"./app//t.ibd", TABLE),
        (b"././t.ibd", TABLE),
        (b"/etc/t.ibd", TABLE),
        (b"./app/", TABLE),
        (b"", TABLE),
        (b"./app/t\n.ibd", TABLE),
        (b"./app\\t.ibd", TABLE),
        (b"./app/\xff.ibd", TABLE),
        (b"./app/t.frm", TABLE),
        (b"auto.cnf", TABLE),
        (b"./#innodb_redo/#ib_redo0.ibd", TABLE),
        (b"#clone/x.ibd", TABLE),
        (b"./.ssh/t.ibd", TABLE),
        (b"./app/.t.ibd", TABLE),
        (b"./#t.ibd", TABLE),
        (b"a/" * 600 + b"t.ibd", TABLE),
        (b"auto.cnf", SYSTEM),
        (b"mysqld-auto.cnf", SYSTEM),
        (b"app/ibdata1", SYSTEM),
        (b"#ibdata", SYSTEM),
        (b"app/undo_001", UNDO),
        (b"undo_x", UNDO),
        (b"ib_buffer_pool2", BUFFER_POOL),
    ],
)
def test_names_that_no_server_writes_are_violations(name: bytes, space: int) -> None:
    with pytest.raises(ProtocolViolation, match="donor"):
        safe_name(name, space)


parts = st.sampled_from(
    [b"..", b".", b"", b"app", b"t.ibd", b"#x", b"/", b"\0", b"a.ibd", b"x.ibu", b"undo_1"]
)


@given(st.lists(parts, max_size=6).map(b"/".join) | st.binary(max_size=40), st.sampled_from([TABLE, 0, UNDO]))
def test_whatever_is_taken_stays_inside(name: bytes, space: int) -> None:
    for make in (lambda: safe_name(name, space), lambda: mapped_name(b"/" + name, space, TABLE_FLAGS)):
        try:
            path = PurePosixPath(make())
        except ProtocolViolation:
            continue
        assert not path.is_absolute()
        assert path.parts and not {"..", ".", ""} & set(path.parts)
        assert not path.parts[0].startswith("#")


def test_an_external_table_keeps_its_schema_and_a_general_tablespace_goes_to_the_top() -> None:
    assert is_external(b"/mnt/fast/app/t.ibd") and not is_external(b"./app/t.ibd")
    assert mapped_name(b"/mnt/fast/app/t.ibd", TABLE, TABLE_FLAGS) == "app/t.ibd"
    assert mapped_name(b"/mnt/fast/app/t#p#p0.ibd", TABLE, TABLE_FLAGS) == "app/t#p#p0.ibd"
    assert mapped_name(b"/mnt/fast/ts.ibd", TABLE, GENERAL_FLAGS) == "ts.ibd"


@pytest.mark.parametrize(
    "name", [b"/t.ibd", b"/mnt/../t.ibd", b"/mnt/#innodb_redo/t.ibd", b"/mnt/app/my.cnf"]
)
def test_an_external_name_is_trusted_no_more_than_another(name: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        mapped_name(name, TABLE, TABLE_FLAGS)
