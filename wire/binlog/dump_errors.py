"""What a source's error in the middle of a dump means for an archive: a gap, a divergence, a rival, a pause.

All faults of the dump have number 1236; only the text tells them apart. The texts are those of
sql/rpl_binlog_sender.cc, sql/binlog_reader.cc and share/messages_to_clients.txt, from MySQL 5.7 to 9.7.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from fleet.errors import (
    ArchiveGap,
    ArchiverReplaced,
    BinlogUnreadable,
    GtidSetMalformed,
    ServerRefused,
    ServerUnreachable,
    ServerUnsupported,
    SourceDiverged,
    ToolError,
)
from fleet.gtid import GtidSet
from wire.packet import ServerError

FATAL = 1236

_GAP_HINT = "Take a backup now: it closes the gap. Keep binlogs longer: binlog_expire_logs_seconds."
_DIVERGED_HINT = "Did the source crash with sync_binlog other than 1, or was RESET BINARY LOGS run?"
_REPLACED_HINT = "One archiver for each shard is enough; this one leaves the field."
_DAMAGED_HINT = "Look at the source's disk and error log; its replicas meet the same event."
_KEYRING_HINT = "Does the source's keyring still hold the keys of its older binlogs?"
_PRIVILEGE_HINT = "infra/examples/accounts.sql makes the account that archives: it needs REPLICATION SLAVE."
_MISSING = re.compile(r"the missing transactions are '([^']*)'")


class BinlogGone(ArchiveGap):
    """The source no longer has a binlog that is asked for, or never had one of that name.

    ``missing`` are the transactions that the source says were purged; ``None`` where it does not say.
    """

    def __init__(self, message: str, *, hint: str | None = None, missing: GtidSet | None = None) -> None:
        super().__init__(message, hint=hint)
        self.missing = missing


class _Meaning(NamedTuple):
    says: str
    error: type[ToolError]
    hint: str | None


_MEANINGS = (
    _Meaning("could not find first log file name", BinlogGone, _GAP_HINT),
    _Meaning("purged required binary logs", BinlogGone, _GAP_HINT),
    _Meaning("could not find next log", BinlogGone, _GAP_HINT),
    _Meaning("position > file size", SourceDiverged, _DIVERGED_HINT),
    _Meaning("position < 4", SourceDiverged, _DIVERGED_HINT),
    _Meaning("has more gtids than the", SourceDiverged, _DIVERGED_HINT),
    _Meaning("with the same server_uuid", ArchiverReplaced, _REPLACED_HINT),
    _Meaning("bogus data in log event", BinlogUnreadable, _DAMAGED_HINT),
    _Meaning("crc check", BinlogUnreadable, _DAMAGED_HINT),
    _Meaning("truncated in the middle of event", BinlogUnreadable, _DAMAGED_HINT),
    _Meaning("exceeded max_allowed_packet", BinlogUnreadable, _DAMAGED_HINT),
    _Meaning("could not find format_description_event", BinlogUnreadable, _DAMAGED_HINT),
    _Meaning("i/o error reading", BinlogUnreadable, _DAMAGED_HINT),
    _Meaning("bad magic number", BinlogUnreadable, _DAMAGED_HINT),
    _Meaning("found invalid", BinlogUnreadable, _DAMAGED_HINT),
    _Meaning("unrecognized event format", BinlogUnreadable, _DAMAGED_HINT),
    _Meaning("failed to decrypt", BinlogUnreadable, _KEYRING_HINT),
    _Meaning("cannot get file password", BinlogUnreadable, _KEYRING_HINT),
    _Meaning("open log file", BinlogUnreadable, _DAMAGED_HINT),
    _Meaning("binary log is not open", ServerUnsupported, "Set log_bin on this server."),
    _Meaning("auto_position mode", ServerUnsupported, "Set gtid_mode = ON; the archive is kept by GTID."),
    _Meaning("gtid_mode", ServerUnsupported, "Set gtid_mode = ON; the archive is kept by GTID."),
    _Meaning("server_id is 0", ServerUnsupported, "Set a server_id on this server."),
    _Meaning("memory allocation", ServerUnreachable, None),
    _Meaning("failed to run hook", ServerUnreachable, None),
    _Meaning("failed on", ServerUnreachable, None),
    _Meaning("net error", ServerUnreachable, None),
)
_REFUSED = {1045, 1142, 1227, 1044}
_OVER = {1053, 1317, 1927, 3032, 4031}
"""Shutdown, killed, idle for too long: come again."""


def source_error(error: ServerError, peer: str, asked: str) -> ToolError:
    """The error to raise; ``asked`` says for what we asked, such as ``binlog.000007 from 4711``."""
    text = f"{error.text} ({error.number})"
    if error.number in _OVER:
        return ServerUnreachable(f"{peer} ended the dump: {text}")
    if error.number in _REFUSED:
        return ServerRefused(f"{peer} does not let the account read binlogs: {text}", hint=_PRIVILEGE_HINT)
    message = f"{peer} cannot send {asked}: {text}"
    said = error.text.lower()
    for meaning in _MEANINGS:
        if error.number == FATAL and meaning.says in said:
            if meaning.error is BinlogGone:
                return BinlogGone(message, hint=meaning.hint, missing=_missing(error.text))
            return meaning.error(message, hint=meaning.hint)
    return ServerRefused(message, hint="The source's error log says more.")


def _missing(text: str) -> GtidSet | None:
    """The set that the source names; a long one it writes into its own error log instead."""
    found = _MISSING.search(text)
    if found is None:
        return None
    try:
        return GtidSet.parse(found[1])
    except GtidSetMalformed:
        return None
