"""What Prometheus reads, and what alerts and the dashboard make of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

from prometheus_client.parser import text_string_to_metric_families
from seen_fleets import (
    NOW,
    fleet_of,
    fleet_that_is_ill,
    fleet_that_is_well,
    fleet_that_nobody_can_ask,
    shard_that_is_well,
)

from drills.status.exporter import exposition, samples
from drills.status.report import Cell, Code, FleetStatus
from fleet import metrics

ROOT = Path(__file__).parents[3]
DECLARED = {metric.name: metric for metric in metrics.ALL}
NAME = re.compile(r"\bbackstay_[a-z0-9_]+")


def read(status: FleetStatus) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What a scrape gives: name and labels to value."""
    text = exposition(status, NOW).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(status: FleetStatus, name: str, **labels: str) -> float | None:
    return read(status).get((name, frozenset({"fleet": status.fleet, **labels}.items())))


def test_every_metric_is_declared_with_its_labels_and_every_declared_one_is_exported() -> None:
    told = {
        metric for metric, labels, _ in samples(fleet_that_is_ill(), NOW) if len(labels) == len(metric.labels)
    }
    assert told == set(metrics.ALL)


def test_names_carry_their_unit() -> None:
    units = ("_seconds", "_bytes", "_ratio", "_timestamp_seconds")
    counts = {
        "backstay_repository_reachable",
        "backstay_shard_health",
        "backstay_findings",
        "backstay_recovery_map_cells",
        "backstay_backups",
        "backstay_backups_damaged",
        "backstay_runs_missed",
        "backstay_archive_gaps",
        "backstay_proof_last_ok",
        "backstay_server_up",
        "backstay_unconfigured_backups",
    }
    assert {name for name in DECLARED if not name.endswith(units)} == counts


def test_a_scrape_tells_what_the_page_tells() -> None:
    status = fleet_that_is_ill()
    assert value(status, "backstay_shard_health", shard="shard_1") == 3
    assert value(status, "backstay_archive_lag_seconds", shard="shard_1") == 25_920
    assert value(status, "backstay_runs_missed", shard="shard_1", kind="full") == 1
    assert value(status, "backstay_findings", shard="shard_1", code="archive-stopped", health="critical") == 1
    assert value(status, "backstay_backups_damaged", shard="shard_1") == 1
    assert value(status, "backstay_recovery_map_cells", shard="shard_1", state=Cell.LOST) == 61
    assert value(status, "backstay_server_up", shard="shard_1", server="users-1-b") == 0
    assert value(status, "backstay_disk_used_ratio", path="/var/lib/backstay") == 0.41
    server = {"shard": "shard_1", "server": "users-1-a"}
    assert value(status, "backstay_server_clock_offset_seconds", **server) == -71.8
    assert value(status, "backstay_store_clock_offset_seconds") == 0.4
    assert value(status, "backstay_unconfigured_backups", shard="old_7") == 12


def test_what_is_not_known_is_left_out_and_no_zero() -> None:
    bare = replace(shard_that_is_well(), archive_lag_seconds=None, last_proof=None, proofs=(), last_full=None)
    status = fleet_of(bare)
    assert value(status, "backstay_archive_lag_seconds", shard="shard_0") is None
    assert value(status, "backstay_proof_last_ok", shard="shard_0") is None
    assert (
        value(status, "backstay_backup_last_finished_timestamp_seconds", shard="shard_0", kind="full") is None
    )


def test_a_repository_that_does_not_answer_is_told_with_the_age_of_what_is_known() -> None:
    status = fleet_that_nobody_can_ask()
    assert value(status, "backstay_repository_reachable") == 0
    assert value(status, "backstay_status_looked_timestamp_seconds") == NOW.timestamp()
    assert value(status, "backstay_status_seen_timestamp_seconds") == status.seen_at.timestamp()
    assert value(fleet_that_is_well(), "backstay_repository_reachable") == 1


def test_alerts_and_dashboard_use_declared_metrics_only() -> None:
    for path in ("prometheus/rules.yml", "prometheus/rules.test.yml", "grafana/backstay.json"):
        used = set(NAME.findall((ROOT / "infra" / path).read_text()))
        assert used - {"backstay_fleet"} <= set(DECLARED), path


def test_every_code_of_a_finding_has_an_alert_that_names_its_chapter() -> None:
    text = (ROOT / "infra/prometheus/rules.yml").read_text()
    assert set(re.findall(r"RUNBOOK\.md#([a-z-]+)", text)) == set(get_args(Code))
    blocks = text.split("- alert:")[1:]
    for block in blocks:
        assert all(word in block for word in ("expr:", "for:", "severity:", "summary:", "runbook:")), block


def test_every_metric_stands_on_the_dashboard_or_in_an_alert_or_says_more_than_both() -> None:
    texts = [
        (ROOT / "infra" / path).read_text() for path in ("prometheus/rules.yml", "grafana/backstay.json")
    ]
    used = {name for text in texts for name in NAME.findall(text)}
    quiet = {
        "backstay_archive_gaps",
        "backstay_archived_until_timestamp_seconds",
        "backstay_backups",
        "backstay_backups_damaged",
        "backstay_disk_free_bytes",
        "backstay_next_run_timestamp_seconds",
        "backstay_proof_last_ok",
        "backstay_proof_rpo_seconds",
        "backstay_recoverable_from_timestamp_seconds",
        "backstay_server_up",
        "backstay_unconfigured_backups",
    }
    assert set(DECLARED) - used == quiet


def test_no_two_panels_of_the_dashboard_lie_on_each_other() -> None:
    panels = json.loads((ROOT / "infra/grafana/backstay.json").read_text())["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)
