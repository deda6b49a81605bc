"""What object names are made of: backups and their labels, times, and any name that can be part of one."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

from fleet.errors import UsageError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_TIME_FORMAT = "%Y%m%dT%H%M%SZ"
TIME = r"[0-9]{8}T[0-9]{6}Z"
_LABEL = re.compile(rf"({TIME})-([a-z]+)")
KINDS = ("full", "incremental")


class BackupName(NamedTuple):
    """What a backup is called: unique in its repository."""

    shard: str
    label: str

    def __str__(self) -> str:
        return f"{self.shard}/{self.label}"


class Label(NamedTuple):
    """A label taken apart. ``at`` is UTC, in whole seconds."""

    at: datetime
    kind: str


def is_name(text: str) -> bool:
    """Can it be part of an object name?"""
    return bool(NAME.fullmatch(text))


def check_name(what: str, name: str) -> str:
    """``name``, if it can be part of an object name; ``what`` says whose it is. Raises ``UsageError``."""
    if not is_name(name):
        raise UsageError(
            f"{what} {name[:80]!r} cannot be part of an object name",
            hint="Use 1 to 63 letters, digits, dots, underscores or hyphens, a letter or digit first.",
        )
    return name


def format_time(at: datetime) -> str:
    """``20260301T021500Z``; parts of a second are cut off."""
    return at.astimezone(UTC).strftime(_TIME_FORMAT)


def parse_time(text: str) -> datetime | None:
    """The time that ``format_time`` wrote, or None."""
    if not re.fullmatch(TIME, text):
        return None
    try:
        return datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None


def format_label(at: datetime, kind: str) -> str:
    """The label of a backup of ``kind`` (``full``, ``incremental``) that began at ``at``."""
    if kind not in KINDS:
        raise ValueError(f"no such kind of backup: {kind!r}")
    return f"{format_time(at)}-{kind}"


def parse_label(label: str) -> Label | None:
    """The time and kind in a label, or None if it is none."""
    found = _LABEL.fullmatch(label)
    at = parse_time(found[1]) if found else None
    return Label(at, found[2]) if found and at else None
