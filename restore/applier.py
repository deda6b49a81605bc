"""What MySQL's applier says when a transaction cannot be applied, read for its facts. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fleet.errors import GtidSetMalformed, ReplayFailed
from fleet.transaction import Gtid

_TRANSACTION = re.compile(r"failed executing transaction '([^']+)'")
_TABLE = re.compile(r"event on table ([^;]+);")
_ROWS = re.compile(r"event on table [^;]+; (.*?)(?:, Error_code: (?:MY-)?0*(\d+))?; handler error (\w+)")
_PLACE = re.compile(r"at (?:source|master) log [^;]*?; ")
_LONGEST = 600


@dataclass(frozen=True, slots=True)
class ApplierFailure:
    """A transaction that could not be applied. ``table`` and ``gtid`` as far as MySQL names them; ``cause``
    is its text without the places in the log, which mean nothing to anybody.
    """

    gtid: Gtid | None
    table: str | None
    cause: str
    number: int

    @classmethod
    def read(cls, message: str, number: int, applying: Gtid | None = None) -> ApplierFailure:
        """Of the applier's status tables: the error's text and number, and the transaction it was at."""
        transaction = _TRANSACTION.search(message)
        table = _TABLE.search(message)
        return cls(
            gtid=_gtid(transaction.group(1)) if transaction else applying,
            table=table.group(1).strip() if table else None,
            cause=_cause(message),
            number=number,
        )

    def error(self) -> ReplayFailed:
        """With how to go on."""
        what = f"transaction {self.gtid}" if self.gtid else "a transaction"
        where = f" on table {self.table}" if self.table else ""
        hint = "Look at what it did with `backstay find`, and restore to a point before it."
        if self.gtid is not None:
            hint = (
                f"`backstay show {self.gtid}` prints what it did. With "
                f"--skip-gtid {self.gtid} the same command goes on without it; --before-gtid {self.gtid} "
                "ends just before it."
            )
        return ReplayFailed(f"{what} cannot be applied{where}: {self.cause}", hint=hint)


def _gtid(text: str) -> Gtid | None:
    try:
        return Gtid.parse(text)
    except GtidSetMalformed:
        # ANONYMOUS, or nothing.
        return None


def _cause(message: str) -> str:
    rows = _ROWS.search(message)
    if rows:
        text, number, engine = rows.groups()
        return f"{text} (error {number}, {engine})" if number else f"{text} ({engine})"
    told = message.split("; ", 1)[1] if _PLACE.search(message) and "; " in message else message
    return told.strip().rstrip(".")[:_LONGEST]
