"""What ``backstay show`` answers: one transaction, its statements, rows and counts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

from rich.console import RenderableType
from rich.text import Text

from cli.archived import Located
from cli.render import render_json, render_text
from cli.tables import copyable, dim, facts, grid, lines
from fleet import figures
from fleet.moments import rfc3339
from fleet.transaction import Kind
from wire.binlog.changes import Statement
from wire.binlog.describe import RowsChange, TransactionDetail
from wire.binlog.json_values import Json, JsonEdit, JsonEdits
from wire.binlog.rows import Image
from wire.binlog.sql_literals import literal
from wire.binlog.values import Geometry, Value, Vector

ROWS_SHOWN = 20
_LONGEST_VALUE = 60
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_MARKS = {Kind.INSERT: "+", Kind.UPDATE: "~", Kind.DELETE: "-"}


class Columns:
    """An image of a row. In JSON numbers are numbers (a DECIMAL is text), bytes ``{"hex": ...}``, a geometry
    ``{"srid": ..., "wkb": <hex>}``, edits of a document ``{"edits": [...]}``, all else text.
    """

    def __init__(self, image: Image) -> None:
        self.image = image


@dataclass(frozen=True, slots=True)
class ShownRow:
    """``before`` is null for an insert, ``after`` for a delete."""

    before: Columns | None
    after: Columns | None


@dataclass(frozen=True, slots=True)
class ShownPart:
    """One statement, or rows of one table that were changed in one way.

    ``kind`` is ``statement``, ``insert``, ``update`` or ``delete``. A statement's ``schema`` is its default
    one, its ``count`` 0. Else ``statement`` is the text that made the rows, if the log has it; ``count`` is
    exact, ``rows`` are the first of them, ``key`` the columns of the primary key.
    """

    kind: str
    schema: str
    table: str | None
    statement: str | None
    count: int
    key: tuple[str, ...]
    rows: tuple[ShownRow, ...]

    @classmethod
    def of(cls, part: Statement | RowsChange) -> Self:
        if isinstance(part, Statement):
            return cls("statement", part.schema, None, part.text, 0, (), ())
        rows = tuple(ShownRow(_columns(row.before), _columns(row.after)) for row in part.rows)
        return cls(_verb(part.kind), part.schema, part.table, part.query, part.count, part.key, rows)


@dataclass(frozen=True, slots=True)
class ShownCount:
    """All rows of a table that were changed in one way, also those that are not shown."""

    kind: str
    table: str
    rows: int


@dataclass(frozen=True, slots=True)
class TransactionShown:
    """One transaction. ``committed_at`` is to the microsecond; ``first_committed_at`` is when another server
    committed it first. ``branch``: the line went on without it. ``position``: where its file has it.
    """

    shard: str
    gtid: str
    committed_at: str
    first_committed_at: str
    epoch: int
    branch: bool
    server_uuid: str
    server_id: int
    connection: int | None
    file: str
    position: int
    log_bytes: int
    plain_bytes: int
    rows: int
    counts: tuple[ShownCount, ...]
    parts: tuple[ShownPart, ...]
    parts_left_out: int

    @classmethod
    def of(cls, shard: str, located: Located, detail: TransactionDetail) -> Self:
        """The answer for a transaction and where it was found."""
        entry = located.entry
        return cls(
            shard=shard,
            gtid=str(detail.gtid),
            committed_at=rfc3339(detail.committed_at_us),
            first_committed_at=rfc3339(detail.first_committed_at_us),
            epoch=entry.file.epoch,
            branch=located.branch,
            server_uuid=entry.file.server_uuid,
            server_id=detail.server_id,
            connection=detail.thread_id,
            file=entry.file.file,
            position=entry.transaction.start,
            log_bytes=detail.length,
            plain_bytes=detail.plain_bytes,
            rows=detail.rows,
            counts=tuple(
                ShownCount(_verb(one.kind), f"{one.schema}.{one.table}", one.rows) for one in detail.counts
            ),
            parts=tuple(map(ShownPart.of, detail.parts)),
            parts_left_out=detail.parts_left_out,
        )


@dataclass(frozen=True, slots=True)
class SqlLine:
    """One statement of the export, as it stands in a file."""

    text: str


@render_text.register
def _(line: SqlLine) -> str:
    return line.text


@dataclass(frozen=True, slots=True)
class TransactionSql:
    """One transaction as SQL: what to say first, once, and its statements in order."""

    shard: str
    gtid: str
    preamble: tuple[str, ...]
    statements: tuple[str, ...]


def visible(text: str) -> str:
    """Text of others, for a terminal: what it would obey, and not show, is shown as ``\\x1b``."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def _columns(image: Image | None) -> Columns | None:
    return None if image is None else Columns(image)


def _verb(kind: Kind) -> str:
    return (kind.name or "").lower()


@render_json.register
def _(columns: Columns) -> dict[str, Any]:
    return {name: _plain(value) for name, value in columns.image.items()}


