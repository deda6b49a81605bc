"""Binary JSON, whole and in edits."""

from __future__ import annotations

import json
import struct
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import BinlogUnreadable
from wire.binlog.json_edits import apply_edits, path_legs
from wire.binlog.json_values import (
    Json,
    JsonEdit,
    JsonEdits,
    Operation,
    decode_json,
    decode_json_edits,
    json_text,
    opaque_value,
)

REPLACE, INSERT, REMOVE = Operation.REPLACE, Operation.INSERT, Operation.REMOVE

# {"t": [1, 2, 3]} from a row event of MySQL 9.7.
DOCUMENT = bytes.fromhex("00 0100 1900 0b00 0100 02 0c00 74 0300 0d00 05 0100 05 0200 05 0300")


def test_a_document_is_what_was_stored() -> None:
    assert decode_json(DOCUMENT) == Json({"t": [1, 2, 3]})
    assert str(decode_json(DOCUMENT)) == '{"t": [1, 2, 3]}'
    assert decode_json(b"") == Json(None)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"\x04\x00", None),
        (b"\x04\x02", False),
        (b"\x05\xff\xff", -1),
        (b"\x06\xff\xff", 65535),
        (b"\x07" + struct.pack("<i", -70000), -70000),
        (b"\x0a" + struct.pack("<Q", 2**64 - 1), 2**64 - 1),
        (b"\x0b" + struct.pack("<d", 1.5), 1.5),
        (b"\x0c\x02\xc3\xa9", "é"),
        (b"\x0c\x80\x01" + b"y" * 128, "y" * 128),
        (b"\x0f\xf6\x04\x03\x02\x81\x17", Decimal("1.23")),
    ],
)
def test_a_scalar_is_a_document_too(raw: bytes, value: object) -> None:
    found = decode_json(raw).value
    assert (found, type(found)) == (value, type(value))


def test_what_json_does_not_have_is_the_text_that_mysql_makes_of_it() -> None:
    packed = ((2026 * 13 + 3) << 22 | 1 << 17 | 2 << 12 | 15 << 6) << 24
    assert opaque_value(12, packed.to_bytes(8, "little")) == "2026-03-01 02:15:00.000000"
    assert opaque_value(10, packed.to_bytes(8, "little")) == "2026-03-01"
    time = (2 << 12 | 15 << 6) << 24
    assert opaque_value(11, (-time).to_bytes(8, "little", signed=True)) == "-02:15:00.000000"
    assert opaque_value(252, b"abc") == "base64:type252:YWJj"
    assert json_text([1e20, 1.0, Decimal("1E+3"), 'a"\n']) == '[1e20, 1.0, 1000, "a\\"\\n"]'


@given(st.binary(max_size=60))
def test_no_bytes_break_the_decoder(noise: bytes) -> None:
    for data in (noise, DOCUMENT[: len(noise)] + noise):
        try:
            json_text(decode_json(data).value)
        except BinlogUnreadable:
            continue


def test_a_document_that_leads_in_circles_is_refused() -> None:
    circle = b"\x02" + struct.pack("<HHBHBH", 2, 10, 2, 0, 2, 0)
    with pytest.raises(BinlogUnreadable, match="leads in circles"):
        decode_json(circle)


def edits(*changes: tuple[Operation, str, object]) -> JsonEdits:
    return JsonEdits(
        JsonEdit(operation, path, None if operation is REMOVE else Json(value))  # type: ignore[arg-type]
        for operation, path, value in changes
    )


def test_edits_are_read_in_their_order() -> None:
    raw = b"\x00\x03$.a\x03\x05\x02\x00" + b"\x02\x04$[0]" + b"\x01\x05$.x.y\x02\x04\x01"
    assert decode_json_edits(raw) == edits(
        (REPLACE, "$.a", 2), (REMOVE, "$[0]", None), (INSERT, "$.x.y", True)
    )
    with pytest.raises(BinlogUnreadable, match="unknown operation 3"):
        decode_json_edits(b"\x03\x01$")


def test_edits_make_the_new_document_and_leave_the_old_one_alone() -> None:
    old = Json({"a": [1, 2, {"b c": 3}], "gone": 0})
    changes = edits(
        (REPLACE, '$.a[2]."b c"', {"deep": []}),
        (INSERT, "$.a[1]", 9),
        (INSERT, '$.a[3]."b c".deep[0]', 5),
        (REMOVE, "$.gone", None),
        (INSERT, '$."q\\"uote"', None),
    )
    assert apply_edits(old, changes) == Json({"a": [1, 9, 2, {"b c": {"deep": [5]}}], 'q"uote': None})
    assert list(apply_edits(Json({"bb": 1, "c": 2}), edits((INSERT, "$.a", 3))).value) == ["a", "c", "bb"]  # type: ignore[call-overload]
    assert old == Json({"a": [1, 2, {"b c": 3}], "gone": 0})
    assert apply_edits(old, edits((REPLACE, "$", 7))) == Json(7)


@pytest.mark.parametrize("path", ["$.missing.x", "$.a.name", "$[0]", "$.a[9]", "$.a[0][0]"])
def test_edits_that_do_not_fit_are_refused(path: str) -> None:
    with pytest.raises(BinlogUnreadable, match="does not fit"):
        apply_edits(Json({"a": [1]}), edits((REPLACE, path, 1)))


@pytest.mark.parametrize("path", ["", "a", "$.", "$a", "$.a[", "$[x]", "$**.a"])
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(BinlogUnreadable, match="has the path"):
        path_legs(path)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_the_text_of_a_document_is_json(value: object) -> None:
    assert json.loads(json_text(value)) == value  # type: ignore[arg-type]
