"""What became of single tables on the way to a point: under which names their rows must be followed. Pure.

A table that was renamed into its name, swapped with a partition or copied from another's definition brings
those other tables with it; so names are gathered until no statement adds one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from fleet.errors import TargetUnreachable
from fleet.table_name import TableName
from fleet.transaction import Gtid, Transaction
from restore.wording import moment_text
from wire.binlog.ddl import Ddl, Parent, read_ddl

_SPACE = re.compile(r"\bTABLESPACE\b", re.IGNORECASE)
_ALL = ".*"


class Deed(NamedTuple):
    """A DDL statement of the range that matters."""

    transaction: Transaction
    ddl: Ddl

    @property
    def told(self) -> str:
        """For messages."""
        return f"{self.transaction.gtid} of {moment_text(self.transaction.committed_at_us)}"


class TableHistory:
    """The statements that touch ``asked``, among ``statements``, which are all DDL of the range in order.

    ``read`` gives a transaction's full text and its session's default schema. ``also``: tables that are
    followed though nobody asked for them. ``folds``: names that differ in case alone are one.
    What comes out are names as ``key`` makes them.
    """

    def __init__(
        self,
        asked: Sequence[TableName],
        statements: Sequence[Transaction],
        read: Callable[[Transaction], tuple[str, str]],
        *,
        also: Iterable[TableName] = (),
        folds: bool = False,
    ) -> None:
        self.asked = tuple(asked)
        self._folds = folds
        self._statements = statements
        self._read = read
        self._known: dict[Gtid, Ddl] = {}
        self.names = frozenset(self.key(str(each)) for each in (*asked, *also))
        while True:
            self.deeds = tuple(self._relevant())
            more = self.names | frozenset(self._joined())
            if more == self.names:
                break
            self.names = more

    def key(self, name: str) -> str:
        """Equal for names of the same table."""
        return name.lower() if self._folds else name

    @property
    def parents(self) -> tuple[Parent, ...]:
        """Tables that foreign keys of the followed ones refer to, as far as statements say so."""
        return tuple(parent for deed in self.deeds for parent in deed.ddl.parents)

    def makes(self, table: TableName) -> bool:
        """Does a statement bring the table into being?"""
        return any(self.key(str(table)) in self._begun(deed.ddl) for deed in self.deeds)

    def check(self) -> None:
        """Raise ``TargetUnreachable`` for a table that is not there any more at the end of the range, or has
        rows that the log never had.
        """
        for deed in self.deeds:
            if deed.ddl.imported:
                raise TargetUnreachable(
                    f"{deed.told} imported or discarded a tablespace: {deed.transaction.statement}",
                    hint="What was in the file is not in the log. Take a backup that is newer than that, or "
                    f"a point before it: --before-gtid {deed.transaction.gtid}.",
                )
        self.check_there()

    def check_there(self) -> None:
        """Raise ``TargetUnreachable`` for a table that a statement took away, and none made again."""
        for table in self.asked:
            gone = self._gone(self.key(str(table)))
            if gone is not None:
                raise TargetUnreachable(
                    f"{table} is not there at the point: {gone.told} took it away: "
                    f"{gone.transaction.statement}",
                    hint=f"The last point that has it is --before-gtid {gone.transaction.gtid}.",
                )

    def _gone(self, name: str) -> Deed | None:
        """The statement that took the table away for good."""
        gone: Deed | None = None
        for deed in self.deeds:
            if name in self._ended(deed.ddl):
                gone = deed
            if name in self._begun(deed.ddl):
                gone = None
        return gone

    def _begun(self, ddl: Ddl) -> set[str]:
        made = {self.key(name) for name in ddl.made}
        for old, new in ddl.renamed:
            # In order: RENAME TABLE a TO b, c TO a.
            made.discard(self.key(old))
            made.add(self.key(new))
        return made

    def _ended(self, ddl: Ddl) -> set[str]:
        ended = {self.key(old) for old, _ in ddl.renamed} | {self.key(name) for name in ddl.dropped}
        schemas = {name for name in ended if name.endswith(_ALL)}
        return ended | {name for name in self.names if _schema_of(name) in schemas}

    def _relevant(self) -> Iterator[Deed]:
        schemas = {_schema_of(name) for name in self.names}
        words = re.compile(
            "|".join(sorted(re.escape(name.partition(".")[2]) for name in self.names)), re.IGNORECASE
        )
        for transaction in self._statements:
            tables = {self.key(table) for table in transaction.tables}
            if not (tables & self.names or tables & schemas or self._may_matter(transaction, words)):
                continue
            ddl = self._ddl(transaction)
            touched = {self.key(name) for name in ddl.touched}
            if touched & self.names or touched & schemas or ddl.makes_space:
                yield Deed(transaction, ddl)

    def _may_matter(self, transaction: Transaction, words: re.Pattern[str]) -> bool:
        # The archive's index names the tables that a statement changes, not those that it looks at.
        return bool(words.search(transaction.statement) or _SPACE.search(transaction.statement))

    def _ddl(self, transaction: Transaction) -> Ddl:
        if transaction.gtid not in self._known:
            self._known[transaction.gtid] = read_ddl(*self._read(transaction))
        return self._known[transaction.gtid]

    def _joined(self) -> Iterator[str]:
        """Names that statements about followed tables bring in. Others in a DROP are only dropped."""
        for deed in self.deeds:
            ddl = deed.ddl
            changed = {*ddl.made, *ddl.changed, *(name for pair in ddl.renamed for name in pair)}
            if {self.key(name) for name in changed} & self.names:
                yield from (self.key(name) for name in (*changed, *ddl.needs) if not name.endswith(_ALL))


def _schema_of(name: str) -> str:
    return name.partition(".")[0] + _ALL
