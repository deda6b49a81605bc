"""Single tables restored and handed over: in their private server, as tablespaces to import, or as SQL."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from shlex import quote

from fleet.clock import Clock, SystemClock
from fleet.errors import TargetRefused, UsageError
from fleet.model import Fleet
from fleet.progress import Progress, Silent
from fleet.table_name import TableName
from repository.archive.beyond import HeldBeyond
from repository.catalog import LATEST
from repository.manifest import ProofCheck
from repository.repository import Repository
from restore.complete_file import refuse_existing
from restore.files import disk_errors
from restore.full import LeftServer
from restore.mysqld import open_private_session
from restore.point import RecoveryTarget
from restore.replay import ReplayState
from restore.replaying import Given
from restore.table_plan import TablePlan, plan_tables
from restore.table_restore import BroughtTables, bring_planned
from restore.table_sql import write_table_sql
from wire import dictionary

_README = "README.txt"


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the tables are handed over; at least one of the three.

    ``running``: the private server runs on. ``export``: a directory for tablespaces, empty or not there yet.
    ``sql``: a new file, or a new directory of files where there are several tables.
    """

    running: bool = False
    export: Path | None = None
    sql: Path | None = None

    def check(self) -> None:
        """Raise ``UsageError`` if it is none of them."""
        if not (self.running or self.export or self.sql):
            raise UsageError(
                "nothing says how the tables are to be handed over",
                hint="Give --leave running, --export DIR or --sql FILE, or several of them.",
            )


@dataclass(frozen=True, slots=True)
class DeliveredTable:
    """One table, as it was handed over. ``rows`` and ``sql`` are None unless it was written as SQL, ``files``
    is empty unless it was exported. Bytes of its files.
    """

    table: str
    rows: int | None
    sql: Path | None
    directory: Path | None
    files: tuple[str, ...]
    files_bytes: int


@dataclass(frozen=True, slots=True)
class TablesResult:
    """Tables that were brought to a point, proven and handed over. Bytes; wall seconds.

    ``transactions`` were replayed. ``unchecked`` are tables that foreign keys refer to and that were left
    out; ``read_bytes`` came from the store for files, where the shard has ``shard_bytes`` of them.
    ``beyond``: see ``TablePlan``.
    """

    shard: str
    label: str
    target: Path
    asked: str
    tables: tuple[DeliveredTable, ...]
    reached_at: datetime | None
    stopped_before: str | None
    skipped: str
    server_version: str
    gtid_executed: str
    followed: tuple[str, ...]
    unchecked: tuple[str, ...]
    transactions: int
    read_bytes: int
    log_bytes: int
    system_bytes: int
    table_bytes: int
    shard_bytes: int
    checks: tuple[ProofCheck, ...]
    seconds: float
    stage_seconds: Mapping[str, float]
    left: LeftServer | None
    next_steps: tuple[str, ...]
    beyond: HeldBeyond | None = None


def plan_table_restore(
    fleet: Fleet,
    shard: str,
    tables: Sequence[TableName],
    target: RecoveryTarget,
    directory: Path,
    *,
    wanted: Wanted,
    repository: Repository,
    label: str = LATEST,
) -> TablePlan:
    """What ``restore_tables`` would do now. Touches nothing; raises what it would before the first byte."""
    wanted.check()
    _check_free(wanted, directory)
    plan = plan_tables(fleet, shard, tables, target, directory, repository=repository, label=label)
    if wanted.export is None:
        return plan
    plan.check_portable()
    return replace(plan, portable=True)


def restore_tables(
    fleet: Fleet,
    shard: str,
    tables: Sequence[TableName],
    target: RecoveryTarget,
    directory: Path,
    *,
    wanted: Wanted,
    repository: Repository,
    label: str = LATEST,
    clock: Clock | None = None,
    progress: Progress | None = None,
    on_replay: Callable[[ReplayState], None] | None = None,
    cancelled: threading.Event | None = None,
) -> TablesResult:
    """Bring ``tables`` of ``shard`` to ``target``, prove them, and hand them over as ``wanted``.

    ``directory`` is worked in, and gone afterwards unless the server runs on. Raises what ``bring_tables``
    raises, and ``UsageError`` for a table that cannot be exported.
    """
    given = Given(
        fleet,
        repository,
        clock or SystemClock(),
        progress or Silent(),
        cancelled or threading.Event(),
        on_replay,
    )
    began = given.clock.monotonic()
    plan = plan_table_restore(
        fleet, shard, tables, target, directory, wanted=wanted, repository=repository, label=label
    )
    with bring_planned(given, plan) as brought:
        brought_at = given.clock.monotonic()
        given.progress.stage("hand over")
        delivered = tuple(_hand_over(given, plan, brought, table, wanted) for table in brought.tables)
        left = brought.leave() if wanted.running else None
    ended = given.clock.monotonic()
    seconds = {**brought.stage_seconds, "hand over": ended - brought_at}
    return TablesResult(
        shard=brought.shard,
        label=brought.label,
        target=plan.directory,
        asked=brought.asked,
        tables=delivered,
        reached_at=brought.reached_at,
        stopped_before=brought.stopped_before,
        skipped=brought.skipped,
        server_version=brought.server_version,
        gtid_executed=brought.gtid_executed,
        followed=tuple(map(str, brought.followed)),
        unchecked=tuple(map(str, brought.unchecked)),
        transactions=brought.transactions,
        read_bytes=brought.read_bytes,
        log_bytes=brought.log_bytes,
        system_bytes=brought.share.system_bytes,
        table_bytes=brought.share.table_bytes,
        shard_bytes=brought.share.all_bytes,
        checks=brought.checks,
        seconds=ended - began,
        stage_seconds=seconds,
        left=left,
        next_steps=tuple(_next_steps(plan, delivered, left)),
        beyond=brought.beyond,
    )


