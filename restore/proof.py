"""The proof of a backup: a server that was started on it says what it holds.

A copy is proven when the server recovered, its GTID set lies in the manifest's bracket, it agrees with what
InnoDB noted of the recovery, and the tables that were looked at are sound.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from fleet.clock import Clock
from fleet.errors import Cancelled, ProofFailed, RecoveryFailed
from fleet.gtid import GtidSet
from repository.manifest import Manifest, Proof, ProofCheck
from repository.repository import tool_version
from restore.version import MysqlVersion
from restore.wording import GOES_ON_HINT
from wire import restored
from wire.restored import Asked, Table

CheckLevel: TypeAlias = Literal["none", "sample", "all"]

SAMPLE_TABLES = 24
_STATUS_FILE = Path("#clone") / "#status_recovery"
_LONGEST_SET = 200


@dataclass(frozen=True, slots=True)
class RecoveryNote:
    """What mysqld wrote about recovering a clone: the binlog position and GTID set that the data has."""

    binlog_file: str
    binlog_position: int
    gtid_executed: GtidSet


def read_recovery_note(directory: Path) -> RecoveryNote | None:
    """The note of the first start on a clone, None where there is none: the data is no clone, or was never
    started.
    """
    path = directory / _STATUS_FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    # Begin and end of recovery (microseconds), binlog file, offset, GTID set on as many lines as it takes.
    if len(lines) < 4 or not lines[3].strip().isdigit():
        return None
    return RecoveryNote(lines[2].removeprefix("./"), int(lines[3]), GtidSet.parse("".join(lines[4:])))


def prove(
    server: Asked,
    directory: Path,
    manifest: Manifest,
    *,
    check: CheckLevel,
    clock: Clock,
    cancelled: threading.Event | None = None,
) -> Proof:
    """Look at the running server and say what is so; ``require_proven`` turns a bad answer into an error.

    Afterwards the server knows of no replication source. Raises ``Cancelled``, and ``RecoveryFailed`` when
    the server dies before its tables are looked at.
    """
    began = clock.monotonic()
    told = restored.identity(server)
    exact = GtidSet.parse(told.gtid_executed)
    checks = [_bracket_check(exact, manifest)]
    note = read_recovery_note(directory)
    if note is not None:
        checks.append(_note_check(exact, note))
    checks.append(forget_sources(server, told.version))
    asked = clock.monotonic()
    checks += check_tables(server, check, seed=manifest.label, cancelled=cancelled or threading.Event())
    ended = clock.monotonic()
    return Proof(
        repository_id=manifest.repository_id,
        shard=manifest.shard,
        label=manifest.label,
        proven=all(each.passed for each in checks),
        gtid_executed=str(exact),
        server_version=told.version,
        checks=tuple(checks),
        seconds={"read": asked - began, "check": ended - asked},
        finished_at=clock.now(),
        created_by=tool_version(),
    )


def require_proven(proof: Proof) -> None:
    """Raise ``ProofFailed`` with the first check that did not pass."""
    for check in proof.checks:
        if not check.passed:
            raise ProofFailed(
                f"backup {proof.shard}/{proof.label} is not what it should be: {check.name}: {check.detail}",
                hint="The files stay, to be looked at. Verify this backup, and restore an older one.",
            )


def check_tables(
    server: Asked, level: CheckLevel, *, seed: str, cancelled: threading.Event
) -> list[ProofCheck]:
    """CHECK TABLE of a sample or of all: one result for each table that is unsound, and one for all of them.

    A table that brings the server down is unsound, and the last one looked at.
    """
    if level == "none":
        return []
    found = restored.tables(server)
    chosen = choose_tables(found, seed=seed) if level == "sample" else found
    unsound: list[ProofCheck] = []
    looked_at = 0
    for table in chosen:
        if cancelled.is_set():
            raise Cancelled("stopped while tables were checked", hint=GOES_ON_HINT)
        looked_at += 1
        try:
            wrong = restored.check_table(server, table)
        except RecoveryFailed as error:
            unsound.append(ProofCheck(name=f"table {table}", passed=False, detail=error.message))
            break
        if wrong is not None:
            unsound.append(ProofCheck(name=f"table {table}", passed=False, detail=wrong))
    total = ProofCheck(
        name="tables",
        passed=not unsound,
        detail=f"CHECK TABLE of {looked_at} of {len(found)} tables, {len(unsound)} unsound",
    )
    return [*unsound, total]


def choose_tables(tables: Sequence[Table], *, seed: str, count: int = SAMPLE_TABLES) -> tuple[Table, ...]:
    """The biggest and the smallest table and others by chance, the same ones for the same ``seed``."""
    if len(tables) <= count:
        return tuple(tables)
    by_size = sorted(tables, key=lambda table: (table.pages, table.schema, table.name))
    chance = random.Random(seed)  # noqa: S311 - it need not be secret, it must be the same every time
    chosen = {by_size[0], by_size[-1], *chance.sample(by_size[1:-1], count - 2)}
    return tuple(sorted(chosen))


def forget_sources(server: Asked, version: str) -> ProofCheck:
    """RESET REPLICA ALL, and a look whether it helped."""
    # The copy holds the donor's replication settings, credentials included: started by hand it would connect
    # to production and go on replicating, or, as a copy of a replica beside it, under the same settings.
    restored.forget_sources(server, version=MysqlVersion.parse(version))
    sources = restored.remembered_sources(server)
    detail = f"still knows {', '.join(sources)}" if sources else "RESET REPLICA ALL"
    return ProofCheck(name="sources forgotten", passed=not sources, detail=detail)


def _bracket_check(exact: GtidSet, manifest: Manifest) -> ProofCheck:
    low, high = GtidSet.parse(manifest.gtid.low), GtidSet.parse(manifest.gtid.high)
    faults: list[str] = []
    if missing := low - exact:
        faults.append(f"it lacks {_short(missing)}, which the donor had executed before")
    if surplus := exact - high:
        faults.append(f"it has {_short(surplus)}, which the donor had not executed by then")
    detail = "; ".join(faults) or f"{_short(exact)} lies between what the donor had executed before and after"
    return ProofCheck(name="gtid set", passed=not faults, detail=detail)


def _note_check(exact: GtidSet, note: RecoveryNote) -> ProofCheck:
    agrees = note.gtid_executed == exact
    place = f"binlog {note.binlog_file} position {note.binlog_position}"
    difference = f"; the server says {_short(exact)}, the recovery noted {_short(note.gtid_executed)}"
    return ProofCheck(name="recovery note", passed=agrees, detail=place if agrees else place + difference)


def _short(gtids: GtidSet) -> str:
    text = gtids.one_line() or "nothing"
    return text if len(text) <= _LONGEST_SET else f"{text[:_LONGEST_SET]}..."
