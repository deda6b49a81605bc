"""What is promised and how it is kept: targets, schedule, retention, backups and restores."""

from __future__ import annotations

from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, field_validator

from fleet.cron import check_cron
from fleet.nearest import or_nearest
from fleet.section import Count, FilePath, Name, Positive, Seconds, Section, mistake

MIB = 1024 * 1024
GIB = 1024 * MIB


class Targets(Section):
    """The promises that drills measure against."""

    rto_seconds: Positive = Field(
        default=3600,
        description="Longest time to get a shard back from its backups (recovery time objective).",
    )
    rpo_seconds: Count = Field(
        default=900, description="Most recent writes that may be lost with it (recovery point objective)."
    )
    failover_rto_seconds: Positive = Field(
        default=300,
        description="Longest time without service when a primary is lost and a replica takes over.",
    )
    failover_rpo_seconds: Count = Field(
        default=60, description="Most recent writes that may be lost in such a failover."
    )


def _checked_cron(line: str | None) -> str | None:
    try:
        if line is not None:
            check_cron(line)
    except ValueError as error:
        raise mistake(f"{line!r} {error}") from None
    return line


def _checked_timezone(name: str | None) -> str | None:
    if name is None:
        return None
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        # ZoneInfoNotFoundError is a KeyError; a name that is a folder (such as Europe) is an OSError.
        from zoneinfo import available_timezones  # noqa: PLC0415 - reads a folder tree; for this error only

        # UTC must work on a machine without a time zone database.
        if name != "UTC":
            # Of 600 names one is always somewhat like it.
            found = or_nearest(name, available_timezones(), likeness=0.6)
            raise mistake(f"{name!r} is no known time zone{found}") from None
    return name


CronLine = Annotated[str, AfterValidator(_checked_cron)]
TimeZone = Annotated[str, AfterValidator(_checked_timezone)]


class Schedule(Section):
    """When backups are taken, and what keeps them: cron lines (minute hour day month weekday)."""

    full_cron: CronLine = Field(default="0 2 * * *", description="When full backups are taken.")
    incremental_cron: CronLine = Field(
        default="0 */6 * * *", description="When incremental backups are taken."
    )
    timezone: TimeZone = Field(
        default="UTC", description="IANA time zone of all cron lines, such as Europe/Berlin."
    )
    stagger_minutes: Annotated[int, Field(strict=True, ge=0, le=720)] = Field(
        default=30,
        description="Over so many minutes after the time of a cron line the shards' backups begin, evenly.",
    )
    retention_cron: CronLine = Field(
        default="30 5 * * *", description="When retention ends backups, and deletes what it ended."
    )
    verify_cron: CronLine = Field(
        default="0 9 * * *", description="When a part of all that is stored is read again."
    )
    verify_percent: Annotated[float, Field(strict=True, gt=0, le=100, allow_inf_nan=False)] = Field(
        default=3.5, description="How much of it; 100 reads all of it every time."
    )


class ShardSchedule(Section):
    """What one shard does otherwise than `[schedule]` says."""

    full_cron: CronLine | None = Field(default=None, description="When its full backups are taken.")
    incremental_cron: CronLine | None = Field(
        default=None, description="When its incremental backups are taken."
    )
    timezone: TimeZone | None = Field(default=None, description="Time zone of its cron lines.")

    def over(self, schedule: Schedule) -> Schedule:
        """``schedule`` with what this says instead."""
        said = {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}
        return schedule.model_copy(update=said)


class Retention(Section):
    """How long backups are kept."""

    days: Annotated[float, Field(strict=True, gt=0, le=36500, allow_inf_nan=False)] = Field(
        default=30.0, description="Recovery window: age in days up to which every point is promised."
    )
    minimum_fulls: Positive = Field(
        default=2, description="Full backups of a shard that are kept whatever their age, newest first."
    )
    keep_daily: Count = Field(
        default=0, description="Beyond the window, of so many days the newest full backup of each is kept."
    )
    keep_weekly: Count = Field(default=0, description="The same of so many weeks, which begin on Monday.")
    keep_monthly: Count = Field(default=0, description="The same of so many months.")
    grace_hours: Annotated[float, Field(strict=True, ge=0, le=8760, allow_inf_nan=False)] = Field(
        default=24.0, description="So long a backup that retention has ended can still be taken back."
    )
    repack_below: Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)] = Field(
        default=0.5,
        description="A pack of an expired backup is written anew when others refer to less of it than this "
        "part; 0: never.",
    )


