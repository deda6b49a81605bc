"""Does the source's configuration let the archive keep its promises? Pure: settings in, findings out."""

from __future__ import annotations

from collections.abc import Sequence

from backup.archive.sources import SourceFacts, all_take_writes, writers
from fleet.finding import Finding, Level
from wire.binlog_admin import BinlogSettings

SHORTEST_EXPIRY_SECONDS = 24 * 3600


ARCHIVE_PRIVILEGES = ("REPLICATION SLAVE", "REPLICATION CLIENT")


def judge_privileges(server: str, missing: Sequence[str]) -> list[Finding]:
    """``missing`` of ``ARCHIVE_PRIVILEGES``: without them nothing can be archived."""
    if not missing:
        return []
    return [
        Finding(
            Level.FAIL,
            f"server {server}",
            f"the archive's account lacks {', '.join(missing)}",
            "infra/examples/accounts.sql grants what the archive needs.",
        )
    ]


def judge_writers(shard: str, seen: Sequence[SourceFacts]) -> list[Finding]:
    """Several servers that take writes: what is written to all but one of them is in no archive.

    A failure, unless the others are replicas whose replication stands still: that may be maintenance.
    """
    found = writers(seen)
    if len(found) < 2:
        return []
    alone = [facts for facts in found if not facts.links]
    return [
        Finding(
            Level.FAIL if len(alone) > 1 else Level.WARN,
            f"shard {shard}",
            f"{all_take_writes(found)}: one of them only can be archived",
            "Find out which is the primary, and make the others read-only: SET PERSIST super_read_only = ON.",
        )
    ]


def judge_settings(server: str, settings: BinlogSettings) -> list[Finding]:
    """What an operator should change; nothing where all is well."""
    expiry = settings.binlog_expire_logs_seconds
    judged = (
        (
            settings.sync_binlog != 1,
            f"sync_binlog is {settings.sync_binlog}: after a crash of its machine the archive may hold "
            "transactions that the server has lost",
            "sync_binlog = 1.",
        ),
        (
            0 < expiry < SHORTEST_EXPIRY_SECONDS,
            f"binlog_expire_logs_seconds is {expiry}: an archiver that is down for longer leaves a gap",
            "binlog_expire_logs_seconds = 259200 (three days), or more.",
        ),
        (
            settings.binlog_format != "ROW",
            f"binlog_format is {settings.binlog_format}: statements may replay differently",
            "binlog_format = ROW.",
        ),
        (
            settings.binlog_row_image != "FULL",
            f"binlog_row_image is {settings.binlog_row_image}: `show` cannot print whole rows",
            "binlog_row_image = FULL.",
        ),
        (
            settings.binlog_row_metadata != "FULL",
            f"binlog_row_metadata is {settings.binlog_row_metadata}: `show` names columns by number",
            "binlog_row_metadata = FULL.",
        ),
    )
    return [
        Finding(Level.WARN, f"server {server}", message, f"SET PERSIST {cure}")
        for is_wrong, message, cure in judged
        if is_wrong
    ]
