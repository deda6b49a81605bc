"""Backups on the command line: how they are named, and what every text says of them."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, TypeAlias

import typer

from cli.configured import complete_shards
from fleet import figures
from repository.catalog import BackupSummary
from repository.holds import Hold
from repository.left import left_bytes
from repository.repository import Repository

Shard: TypeAlias = Annotated[
    str, typer.Argument(metavar="SHARD", help="The shard.", autocompletion=complete_shards)
]
OneShard: TypeAlias = Annotated[
    str | None, typer.Argument(metavar="SHARD", help="The shard.", autocompletion=complete_shards)
]
Shards: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SHARD", help="Some shards; all if none is named.", autocompletion=complete_shards
    ),
]
Label: TypeAlias = Annotated[
    str, typer.Option("--backup", metavar="LABEL", help="A label that `backup list` shows, or `latest`.")
]


def gtid_facts(low: str, high: str) -> Iterator[tuple[str, str]]:
    """The GTID set of a backup, or the two that enclose it; one UUID a line."""
    if low == high:
        yield "GTID set", by_uuid(high)
    else:
        yield "GTIDs, at least", by_uuid(low)
        yield "at most", by_uuid(high)


def acting_person() -> str:
    """Who runs this, as it is written into marks and holds: ``ops@backup-1``."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        # A container may run as a number that has no name.
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def told_holds(holds: Iterable[Hold]) -> Iterator[str]:
    """Until when, and why: ``until 2026-09-01 00:00:00 UTC: audit``."""
    for hold in holds:
        if hold.until is None:
            yield f"until it is released, since it cannot be read: {hold.unreadable}"
        else:
            yield f"until {figures.moment(hold.until)} UTC: {hold.reason}"


def by_uuid(gtid_set: str) -> str:
    """A GTID set, one server a line."""
    return gtid_set.replace(", ", ",").replace(",\n", ",").replace(",", ",\n") or "empty"


def with_left(repository: Repository, backups: Sequence[BackupSummary]) -> tuple[BackupSummary, ...]:
    """The same, each with what there is of it: those that were reduced are listed, one by one."""
    left = left_bytes(repository, [each.name for each in backups if each.reduced])
    return tuple(replace(each, left_bytes=left.get(each.name, each.stored_bytes)) for each in backups)


def left_told(left: int | None, stored: int) -> str:
    """``2.1 GB``, or ``4.0 MB of 2.1 GB`` where only that is left."""
    if left is None or left == stored:
        return figures.size(stored)
    return f"{figures.size(left)} of {figures.size(stored)}"