class BackupConfig(Section):
    """How a backup is made."""

    donor: Literal["replica", "prefer-replica", "primary"] = Field(
        default="replica",
        description="Where to copy from: a replica; the primary if no replica is fit; or the primary.",
    )
    donors: tuple[Name, ...] = Field(
        default=(),
        description="Servers to copy from, by name, in order of preference; empty: chosen by `donor`.",
    )
    allow_lost_tables: tuple[str, ...] = Field(
        default=(),
        description="Tables that are not InnoDB and may be missing from the backup, as `db.table`.",
    )
    external_tablespaces: Literal["refuse", "into-datadir"] = Field(
        default="refuse",
        description="Tablespaces outside of the data directory: refuse the backup, or put them into it.",
    )
    max_replica_lag_seconds: Seconds = Field(
        default=3600.0, description="A replica that is further behind is not fit to be the donor."
    )
    spool_directory: FilePath | None = Field(
        default=None,
        description="Where data waits for a slow store; default: the temporary directory.",
    )
    spool_max_bytes: Count = Field(
        default=8 * GIB,
        description="Most bytes that may wait there; they are sealed, and gone when Backstay ends.",
    )
    memory_queue_bytes: Annotated[int, Field(strict=True, ge=8 * MIB)] = Field(
        default=32 * MIB, description="Bytes that may wait in memory before the spool is used."
    )
    stall_seconds: Annotated[float, Field(strict=True, gt=0, le=30, allow_inf_nan=False)] = Field(
        default=2.0,
        description="Longest time that the donor is left unread: a stalled clone can stall its writers.",
    )
    rate_bytes_per_second: Positive | None = Field(
        default=None, description="Most bytes a second that are read from the donor; default: no limit."
    )
    ddl_timeout_seconds: Annotated[int, Field(strict=True, ge=0)] = Field(
        default=300, description="How long the clone may wait for a running DDL statement of the donor."
    )
    retries: Annotated[int, Field(strict=True, ge=0, le=10)] = Field(
        default=2, description="How often a backup that was interrupted is tried again."
    )

    full: Literal["stored", "referring"] = Field(
        default="stored",
        description="What a full backup stores: all pages, or only those not yet held by the repository.",
    )
    rebase_every: Positive = Field(
        default=7,
        description="Of so many full backups in a row one stores all pages, though `full` is `referring`.",
    )
    max_chain: Positive = Field(
        default=28, description="Most incrementals on one full; then the next one becomes a full backup."
    )
    donor_saving: Literal["auto", "off"] = Field(
        default="auto",
        description="Ask the donor to send only what changed, where its page tracking tells; or always all.",
    )

    @field_validator("allow_lost_tables")
    @classmethod
    def _are_tables(cls, tables: tuple[str, ...]) -> tuple[str, ...]:
        for table in tables:
            schema, _, name = table.partition(".")
            if not schema or not name or "*" in table:
                raise mistake(f"{table!r} is not of the form db.table")
        return tables


class RestoreConfig(Section):
    """How a restore is made."""

    mysqld: FilePath | None = Field(
        default=None,
        description="The mysqld that starts restored data; default: environment BACKSTAY_MYSQLD, then PATH.",
    )
    start_timeout_seconds: Positive = Field(
        default=1800, description="How long a restored server may take to recover and answer."
    )
    check: Literal["none", "sample", "all"] = Field(
        default="sample", description="Tables that are checked with CHECK TABLE after a restore."
    )


class ArchiveConfig(Section):
    """How binlogs are archived."""

    source: Literal["primary", "replica"] = Field(
        default="primary",
        description="Whom to follow: the primary, or a replica (less load on the primary, its lag is added).",
    )
    mode: Literal["async", "local-sync", "store-sync"] = Field(
        default="async",
        description="When a commit is acknowledged to the source: never waited for; once it is durable in "
        "the spool; once it is in the store. The last two need semi-synchronous replication at the source.",
    )
    segment_seconds: Annotated[float, Field(strict=True, ge=0.05, le=60, allow_inf_nan=False)] = Field(
        default=1.0, description="Longest time that received events wait before they go to the store."
    )
    segment_bytes: Annotated[int, Field(strict=True, ge=64 * 1024, le=64 * MIB)] = Field(
        default=4 * MIB, description="So many bytes of events go to the store at once."
    )
    compose_bytes: Annotated[int, Field(strict=True, ge=1 * MIB, le=256 * MIB)] = Field(
        default=16 * MIB, description="Small segments are put together to objects of up to this size."
    )
    spool_directory: FilePath | None = Field(
        default=None,
        description="Where events wait, sealed, for a slow store; default: the user's state directory.",
    )
    spool_max_bytes: Count = Field(default=8 * GIB, description="Most bytes that may wait there for a shard.")
    when_full: Literal["wait", "stop"] = Field(
        default="wait",
        description="What happens at that bound: stop reading the source until there is room (it keeps its "
        "binlogs), or end with an error. Commits are never blocked in mode async.",
    )
    heartbeat_seconds: Annotated[float, Field(strict=True, ge=0.5, le=60, allow_inf_nan=False)] = Field(
        default=2.0,
        description="How often an idle source must say that it lives; after three silent ones: reconnect.",
    )
    server_id: Annotated[int, Field(strict=True, ge=1, le=2**32 - 1)] | None = Field(
        default=None,
        description="The replication server id that the archiver uses; must occur nowhere else in the fleet. "
        "Default: derived from the repository and the shard.",
    )
