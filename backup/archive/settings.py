"""Does the source's configuration let the archive keep its promises? Pure: settings in, findings out."""

from __future__ import annotations

from collections.abc import Sequence

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


def judge_settings(server: str, settings: BinlogSettings) -> list[Finding]:
    """What an operator should change; nothing where all is well."""
    subject = f"server {server}"

    def warning(message: str, hint: str) -> Finding:
        return Finding(Level.WARN, subject, message, hint)

    found: list[Finding] = []
    if settings.sync_binlog != 1:
        found.append(
            warning(
                f"sync_binlog is {settings.sync_binlog}: after a crash of its machine the archive may hold "
                "transactions that the server has lost",
                "SET PERSIST sync_binlog = 1.",
            )
        )
    expiry = settings.binlog_expire_logs_seconds
    if 0 < expiry < SHORTEST_EXPIRY_SECONDS:
        found.append(
            warning(
                f"binlog_expire_logs_seconds is {expiry}: an archiver that is down for longer leaves a gap",
                "SET PERSIST binlog_expire_logs_seconds = 259200 (three days), or more.",
            )
        )
    if settings.binlog_format != "ROW":
        found.append(
            warning(
                f"binlog_format is {settings.binlog_format}: statements may replay differently",
                "SET PERSIST binlog_format = ROW.",
            )
        )
    if settings.binlog_row_image != "FULL":
        found.append(
            warning(
                f"binlog_row_image is {settings.binlog_row_image}: `show` cannot print whole rows",
                "SET PERSIST binlog_row_image = FULL.",
            )
        )
    if settings.binlog_row_metadata != "FULL":
        found.append(
            warning(
                f"binlog_row_metadata is {settings.binlog_row_metadata}: `show` names columns by number",
                "SET PERSIST binlog_row_metadata = FULL.",
            )
        )
    return found
