"""What the load wrote, kept twice, in the database and in files of what was acknowledged; and the comparison.

Each transaction moves an amount between two accounts of one book and writes a ledger row, numbered for each
client from 1 without gaps. So a restored or promoted server can be asked: does every balance follow from
the ledger (no transaction is there by half), is the ledger without gaps (none is missing in the middle), and
which acknowledged transactions are not there (lost)?
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pymysql

SCHEMA = "load"
OPENING_BALANCE = 1000

_CLIENT_FILE = re.compile(r"client-(\d+)\.ledger")
Connection: TypeAlias = "pymysql.connections.Connection[Any]"


class Acknowledged(NamedTuple):
    """A transaction whose commit the server confirmed at that time."""

    client: int
    sequence: int
    at: datetime


class Gap(NamedTuple):
    """Ledger rows ``first`` to ``last`` of a client that are missing although later ones are there."""

    client: int
    first: int
    last: int


@dataclass(frozen=True)
class LoadCheck:
    """``unbalanced``: what contradicts the ledger. ``lost``: acknowledged, but not there; oldest first."""

    transactions: int
    unbalanced: tuple[str, ...]
    gaps: tuple[Gap, ...]
    lost: tuple[Acknowledged, ...]

    @property
    def is_consistent(self) -> bool:
        """Every transaction is there whole or not at all, and none is missing before one that is there."""
        return not self.unbalanced and not self.gaps


class LedgerFile:
    """The acknowledged transactions of one client; a line is with the kernel when ``append`` returns."""

    def __init__(self, path: Path, client: int) -> None:
        self.client = client
        known = read_acknowledged(path, client)
        self.last_sequence = known[-1].sequence if known else 0
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        # A line that a killed load wrote by half must not be joined to the next one.
        os.ftruncate(self._descriptor, path.read_bytes().rfind(b"\n") + 1)

    def append(self, sequence: int, at: datetime) -> None:
        """Note that the commit of ``sequence`` was confirmed."""
        os.write(self._descriptor, f"{sequence} {at.timestamp():.6f}\n".encode())
        self.last_sequence = sequence

    def close(self) -> None:
        """No more is to come."""
        os.close(self._descriptor)


def ledger_path(directory: Path, client: int) -> Path:
    """Where the acknowledged transactions of a client are noted."""
    return directory / f"client-{client}.ledger"


def read_acknowledged(path: Path, client: int) -> list[Acknowledged]:
    """What a client noted, in order; lines that were written by half are left out."""
    if not path.exists():
        return []
    found: list[Acknowledged] = []
    for line in path.read_bytes().splitlines(keepends=True):
        match = re.fullmatch(rb"(\d+) (\d+\.\d{6})\n", line)
        if match:
            found.append(Acknowledged(client, int(match[1]), datetime.fromtimestamp(float(match[2]), UTC)))
    return found


def acknowledged_in(directory: Path) -> list[Acknowledged]:
    """What all clients noted in ``directory``, client by client."""
    found: list[Acknowledged] = []
    for path in sorted(directory.iterdir()):
        name = _CLIENT_FILE.fullmatch(path.name)
        if name:
            found += read_acknowledged(path, int(name[1]))
    return found


def check_load(connection: Connection, directory: Path | None = None) -> LoadCheck:
    """Compare the server's accounts with its ledger, and its ledger with the files in ``directory``.

    Safe while the load runs: the files are read first, then one snapshot of the database.
    Raises pymysql.MySQLError if the schema ``load`` is not there.
    """
    acknowledged = acknowledged_in(directory) if directory else []
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        try:
            cursor.execute("SELECT client, sequence FROM `load`.ledger ORDER BY client, sequence")
            there: dict[int, list[int]] = {}
            for client, sequence in cursor.fetchall():
                there.setdefault(client, []).append(sequence)
            unbalanced = _unbalanced(cursor)
        finally:
            connection.rollback()
    known = {client: set(sequences) for client, sequences in there.items()}
    lost = [one for one in acknowledged if one.sequence not in known.get(one.client, ())]
    return LoadCheck(
        transactions=sum(map(len, there.values())),
        unbalanced=tuple(unbalanced),
        gaps=tuple(gap for client, sequences in there.items() for gap in find_gaps(client, sequences)),
        lost=tuple(sorted(lost, key=lambda one: one.at)),
    )


def find_gaps(client: int, sequences: list[int]) -> list[Gap]:
    """Runs of numbers that are missing from an ascending list that should begin at 1."""
    return [
        Gap(client, before + 1, after - 1)
        for before, after in zip([0, *sequences], sequences, strict=False)
        if after != before + 1
    ]


def _unbalanced(cursor: Any) -> list[str]:
    cursor.execute("SELECT book, accounts FROM `load`.books ORDER BY book")
    found: list[str] = []
    for book, accounts in cursor.fetchall():
        cursor.execute(f"SELECT COUNT(*), COALESCE(SUM(balance), 0) FROM `load`.accounts_{book}")
        count, total = cursor.fetchone()
        if (count, total) != (accounts, accounts * OPENING_BALANCE):
            found.append(
                f"accounts_{book} has {count} accounts with {total} in sum, "
                f"not {accounts} with {accounts * OPENING_BALANCE}"
            )
        cursor.execute(
            f"SELECT COUNT(*) FROM `load`.accounts_{book} a"
            " LEFT JOIN (SELECT account, SUM(moved) AS moved FROM ("
            " SELECT debited AS account, -amount AS moved FROM `load`.ledger WHERE book = %s"
            " UNION ALL SELECT credited, amount FROM `load`.ledger WHERE book = %s) parts GROUP BY account) m"
            " ON m.account = a.id WHERE a.balance <> %s + COALESCE(m.moved, 0)",
            (book, book, OPENING_BALANCE),
        )
        (wrong,) = cursor.fetchone()
        if wrong:
            found.append(f"accounts_{book} has {wrong} balances that do not follow from the ledger")
    return found
