"""Rows of the text protocol: packets cut into cells, and streams that end in order or in an error."""

from __future__ import annotations

import io
from typing import Any

import pymysql
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.row_stream import Cell, cells, packets

LARGEST_PIECE = 0xFFFFFF
EOF = b"\xfe\0\0\2\0"


def length(number: int) -> bytes:
    if number < 0xFB:
        return bytes((number,))
    mark, width = next((m, w) for m, w in ((0xFC, 2), (0xFD, 3), (0xFE, 8)) if number < 1 << (8 * w))
    return bytes((mark,)) + number.to_bytes(width, "little")


def packet(row: list[Cell]) -> bytes:
    return b"".join(b"\xfb" if cell is None else length(len(cell)) + cell for cell in row)


def framed(*payloads: bytes) -> bytes:
    pieces: list[bytes] = []
    for payload in payloads:
        for at in range(0, len(payload) + 1, LARGEST_PIECE):
            piece = payload[at : at + LARGEST_PIECE]
            pieces.append(len(piece).to_bytes(3, "little") + b"\0" + piece)
    return b"".join(pieces)


class Scripted:
    """A connection that has read the definitions of its columns, and goes on with these bytes."""

    def __init__(self, data: bytes) -> None:
        self._rfile = io.BytesIO(data)
        self.asked: list[str] = []
        self.is_closed = False

    def _execute_command(self, command: int, sql: str) -> None:
        self.asked.append(sql)

    def _read_packet(self) -> Any:
        return self

    def read_length_encoded_integer(self) -> int:
        return 2

    def _force_close(self) -> None:
        self.is_closed = True


@given(st.lists(st.none() | st.binary(max_size=300), min_size=1, max_size=8), st.integers(0, 9))
def test_cells_are_what_was_put_into_the_packet(row: list[Cell], most: int) -> None:
    assert cells(packet(row)) == row
    assert cells(packet(row), most) == row[:most]


@pytest.mark.parametrize("size", [250, 251, 0xFFFF, 0x10000, 0xFFFFFF, 0x1000000])
def test_a_cell_is_as_long_as_its_length_says(size: int) -> None:
    assert cells(packet([b"x" * size, None, b"y"])) == [b"x" * size, None, b"y"]


def test_rows_come_one_by_one_up_to_the_end() -> None:
    connection = Scripted(framed(packet([b"1"]), packet([None]), EOF))
    assert list(packets(connection, "SELECT v")) == [packet([b"1"]), packet([None])]
    assert (connection.asked, connection.is_closed) == (["SELECT v"], False)


@pytest.mark.parametrize("size", [LARGEST_PIECE - 5, LARGEST_PIECE - 4, LARGEST_PIECE, 2 * LARGEST_PIECE])
def test_a_row_of_many_pieces_is_one(size: int) -> None:
    row = packet([b"x" * size])
    connection = Scripted(framed(row, EOF))
    assert list(packets(connection, "SELECT v")) == [row]


def test_an_error_among_the_rows_is_raised_and_ends_the_connection() -> None:
    error = b"\xff" + (1317).to_bytes(2, "little") + b"#70100Query execution was interrupted"
    connection = Scripted(framed(packet([b"1"]), error))
    rows = packets(connection, "SELECT v")
    assert next(rows) == packet([b"1"])
    with pytest.raises(pymysql.MySQLError, match="interrupted"):
        next(rows)
    assert connection.is_closed


@pytest.mark.parametrize("left", [0, 3, 5])
def test_a_connection_that_ends_among_the_rows_is_lost(left: int) -> None:
    connection = Scripted(framed(packet([b"12345"]))[:left])
    with pytest.raises(pymysql.OperationalError, match="was lost"):
        list(packets(connection, "SELECT v"))
    assert connection.is_closed


def test_who_stops_early_closes_the_connection() -> None:
    connection = Scripted(framed(packet([b"1"]), packet([b"2"]), EOF))
    rows = packets(connection, "SELECT v")
    next(rows)
    rows.close()
    assert connection.is_closed
