"""Which transactions of the archive touch which tables: the index of a range, read once."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from fleet.errors import TargetUnreachable
from fleet.gtid import GtidSet
from fleet.transaction import Gtid, Kind, Transaction
from repository.archive.columns import TransactionColumns, set_of
from repository.archive.excerpts import Excerpts
from repository.archive.line import Entry, Line
from restore.growing import NOTHING
from restore.wording import moment_text
from wire.binlog.changes import Statement, changes

_ROWS = Kind.INSERT | Kind.UPDATE | Kind.DELETE
_XA = re.compile(r"XA\s+\w+\s+(X'[0-9a-f]*'\s*,\s*X'[0-9a-f]*'\s*,\s*\d+)", re.IGNORECASE)
_HARMLESS = ("ANALYZE", "OPTIMIZE", "REPAIR", "CHECK", "FLUSH", "CACHE", "LOCK", "UNLOCK", "USE", "SET")


class _Block(NamedTuple):
    """Transactions of one index, in columns; ``tables`` are positions in ``table_sets``."""

    origins: Sequence[tuple[str, str]]
    table_sets: Sequence[tuple[str, ...]]
    origin: array[int]
    numbers: array[int]
    tables: array[int]


class TableLog:
    """The transactions of ``line`` that are in ``wanted``. 14 bytes of memory for each.

    ``statements``: its DDL, in order; ``count``: all of them. Raises what the archive raises; if they are to
    be ``replayed``, ``TargetUnreachable`` for changes that were logged as SQL text, which only a server with
    all tables could repeat.
    """

    def __init__(self, line: Line, wanted: GtidSet, *, replayed: bool = True) -> None:
        self._excerpts = Excerpts(line)
        self._entries: dict[Gtid, Entry] = {}
        self._blocks: list[_Block] = []
        self.count = 0
        self._xa: list[Entry] = []
        for number, part in enumerate(line.parts):
            here = part.wanted & wanted
            if here:
                for columns, rows in line.archive.index_of(part.part):
                    self._take(columns, columns.rows_in(here, rows), number, line)
        self.statements: tuple[Transaction, ...] = tuple(
            each.transaction for each in self._entries.values() if Kind.DDL in each.transaction.kinds
        )
        for each in self._entries.values() if replayed else ():
            self._check_logged(each)

    def read(self, transaction: Transaction) -> tuple[str, str]:
        """The text of one of ``statements``, and its session's default schema."""
        pieces = self._excerpts.pieces(self._entries[transaction.gtid])
        for change in changes(pieces):
            if isinstance(change, Statement):
                return change.text, change.schema
        return "", ""

    def touching(self, is_followed: Callable[[str], bool]) -> GtidSet:
        """The transactions that change a table of which ``is_followed``.

        Raises ``TargetUnreachable`` for an XA transaction that changes others too: a server that leaves
        tables out takes none (ER_XA_REPLICATION_FILTERS).
        """
        origins: dict[tuple[str, str], int] = {}
        origin, numbers = array("I"), array("Q")
        for block in self._blocks:
            hit = {
                at for at, tables in enumerate(block.table_sets) if any(is_followed(each) for each in tables)
            }
            if hit:
                known = [origins.setdefault(each, len(origins)) for each in block.origins]
                rows = [row for row, tables in enumerate(block.tables) if tables in hit]
                origin.extend(known[block.origin[row]] for row in rows)
                numbers.extend(block.numbers[row] for row in rows)
        # One set at the end: a union for each segment would take time by its square.
        return self._of_xa(is_followed) | set_of(list(origins), origin, numbers)

    def ends_of(self, xids: Iterable[str]) -> GtidSet:
        """The ends of XA transactions that were prepared before the range, by their ids as the log has them:
        ``X'<hex>',X'<hex>',<format>``.
        """
        left, found = set(xids), NOTHING
        for entry in self._xa if left else ():
            if not entry.transaction.tables and (xid := self._xid(entry)) in left:
                left.discard(xid)
                found = found | entry.transaction.gtid.as_set()
        return found

    def _of_xa(self, is_followed: Callable[[str], bool]) -> GtidSet:
        """The XA transactions that change followed tables, and the ends of these, which name no table."""
        found, prepared = NOTHING, set[str]()
        for entry in self._xa:
            transaction = entry.transaction
            followed = [is_followed(table) for table in transaction.tables]
            if any(followed) and not all(followed):
                raise TargetUnreachable(
                    f"the XA transaction {transaction.gtid} of {moment_text(transaction.committed_at_us)} "
                    f"changes {', '.join(transaction.tables)}, which can only be brought together",
                    hint="Name these tables too, each with --table.",
                )
            if any(followed):
                prepared.add(self._xid(entry))
                found = found | transaction.gtid.as_set()
            elif not followed and prepared and (xid := self._xid(entry)) in prepared:
                prepared.discard(xid)
                found = found | transaction.gtid.as_set()
        return found

    def _xid(self, entry: Entry) -> str:
        """The id in an XA transaction's first statement."""
        for change in changes(self._excerpts.pieces(entry)):
            if isinstance(change, Statement) and (match := _XA.match(change.text)):
                return match[1].replace(" ", "").lower()
        return ""

    def _take(self, columns: TransactionColumns, rows: Iterable[int], part: int, line: Line) -> None:
        chosen = list(rows)
        self.count += len(chosen)
        special = int(Kind.DDL | Kind.STATEMENT | Kind.XA)
        kinds = columns.kinds
        for row in chosen:
            if kinds[row] & special:
                transaction = columns.transaction(row)
                entry = Entry(part, line.parts[part].file, transaction)
                if Kind.XA in transaction.kinds:
                    self._xa.append(entry)
                if transaction.kinds & (Kind.DDL | Kind.STATEMENT):
                    self._entries[transaction.gtid] = entry
        # A statement's names are looked at by themselves: what it does with them matters.
        plain = [row for row in chosen if not kinds[row] & int(Kind.DDL | Kind.XA)]
        self._blocks.append(
            _Block(
                columns.origins,
                columns.table_sets,
                array("H", (columns.origin[row] for row in plain)),
                array("Q", (columns.numbers[row] for row in plain)),
                array("I", (columns.tables[row] for row in plain)),
            )
        )

    def _check_logged(self, entry: Entry) -> None:
        transaction = entry.transaction
        if Kind.STATEMENT not in transaction.kinds:
            return
        if not transaction.kinds & _ROWS and self.read(transaction)[0].lstrip().upper().startswith(_HARMLESS):
            return
        raise TargetUnreachable(
            f"{transaction.gtid} of {moment_text(transaction.committed_at_us)} was logged as SQL text, which "
            "only a server with all tables can repeat",
            hint=f"Restore the whole shard to the point, or go to one before it: --before-gtid "
            f"{transaction.gtid}.",
        )