def _plain(value: Value) -> Any:
    """A value as JSON has it, with all digits."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, Geometry):
        return {"srid": value.srid, "wkb": value.wkb.hex()}
    if isinstance(value, JsonEdits):
        return {"edits": [_plain_edit(edit) for edit in value]}
    if isinstance(value, Vector):
        return list(value)
    if isinstance(value, Json):
        return _plain_json(value.value)
    return f"{value:f}" if isinstance(value, Decimal) else value


def _plain_edit(edit: JsonEdit) -> dict[str, Any]:
    said = {"operation": edit.operation.name.lower(), "path": edit.path}
    return said if edit.value is None else {**said, "value": _plain_json(edit.value.value)}


def _plain_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain_json(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain_json(one) for one in value]
    return f"{value:f}" if isinstance(value, Decimal) else value


@render_text.register
def _(shown: TransactionShown) -> RenderableType:
    parts: list[RenderableType] = [facts(_facts(shown))]
    for part in shown.parts:
        parts += ["", *_part(part)]
    hidden = sum(len(part.rows) for part in shown.parts) < shown.rows
    if shown.parts_left_out:
        parts += ["", dim(f"... and {figures.plural(shown.parts_left_out, 'statement')} more.")]
    return lines(*parts, "", *_ways_on(shown, hidden=hidden))


def _facts(shown: TransactionShown) -> Iterator[tuple[str, RenderableType]]:
    yield "transaction", shown.gtid
    yield "committed", f"{_moment(shown.committed_at)} UTC"
    if shown.first_committed_at != shown.committed_at:
        yield "first", f"{_moment(shown.first_committed_at)} UTC, on another server"
    by = f"server {shown.server_id}"
    yield "by", by if shown.connection is None else f"{by}, connection {shown.connection}"
    packed = shown.plain_bytes != shown.log_bytes
    size = figures.size(shown.log_bytes) + (f", {figures.size(shown.plain_bytes)} unpacked" if packed else "")
    yield "in", f"{shown.file} at {shown.position}, {size}; epoch {shown.epoch}"
    if shown.branch:
        yield "branch", Text("the shard's line went on without it", style="yellow")
    if shown.rows:
        yield "rows", figures.number(shown.rows)


def _moment(rfc: str) -> str:
    return rfc.replace("T", " ").removesuffix("Z")


def _part(part: ShownPart) -> Iterator[RenderableType]:
    if part.table is None:
        yield Text(visible(part.statement or ""))
        return
    count = figures.plural(part.count, "row")
    yield Text.assemble((part.kind, "bold"), f" {visible(f'{part.schema}.{part.table}')}, {count}")
    if part.statement:
        yield dim(visible(part.statement))
    mark = _MARKS[Kind[part.kind.upper()]]
    rows = [(f"  {mark}", row_text(row, part.key)) for row in part.rows]
    left = part.count - len(part.rows)
    if left:
        rows.append(("", dim(f"... {figures.number(left)} more" if part.rows else "not shown")))
    yield grid(rows)


def row_text(shown: ShownRow, key: Sequence[str]) -> Text:
    """``id=7, name='x'``; of an update the key, then what is not as it was."""
    before, after = (image and image.image for image in (shown.before, shown.after))
    if before is None or after is None:
        return Text(", ".join(_pairs(before or after or {})))
    which = {name: before[name] for name in key if name in before} or before
    changed = [
        f"{visible(name)}: {_short(before[name], name)} -> {_short(value, name)}"
        if name in before
        else f"{visible(name)} -> {_short(value, name)}"
        for name, value in after.items()
        if name not in before or before[name] != value
    ]
    return Text(f"{', '.join(_pairs(which))}; {', '.join(changed) or 'as it was'}")


def _pairs(image: Mapping[str, Value]) -> Iterator[str]:
    return (f"{visible(name)}={_short(value, name)}" for name, value in image.items())


def _short(value: Value, name: str) -> str:
    text = literal(value, column=name)
    if len(text) <= _LONGEST_VALUE:
        return text
    return f"{text[:_LONGEST_VALUE]}... ({figures.number(len(text))} characters)"


def _ways_on(shown: TransactionShown, *, hidden: bool) -> Iterator[RenderableType]:
    """Commands to go on with, each on a line of its own that can be copied whole."""
    ways: list[tuple[str, str]] = []
    if hidden:
        ways.append(("All rows", f"--limit {shown.rows}"))
    ways.append(("As SQL", "--sql"))
    for what, option in ways:
        yield dim(f"{what}:")
        yield copyable(f"  backstay show {shown.shard} {shown.gtid} {option}")
    if not shown.branch:
        yield from ways_back(shown.shard, shown.gtid)


def ways_back(shard: str, gtid: str) -> Iterator[RenderableType]:
    """How to restore to just before a transaction, or to now without it."""
    restore = f"  backstay restore {shard} --into DIR"
    yield dim("Back to just before it:")
    yield copyable(f"{restore} --before-gtid {gtid}")
    yield dim("Up to now, without it:")
    yield copyable(f"{restore} --latest --skip-gtid {gtid}")
