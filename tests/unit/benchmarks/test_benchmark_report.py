from __future__ import annotations

import io
import json
import os
from dataclasses import replace

from rich.console import Console

from benchmarks import report
from benchmarks.cases import Group
from benchmarks.measuring import Usage
from benchmarks.results import DonorCost, Latency, Measured, Outcome

CPU = {"receive": 1.0, "compress": 9.0, "seal": 0.5, "store": 0.5}
MEASURED = Measured(
    2_123_456_789,
    {"data": "2,123 MB", "MySQL": "9.7.4"},
    (
        Outcome(
            "backstay", "Backstay, with recovery and proof", Group.BACKUP_FILES, True, True,
            (Usage(1234.5, 1234.5, 399_000_000, {"donor": 123.4, "store": 123.4}),), 12_345_000_000,
            ({"cpu_seconds": CPU},),
        ),
        Outcome(
            "peer", "clone + tar + zstd -1 + openssl", Group.BACKUP_FILES, False, True,
            (Usage(2469.0, 30.0, 9_000_000, {"donor": 1.0, "store": 0.0}),), 700_000_000,
        ),
        Outcome(
            "dump", "mysqldump + zstd -1", Group.BACKUP_FILES, False, False,
            (Usage(40.0, 30.0, 9_000_000, {"donor": 1.0, "store": 0.0}),), 700_000_000,
        ),
        Outcome("broken", "broken peer", Group.RESTORE_S3, False, True, (), 0, (), "ended with 1"),
    ),
    (DonorCost("nothing else", 20.0, Latency(2000, 0.0027, 0.018, 0.063)),),
    ("restic is not on PATH",),
)  # fmt: skip


def printed() -> str:
    output = io.StringIO()
    report.show(MEASURED, Console(file=output, width=report.WIDTH, highlight=False))
    return output.getvalue()


def test_every_line_fits_in_a_hundred_columns():
    assert max(map(len, printed().splitlines())) <= 100


def test_the_table_shows_rate_and_ratio_and_marks_what_is_not_encrypted():
    lines = printed().splitlines()
    ours = next(line for line in lines if line.startswith("Backstay, with recovery and proof "))
    assert ours.split()[5:8] == ["1234.5", "2", "2.00"]
    assert any(line.startswith("mysqldump + zstd -1 *") for line in lines)
    assert "* not encrypted" in printed()


def test_who_failed_or_is_missing_is_said():
    assert "left out: broken peer: ended with 1" in printed()
    assert "left out: restic is not on PATH" in printed()


def test_a_machine_that_was_not_alone_is_told():
    assert "not alone" not in printed()
    busy = replace(MEASURED.outcomes[0], usages=(Usage(10.0, 1.0, 1, {}, 10.0 * (os.cpu_count() or 1) / 4),))
    output = io.StringIO()
    report.show(replace(MEASURED, outcomes=(busy,)), Console(file=output, width=report.WIDTH))
    assert "not alone: others used up to 25% of the machine in 1 of 1 cases" in output.getvalue()


def test_stages_and_latencies_are_shown():
    assert "compress" in printed()
    assert "18.0" in printed()


def test_the_json_holds_every_round_and_the_ratio():
    document = json.loads(json.dumps(report.as_json(MEASURED)))
    ours = next(row for row in document["groups"]["backup_files"] if row["ours"])
    assert round(ours["ratio_to_best_encrypted_peer"], 3) == 2.0
    assert ours["rounds"][0]["peak_bytes"] == 399_000_000
    assert document["failed"] == {"broken": "ended with 1"}
    assert document["donor_cost"][0]["latency"]["p99"] == 0.018
