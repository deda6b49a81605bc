"""Every metric that Backstay exports, declared once: name, meaning, labels. Dashboards rely on the names.

By Prometheus's conventions: base units in the name, moments as seconds since 1970, every value a gauge, since
each is what a look at the fleet saw. All carry the label ``fleet``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """``labels`` stand beside ``fleet``."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()


SEEN = Metric(
    "backstay_status_seen_timestamp_seconds",
    "When all that is exported here was true; it stands still while the repository cannot be reached.",
)
LOOKED = Metric("backstay_status_looked_timestamp_seconds", "When Backstay last tried to see all that.")
REACHABLE = Metric("backstay_repository_reachable", "1 while the repository answers, 0 while it does not.")
HEALTH = Metric(
    "backstay_shard_health", "How a shard does: 0 ok, 1 unknown, 2 warning, 3 critical.", ("shard",)
)
FINDINGS = Metric(
    "backstay_findings",
    "Findings by code, which is the name of a chapter in RUNBOOK.md; shard is empty for those of the fleet.",
    ("shard", "code", "health"),
)
RECOVERABLE_FROM = Metric(
    "backstay_recoverable_from_timestamp_seconds",
    "First moment of the newest recoverable window.",
    ("shard",),
)
RECOVERABLE_UNTIL = Metric(
    "backstay_recoverable_until_timestamp_seconds",
    "Last moment of the newest recoverable window.",
    ("shard",),
)
HOURS = Metric(
    "backstay_recovery_map_cells", "Hours of the last 30 days by what is known of them.", ("shard", "state")
)
LAST_BACKUP = Metric(
    "backstay_backup_last_finished_timestamp_seconds",
    "When the newest backup of a kind ended.",
    ("shard", "kind"),
)
LAST_SECONDS = Metric(
    "backstay_backup_last_duration_seconds", "How long the newest backup of a kind took.", ("shard", "kind")
)
LAST_STORED = Metric(
    "backstay_backup_last_stored_bytes", "What the newest backup of a kind stored.", ("shard", "kind")
)
BACKUPS = Metric("backstay_backups", "Backups that are kept.", ("shard", "kind"))
DAMAGED = Metric("backstay_backups_damaged", "Backups in which damage was found.", ("shard",))
MISSED = Metric(
    "backstay_runs_missed",
    "Backups that were due in the last two days and were not taken.",
    ("shard", "kind"),
)
NEXT_RUN = Metric("backstay_next_run_timestamp_seconds", "When the next backup is due.", ("shard", "kind"))
ARCHIVE_LAG = Metric(
    "backstay_archive_lag_seconds", "Age of the oldest transaction that is not archived yet.", ("shard",)
)
ARCHIVED_UNTIL = Metric(
    "backstay_archived_until_timestamp_seconds", "Commit time of the last archived transaction.", ("shard",)
)
GAPS = Metric("backstay_archive_gaps", "Gaps in the archive.", ("shard",))
PROVEN = Metric(
    "backstay_proof_last_success_timestamp_seconds", "When a restore last proved the shard.", ("shard",)
)
PROOF_OK = Metric("backstay_proof_last_ok", "1 if the last proof held, 0 if it failed.", ("shard",))
PROOF_RTO = Metric("backstay_proof_rto_seconds", "How long the last proving restore took.", ("shard",))
PROOF_RPO = Metric(
    "backstay_proof_rpo_seconds", "What the last proving restore did not bring back.", ("shard",)
)
FORECAST_RTO = Metric(
    "backstay_forecast_rto_seconds",
    "How long a restore would take now, by the best way that there is.",
    ("shard",),
)
TARGET_RTO = Metric("backstay_target_rto_seconds", "The promised recovery time.")
TARGET_RPO = Metric("backstay_target_rpo_seconds", "The promised recovery point.")
REPLICATION_LAG = Metric(
    "backstay_replication_lag_seconds", "How far a replica is behind its source.", ("shard", "server")
)
SERVER_UP = Metric(
    "backstay_server_up", "1 if the server answered and replicates as it should.", ("shard", "server")
)
SERVER_CLOCK = Metric(
    "backstay_server_clock_offset_seconds",
    "How far a server's clock is ahead of that of the machine which looked; negative: behind.",
    ("shard", "server"),
)
STORE_CLOCK = Metric("backstay_store_clock_offset_seconds", "The same of the store's clock.")
UNCONFIGURED = Metric(
    "backstay_unconfigured_backups",
    "Backups of a shard that the configuration does not name; a shard of which there is none is left out.",
    ("shard",),
)
MIRROR_LAG = Metric("backstay_mirror_lag_seconds", "How far the mirror is behind the repository.", ("shard",))
DISK_USED = Metric(
    "backstay_disk_used_ratio", "Use of a disk that Backstay writes to, from 0 to 1.", ("path",)
)
DISK_FREE = Metric("backstay_disk_free_bytes", "Room on that disk.", ("path",))

ALL = tuple(each for each in list(globals().values()) if isinstance(each, Metric))
