"""What a standby says of itself: a small file in its directory, written anew every second or two."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

from fleet.errors import NotFound
from repository.archive.beyond import HeldBeyond
from restore.files import disk_errors
from restore.journal import JOURNAL_NAME, is_held, read_journal

STATUS_NAME = ".backstay-standby.json"
REQUEST_NAME = ".backstay-promote"

State: TypeAlias = Literal["fetching", "following", "stopped"]


@dataclass(frozen=True, slots=True)
class StandbyStatus:
    """One moment of a standby. Times are UTC and the archive's: commit times of transactions.

    ``applied_at`` is that of the last transaction that it applied, ``archived_at`` of the last archived one.
    ``lag_seconds`` lies between them, 0 where everything archived is applied; ``lag_transactions`` are those
    archived and not applied; both are None while nobody can tell. ``problem`` is what it waits for, or ended
    with, ``hint`` the way out. ``updated_at``: when this was written. ``passed_over``: newer backups that it
    could not begin with, and why. ``beyond``: one with transactions that the archive does not reach, as seen
    when this run began; None again once it does.
    """

    shard: str
    directory: Path
    label: str
    state: State
    pid: int | None = None
    server_uuid: str = ""
    gtid_executed: str = ""
    applied_at: datetime | None = None
    archived_at: datetime | None = None
    lag_seconds: float | None = None
    lag_transactions: int | None = None
    delay_seconds: int = 0
    problem: str | None = None
    hint: str | None = None
    updated_at: datetime | None = None
    passed_over: tuple[str, ...] = ()
    beyond: HeldBeyond | None = None


def status(directory: Path) -> StandbyStatus:
    """How the standby in ``directory`` does; whether it runs is looked at, the rest is what it wrote last.

    Raises ``NotFound`` if there is none.
    """
    directory = directory.absolute()
    journal_path = directory / JOURNAL_NAME
    journal = read_journal(journal_path)
    if journal is None:
        raise NotFound(
            f"there is no standby in {directory}",
            hint="Begin one with: backstay standby SHARD --into DIR. One that was promoted is none any more.",
        )
    runs = is_held(journal_path)
    written = _read(directory)
    if written is not None:
        return written if runs else at_rest(written)
    return StandbyStatus(
        journal.header.shard, directory, journal.header.label, "fetching" if runs else "stopped"
    )


def at_rest(status: StandbyStatus) -> StandbyStatus:
    """The status of one that follows no more: how far the archive has gone since, nobody has looked."""
    return replace(status, state="stopped", pid=None, lag_seconds=None, lag_transactions=None)


def write_status(status: StandbyStatus) -> None:
    """Atomic: a reader sees the old one or the new one."""
    path = status.directory / STATUS_NAME
    fresh = path.with_suffix(".new")
    with disk_errors(path):
        fresh.write_text(json.dumps(asdict(status), default=_plain, indent=1) + "\n", encoding="utf-8")
        os.replace(fresh, path)  # noqa: PTH105 - said as the atomic step that it is


def ask_to_stop(directory: Path) -> None:
    """Leave word that the standby be promoted: who follows stops in order."""
    with disk_errors(directory):
        (directory / REQUEST_NAME).touch()


def is_asked_to_stop(directory: Path) -> bool:
    return (directory / REQUEST_NAME).exists()


def forget_request(directory: Path) -> None:
    """Take the word back."""
    with disk_errors(directory):
        (directory / REQUEST_NAME).unlink(missing_ok=True)


def forget_standby(directory: Path) -> None:
    """It is a standby no more."""
    forget_request(directory)
    with disk_errors(directory):
        (directory / STATUS_NAME).unlink(missing_ok=True)


def _read(directory: Path) -> StandbyStatus | None:
    try:
        found: Any = json.loads((directory / STATUS_NAME).read_text(encoding="utf-8"))
        for name in ("applied_at", "archived_at", "updated_at"):
            found[name] = datetime.fromisoformat(found[name]) if found[name] else None
        found["directory"] = directory
        found["passed_over"] = tuple(found.get("passed_over", ()))
        found["beyond"] = HeldBeyond(**found["beyond"]) if found.get("beyond") else None
        return StandbyStatus(**found)
    except (OSError, ValueError, KeyError, TypeError):
        # Written by another version, or never.
        return None


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
