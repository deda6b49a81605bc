"""How Backstay runs by itself: the scheduler, the shared budget, proofs, alerts, and who is told."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from fleet.policy import CronLine
from fleet.secrets import Secret
from fleet.section import Count, FilePath, Flag, Positive, Seconds, Section, mistake

Port = Annotated[int, Field(strict=True, ge=1, le=65535)]

_BLOCK = re.compile(r"[a-z0-9][a-z0-9-]*/[a-z0-9][a-z0-9-]*")
"""A type and a name, as Prefect takes them."""


class ServiceConfig(Section):
    """`backstay serve`: where it keeps its state, and where its page is."""

    directory: FilePath | None = Field(
        default=None,
        description="State of the service: the scheduler's database, the last known status, logs; "
        "default: the user's state directory.",
    )
    host: str = Field(
        default="127.0.0.1", min_length=1, description="Address of the status page and of /metrics."
    )
    port: Port = Field(default=8117, description="Port of the status page and of /metrics.")
    look_seconds: Annotated[float, Field(strict=True, ge=1, le=3600, allow_inf_nan=False)] = Field(
        default=30.0, description="How often the service looks at the whole fleet."
    )
    archive: Flag = Field(default=True, description="Run the archivers of all shards beside the schedule.")
    mirror: Flag = Field(default=True, description="Keep the mirror up to date, where there is one.")


class SchedulerConfig(Section):
    """Prefect: embedded in `backstay serve`, or a server of its own that `backstay deploy` fills."""

    api_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s@]+$",
        description="URL of a Prefect server's API, such as http://prefect:4200/api; default: embedded.",
    )
    api_auth: Secret | None = Field(
        default=None, description="What that server asks for, as `user:password` (its API auth string)."
    )
    port: Port = Field(default=4200, description="Port of the embedded server, on loopback.")
    pools: Literal["one", "region", "server"] = Field(
        default="region",
        description="Work pools that `backstay deploy` makes: one, one for each region, or for each server "
        "that is copied from; a shard's work runs near that shard.",
    )
    runs_at_once: Positive = Field(
        default=2,
        description="Most backups, proofs and the like that one machine carries out at once; others wait.",
    )
    backup_timeout_hours: Annotated[float, Field(strict=True, gt=0, le=720, allow_inf_nan=False)] = Field(
        default=24.0, description="A backup that takes longer is cancelled."
    )


class Budget(Section):
    """What all backups of a fleet may use together, on however many machines they run."""

    backups_per_region: Positive = Field(
        default=2, description="Most backups at once whose donors stand in the same region."
    )
    bytes_per_second: Positive | None = Field(
        default=None,
        description="Most bytes a second that all backups together put into the repository; no limit: none.",
    )
    wait_seconds: Seconds = Field(
        default=3600.0, description="How long a scheduled backup waits for its turn before it gives up."
    )


class ProofConfig(Section):
    """Proofs: a shard's newest backup is restored, replayed to now, checked, and deleted again."""

    cron: CronLine = Field(
        default="0 7 * * *", description="When one shard is proven, the one whose proof is oldest first."
    )
    directory: FilePath | None = Field(
        default=None,
        description="Where it is restored; needs room for a whole shard. Default: below the service's state.",
    )
    check: Literal["sample", "all"] = Field(
        default="sample", description="Tables that are checked with CHECK TABLE."
    )
    days: Positive = Field(
        default=30, description="A shard that was not proven for longer is told of; the page shows it."
    )
    enabled: Flag = Field(default=True, description="Whether proofs are scheduled.")


class Alerts(Section):
    """From when on something is a warning, and when it is critical."""

    archive_lag_seconds: Seconds | None = Field(
        default=None,
        description="Lag of the archive that warns; critical is `targets.rpo_seconds`. "
        "Default: half of that.",
    )
    backup_overdue_seconds: Seconds = Field(
        default=7200.0, description="So long after its time a scheduled backup may be missing."
    )
    replication_lag_seconds: Seconds = Field(default=10.0, description="Lag of a replica that is critical.")
    disk_percent: Annotated[float, Field(strict=True, gt=0, le=100, allow_inf_nan=False)] = Field(
        default=90.0, description="Use of a disk of this machine that is critical; 10 below it warns."
    )
    mirror_lag_seconds: Seconds = Field(default=3600.0, description="Lag of the mirror that warns.")


class Notify(Section):
    """Who is told when a shard's health changes: by HTTP, by a command, by Prefect, or by several of them."""

    webhook: Secret | None = Field(
        default=None, description="URL that gets a JSON document by POST; a secret, for it often holds one."
    )
    command: tuple[str, ...] = Field(
        default=(), description="Program and arguments; the same JSON document comes on its standard input."
    )
    prefect_blocks: tuple[str, ...] = Field(
        default=(),
        description="Notification blocks that exist on the Prefect server, as `type/name`, such as "
        "`slack-webhook/operations`: `serve` and `deploy` put automations there that use them.",
    )
    prefect_events: Flag = Field(
        default=False,
        description="Tell the Prefect server every change as an event, for automations of your own; "
        "`prefect_blocks` do so too.",
    )
    level: Literal["warning", "critical"] = Field(
        default="warning", description="From which health on; that it is well again is told, too."
    )
    repeat_hours: Count = Field(
        default=24, description="What goes on is told again after so many hours; 0: never."
    )
    timeout_seconds: Annotated[float, Field(strict=True, gt=0, le=300, allow_inf_nan=False)] = Field(
        default=10.0, description="How long each may take."
    )

    @field_validator("prefect_blocks")
    @classmethod
    def _are_types_and_names(cls, blocks: tuple[str, ...]) -> tuple[str, ...]:
        for block in blocks:
            if not _BLOCK.fullmatch(block):
                raise mistake(f"{block!r} is not type/name, such as slack-webhook/operations")
        return tuple(dict.fromkeys(blocks))

    @property
    def tells_prefect(self) -> bool:
        """Whether changes become events of Prefect."""
        return self.prefect_events or bool(self.prefect_blocks)
