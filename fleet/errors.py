"""Every error a user can meet, with its exit code, and whether trying again can help.

A room raises one of these or lets a bug surface as a bug; only the door (``cli.app``) turns them
into text and an exit code. A message is lower case without a full stop and states the facts that
disagree; the hint is a sentence that names the way out.

Exit codes are a promise to scripts: a code is never given another meaning.
"""

# ruff: noqa: N818 - a name says what happened; that it is an error is said by its parent.

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import datetime


class ToolError(Exception):
    """What happened (``message``), the way out (``hint``), whether a retry can help, and the exit code."""

    exit_code = 1
    retryable = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(ToolError):
    """The command line asks for something that makes no sense."""

    exit_code = 2


class ConfigError(ToolError):
    """``backstay.toml`` is missing, cannot be read, or says something that cannot be."""

    exit_code = 10


class KeyUnusable(ToolError):
    """The key is missing, wrong, or was retired."""

    exit_code = 11


class ServerUnreachable(ToolError):
    """A MySQL server could not be reached, or the connection was lost."""

    exit_code = 12
    retryable = True


class ServerRefused(ToolError):
    """A MySQL server answered, and said no: a privilege, a plugin or a setting is missing."""

    exit_code = 13


class ServerUnsupported(ToolError):
    """The server is of a kind or version that we do not back up, or holds data that clone cannot copy."""

    exit_code = 14


class DonorBusy(ToolError):
    """The donor already serves another clone."""

    exit_code = 15
    retryable = True


class CloneInterrupted(ToolError):
    """The clone stream ended before its time."""

    exit_code = 16
    retryable = True


class ProtocolViolation(ToolError):
    """A message that the protocol notes do not know, or whose lengths disagree."""

    exit_code = 17


class GtidSetMalformed(ToolError, ValueError):
    """A text that should be a GTID set is none. A ValueError too, so that models can name the field."""

    exit_code = 18


class KeyServiceUnreachable(ToolError):
    """The service that keeps the key gave no answer, or asks to try again later."""

    exit_code = 19
    retryable = True


class StoreUnreachable(ToolError):
    """The store gave no answer, or an answer that asks to try again later.

    ``asks_for_less``: it answered, and has more to do than it can.
    """

    exit_code = 20
    retryable = True
    asks_for_less = False


class StoreDenied(ToolError):
    """The store refuses: credentials, permissions, or a read-only place."""

    exit_code = 21


class StoreFull(ToolError):
    """The store has no room left."""

    exit_code = 22


class ObjectMissing(ToolError):
    """An object that should be in the store is not there."""

    exit_code = 23


class ObjectExists(ToolError):
    """An object that was to be created is already there, with other content."""

    exit_code = 24


class ObjectDamaged(ToolError):
    """An object is truncated, altered, swapped or out of order."""

    exit_code = 25


class FormatUnsupported(ToolError):
    """The repository or a manifest is newer than this tool, or needs a feature that it does not have."""

    exit_code = 26


class RepositoryMissing(ToolError):
    """There is no repository at the URL."""

    exit_code = 27
    way_out = "Is the URL right? To create a repository there, run: backstay init"
    """The hint where there is no mirror; with one the door says more."""


class RepositoryExists(ToolError):
    """There already is a repository at the URL."""

    exit_code = 28


class TargetRefused(ToolError):
    """The directory to restore into is not empty, or not fit for it."""

    exit_code = 30


class DiskFull(ToolError):
    """A local disk has no room left: the spool, or the directory to restore into."""

    exit_code = 31


class RecoveryFailed(ToolError):
    """The restored server did not start or did not finish its recovery."""

    exit_code = 32


class ProofFailed(ToolError):
    """The restored server runs, but is not what the plan promised."""

    exit_code = 33


class VersionMismatch(ToolError):
    """The MySQL at hand cannot start the data of this backup."""

    exit_code = 34


class ArchiveGap(ToolError):
    """Transactions that are needed were never archived, or are no longer there."""

    exit_code = 35


class TargetUnreachable(ToolError):
    """The point to restore to lies outside of the recoverable window, on a branch, or behind a gap."""

    exit_code = 36


class ReplayFailed(ToolError):
    """A transaction of the archive could not be applied to the restored server."""

    exit_code = 37


class BinlogUnreadable(ToolError):
    """A binlog event is malformed, or its checksum is wrong."""

    exit_code = 38


class SourceDiverged(ToolError):
    """The source lost transactions that are archived, or has other content under the same name."""

    exit_code = 39


class NotFound(ToolError):
    """No shard, server or backup of that name."""

    exit_code = 40


class CheckFailed(ToolError):
    """``check`` or ``verify`` found something that must be put right."""

    exit_code = 41


class ArchiverReplaced(ToolError):
    """Another archiver took over this shard."""

    exit_code = 42


class SpoolFull(ToolError):
    """The archive's spool has reached its bound, and the store takes nothing."""

    exit_code = 43
    retryable = True


class TablesDiffer(ToolError):
    """A table is not what it was, and ``diff --fail-if-different`` was asked to say so."""

    exit_code = 44


class RetentionRefused(ToolError):
    """Marking or deleting would take away what is promised, or cannot show that it would not."""

    exit_code = 45


class ObjectLocked(ToolError):
    """The store refuses to delete an object before a date. ``until``: UTC, or None if it was not told."""

    exit_code = 46

    def __init__(self, message: str, *, hint: str | None = None, until: datetime | None = None) -> None:
        super().__init__(message, hint=hint)
        self.until = until


class MirrorParted(ToolError):
    """Repository and mirror were both written to, and no longer hold the same under the same names."""

    exit_code = 47


class TurnTaken(ToolError):
    """Somebody else is at work on it, and only one may be at a time."""

    exit_code = 48
    retryable = True


class SandboxFailed(ToolError):
    """The sandbox could not do what was asked."""

    exit_code = 50


class PortTaken(ToolError):
    """A port that the service needs is taken by another program."""

    exit_code = 51


class ServiceRuns(ToolError):
    """``serve`` already runs on the same state directory."""

    exit_code = 52


class SchedulerUnreachable(ToolError):
    """The Prefect server gave no answer, or refused."""

    exit_code = 53
    retryable = True


class Cancelled(ToolError):
    """Stopped by the user before the end; nothing half done stays behind."""

    exit_code = 130


@contextmanager
def mapped(
    mapping: Mapping[type[BaseException], type[ToolError]], message: str, *, hint: str | None = None
) -> Generator[None]:
    """Map foreign exceptions to ours, once, at the edge; the foreign text follows the message."""
    try:
        yield
    except tuple(mapping) as error:
        for foreign, ours in mapping.items():
            if isinstance(error, foreign):
                raise ours(f"{message}: {error}", hint=hint) from error
        raise
