"""Rows of one SELECT as the server sends them: whole packets, one at a time, cut into cells only when asked.

A comparison of two tables looks into few of its rows, so a packet is the unit: equal rows are equal packets.
A cell is a length (1 to 9 bytes) and that many bytes, or one byte that says NULL; all values are text.
Source: the text result set of the MySQL client/server protocol.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeAlias

import pymysql
import pymysql.err
from pymysql.constants import COMMAND, CR

from wire.packet import ERROR_MARK, HEADER_BYTES

Cell: TypeAlias = bytes | None
"""The bytes of a value, None for NULL."""

_LONGEST_PIECE = 0xFFFFFF
_EOF_MARK = 0xFE
_LONGEST_EOF = 8
_NULL = 0xFB
_WIDTHS = {0xFC: 2, 0xFD: 3, 0xFE: 8}


def packets(connection: Any, sql: str) -> Generator[bytes]:
    """The rows of ``sql`` on a connection of pymysql, none of them kept. Raises pymysql's errors.

    Who stops before the last row has closed the connection: what was not read would be taken for the answer
    to the next statement.
    """
    is_over = False
    try:
        connection._execute_command(COMMAND.COM_QUERY, sql)
        columns: int = connection._read_packet().read_length_encoded_integer()
        for _ in range(columns + 1):
            connection._read_packet()
        while (payload := _read(connection._rfile)) is not None:
            yield payload
        is_over = True
    finally:
        if not is_over:
            connection._force_close()


def _read(stream: Any) -> bytes | None:
    """The next row; None after the last. Packet numbers are not looked at: TCP and TLS keep the order."""
    payload = b""
    while True:
        header: bytes = stream.read(HEADER_BYTES)
        length = int.from_bytes(header[:3], "little")
        piece: bytes = stream.read(length)
        if len(header) < HEADER_BYTES or len(piece) < length:
            raise pymysql.OperationalError(CR.CR_SERVER_LOST, "the connection was lost while rows were read")
        payload = payload + piece if payload else piece
        if length < _LONGEST_PIECE:
            break
    if payload[0] == _EOF_MARK and len(payload) <= _LONGEST_EOF:
        return None
    if payload[0] == ERROR_MARK:
        pymysql.err.raise_mysql_exception(payload)
    return payload


def cells(packet: bytes, most: int | None = None) -> list[Cell]:
    """The cells of a row, or the first ``most`` of them."""
    row: list[Cell] = []
    at, end = 0, len(packet)
    while at < end and len(row) != most:
        length = packet[at]
        at += 1
        if length == _NULL:
            row.append(None)
            continue
        if length > _NULL:
            width = _WIDTHS[length]
            length = int.from_bytes(packet[at : at + width], "little")
            at += width
        row.append(packet[at : at + length])
        at += length
    return row
