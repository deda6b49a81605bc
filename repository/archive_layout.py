"""Every object name of an archive is built and parsed here (FORMAT.md, sections 2 and 10).

Who names objects asks ``layout``, which has these names too.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import NamedTuple

from fleet.errors import UsageError
from repository.names import NAME, TIME, BackupName, check_name, format_time, parse_time

ARCHIVE = "archive/"
MAX_EPOCHS = 10**6
MAX_POSITION = 10**12
"""A position in a binlog file has 12 digits."""
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_BINLOG = re.compile(r"[A-Za-z0-9._-]{1,190}")
_SEGMENT = re.compile(
    rf"{ARCHIVE}({NAME.pattern})/([0-9]{{6}})/binlogs/({_UUID.pattern})/"
    rf"({_BINLOG.pattern})\.([0-9a-f]{{8}})/([0-9]{{12}})-([0-9]{{12}})"
)
_ARCHIVE_KEY = re.compile(rf"{ARCHIVE}({NAME.pattern})/([0-9]{{6}})/keys/({NAME.pattern})\.json")
_NOTE = re.compile(rf"{ARCHIVE}{NAME.pattern}/[0-9]{{6}}/notes/({TIME})-[0-9a-f]{{8}}")


class BinlogFile(NamedTuple):
    """One binlog file of one server in one epoch. ``created``: of its format description, Unix seconds."""

    epoch: int
    server_uuid: str
    file: str
    created: int

    def __str__(self) -> str:
        return f"{self.server_uuid}/{self.file}"


class SegmentName(NamedTuple):
    """The bytes ``[start, end)`` of a binlog file."""

    epoch: int
    server_uuid: str
    file: str
    created: int
    start: int
    end: int

    @property
    def binlog(self) -> BinlogFile:
        return BinlogFile(*self[:4])

    @classmethod
    def of(cls, file: BinlogFile, start: int, end: int) -> SegmentName:
        return cls(*file, start, end)


def parse_archive_key(key: str) -> tuple[str, int, str] | None:
    """Shard and number of the epoch whose wrapped key this object is, and the key's id; or None."""
    found = _ARCHIVE_KEY.fullmatch(key)
    return (found[1], int(found[2]), found[3]) if found and int(found[2]) else None


def epoch(shard: str, number: int) -> str:
    """The prefix of everything of one epoch of a shard's archive."""
    if not 1 <= number < MAX_EPOCHS:
        raise UsageError(f"an archive has epochs 1 to {MAX_EPOCHS - 1}, and this would be number {number}")
    return f"{ARCHIVE}{check_name('shard', shard)}/{number:06d}/"


def epoch_label(shard: str, number: int) -> BackupName:
    """What stands for the epoch where a backup's name is bound to its key."""
    return BackupName(shard, f"archive-{number:06d}")


def archive_key(shard: str, number: int, key_id: str) -> str:
    return f"{archive_keys(shard, number)}{check_name('key', key_id)}.json"


def archive_keys(shard: str, number: int) -> str:
    """The prefix of all wrapped keys of an epoch."""
    return f"{epoch(shard, number)}keys/"


def epoch_opened(shard: str, number: int) -> str:
    return f"{epoch(shard, number)}opened"


def archive_note(shard: str, number: int, at: datetime, token: str) -> str:
    """``token``: 8 hex digits, so that notes of one second differ."""
    return f"{archive_notes(shard, number)}{format_time(at)}-{token}"


def archive_notes(shard: str, number: int) -> str:
    return f"{epoch(shard, number)}notes/"


def life(shard: str, number: int, server_uuid: str) -> str:
    return f"{epoch(shard, number)}lives/{_checked_uuid(server_uuid)}"


def binlogs(shard: str, number: int) -> str:
    """The prefix of all segments of an epoch."""
    return f"{epoch(shard, number)}binlogs/"


def binlog(shard: str, file: BinlogFile) -> str:
    """The prefix of all segments of a binlog file. Raises ``UsageError`` for a name that cannot be stored."""
    if not _BINLOG.fullmatch(file.file):
        raise UsageError(
            f"binlog file {file.file[:80]!r} cannot be part of an object name",
            hint="Name the server's binlogs with letters, digits, dots, underscores and hyphens (log_bin).",
        )
    folder = f"{_checked_uuid(file.server_uuid)}/{file.file}.{file.created:08x}"
    return f"{binlogs(shard, file.epoch)}{folder}/"


def binlogs_called(shard: str, epoch: int, server_uuid: str, file: str) -> str:
    """The prefix of all segments of a server's binlog files of this name: a name may be given again."""
    return f"{binlogs(shard, epoch)}{_checked_uuid(server_uuid)}/{file}."


def lives(shard: str, number: int) -> str:
    """The prefix of all restored servers that an epoch knows."""
    return f"{epoch(shard, number)}lives/"


def segment(shard: str, name: SegmentName) -> str:
    if not 0 <= name.start < name.end < MAX_POSITION:
        raise UsageError(f"{name.binlog}: a segment cannot hold the bytes from {name.start} to {name.end}")
    return f"{binlog(shard, name.binlog)}{name.start:012d}-{name.end:012d}"


def parse_segment(key: str) -> SegmentName | None:
    """Which bytes of which binlog file this object holds, or None if its name is not that of a segment."""
    found = _SEGMENT.fullmatch(key)
    if not found or int(found[6]) >= int(found[7]):
        return None
    return SegmentName(int(found[2]), found[3], found[4], int(found[5], 16), int(found[6]), int(found[7]))


def parse_note(key: str) -> datetime | None:
    """When the note was made, or None if this is the name of no note."""
    found = _NOTE.fullmatch(key)
    return parse_time(found[1]) if found else None


def _checked_uuid(server_uuid: str) -> str:
    if not _UUID.fullmatch(server_uuid):
        raise UsageError(f"{server_uuid[:80]!r} is not a server uuid in lower case")
    return server_uuid