def _check_free(wanted: Wanted, directory: Path) -> None:
    """Nothing that is there is overwritten, and nothing lands in what is removed at the end."""
    if wanted.sql is not None:
        refuse_existing(wanted.sql)
    export = wanted.export
    if export is not None and export.exists() and (not export.is_dir() or any(export.iterdir())):
        raise TargetRefused(
            f"{export} is not an empty directory", hint="Name one that is empty or not there yet."
        )
    for place in (wanted.sql, wanted.export):
        if place is not None and place.absolute().is_relative_to(directory.absolute()):
            raise TargetRefused(
                f"{place} lies in {directory}, which is removed at the end", hint="Name a place beside it."
            )


def _hand_over(
    given: Given, plan: TablePlan, brought: BroughtTables, table: TableName, wanted: Wanted
) -> DeliveredTable:
    delivered = DeliveredTable(str(table), None, None, None, (), 0)
    if wanted.sql is not None:
        delivered = _write_sql(given, brought, table, wanted.sql, delivered)
    if wanted.export is not None:
        delivered = _export(plan, brought, table, wanted.export, delivered)
    return delivered


def _write_sql(
    given: Given, brought: BroughtTables, table: TableName, sql: Path, delivered: DeliveredTable
) -> DeliveredTable:
    file = sql
    if len(brought.tables) > 1:
        with disk_errors(sql):
            sql.mkdir(mode=0o700, exist_ok=True)
        file = sql / f"{_file_name(table)}.sql"
    session = open_private_session(brought.server.socket)
    try:
        written = write_table_sql(
            session,
            table.schema,
            table.name,
            file,
            heading=(f"shard {brought.shard}, {brought.asked}", f"gtid_executed {brought.gtid_executed}"),
            cancelled=given.cancelled,
        )
    finally:
        session.close()
    return replace(delivered, rows=written.rows, sql=written.file)


def _export(
    plan: TablePlan, brought: BroughtTables, table: TableName, export: Path, delivered: DeliveredTable
) -> DeliveredTable:
    """Tablespaces with their descriptions, and how to import them; the last file says how."""
    directory = export / _file_name(table)
    server = brought.server
    create = dictionary.definition(server, table)
    names: list[str] = []
    with disk_errors(export), dictionary.quiesced(server, table):
        directory.mkdir(mode=0o700, parents=True)
        for source in _files_of(plan):
            _copy(source, directory / source.name)
            names.append(source.name)
        lines = ("SET foreign_key_checks = 0;", f"{create};", "")
        _write(directory / "create.sql", "\n".join(lines))
        _write(directory / _README, _how_to_import(table))
    files_bytes = sum((directory / name).stat().st_size for name in names)
    return replace(delivered, directory=directory, files=tuple(sorted(names)), files_bytes=files_bytes)


def _files_of(plan: TablePlan) -> list[Path]:
    """The files that FLUSH TABLES ... FOR EXPORT has made ready, of each partition if there are some: what
    stands beside a .cfg, which only the table that is quiesced has.
    """
    described = {path.with_suffix("") for path in plan.data.rglob("*.cfg")}
    return sorted(
        path
        for stem in described
        for path in (stem.with_suffix(suffix) for suffix in (".ibd", ".cfg", ".cfp"))
        if path.exists()
    )


def _copy(source: Path, to: Path) -> None:
    with source.open("rb") as read, to.open("xb") as written:
        os.fchmod(written.fileno(), 0o600)
        shutil.copyfileobj(read, written, 4 << 20)
        written.flush()
        os.fsync(written.fileno())


def _write(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)


def _how_to_import(table: TableName) -> str:
    """For the mysql client and not for a shell: a name may hold any quote."""
    name = TableName("recovered", table.name).quoted
    return (
        "In a mysql client that was started in this directory:\n\n"
        "CREATE DATABASE recovered;\n"
        "USE recovered;\n"
        "source create.sql\n"
        f"ALTER TABLE {name} DISCARD TABLESPACE;\n\n"
        "Copy *.ibd, *.cfg and *.cfp of this directory to recovered/ in the data directory, owned by mysql. "
        "Then, in the same client:\n\n"
        f"ALTER TABLE {name} IMPORT TABLESPACE;\n"
    )


def _file_name(table: TableName) -> str:
    return str(table).replace("/", "_").replace("\0", "_")


def _next_steps(plan: TablePlan, delivered: tuple[DeliveredTable, ...], left: LeftServer | None) -> list[str]:
    steps: list[str] = []
    for each in delivered:
        if each.sql is not None:
            steps.append(f"mysql recovered < {quote(str(each.sql))}")
        if each.directory is not None:
            steps.append(f"import {each.table} as {each.directory / _README} says")
    if left is not None:
        steps.append(f"mysql --socket={quote(str(left.socket))} --user=root")
        steps.append(f"to stop it: kill {left.pid}; {plan.directory} may be removed then")
    return steps
