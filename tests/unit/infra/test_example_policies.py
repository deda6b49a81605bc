"""The policies for AWS are JSON, speak of one place, and give no role the right to undo a lock."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[3] / "infra/examples"
PLACE = "arn:aws:s3:::example-backups/mysql/"
DATA = f"{PLACE}data/s1/20260301T021500Z-full/p00000000"


def statements(role: str) -> list[dict[str, Any]]:
    return json.loads((EXAMPLES / f"s3-policy-{role}.json").read_text())["Statement"]


def may(role: str, action: str, resource: str) -> bool:
    """Conditions left aside: allowed somewhere, and denied nowhere without one."""
    found = [
        each
        for each in statements(role)
        if action in each["Action"] and any(fnmatchcase(resource, pattern) for pattern in each["Resource"])
    ]
    denied = any(each["Effect"] == "Deny" and "Condition" not in each for each in found)
    return not denied and any(each["Effect"] == "Allow" for each in found)


@pytest.mark.parametrize("role", ["backup", "keeper", "restore"])
def test_nobody_ends_a_lock_or_changes_the_bucket(role: str) -> None:
    for action in ("s3:BypassGovernanceRetention", "s3:PutLifecycleConfiguration", "s3:PutBucketVersioning"):
        assert not may(role, action, DATA)
        assert not may(role, action, "arn:aws:s3:::example-backups")
    assert may(role, "s3:ListBucket", "arn:aws:s3:::example-backups")


def test_a_host_that_backs_up_puts_and_locks_and_neither_reads_nor_deletes() -> None:
    assert may("backup", "s3:PutObject", DATA) and may("backup", "s3:PutObjectRetention", DATA)
    assert not any(may("backup", each, DATA) for each in ("s3:GetObject", "s3:DeleteObject"))
    assert may("backup", "s3:GetObject", f"{PLACE}backstay.json")
    assert may("backup", "s3:DeleteObject", f"{PLACE}leases/s1/0123456789abcdef/000000")
    turn = f"{PLACE}turns/shard/s1/00000000"
    assert all(may("backup", f"s3:{each}Object", turn) for each in ("Put", "Get", "Delete"))
    (overwriting,) = [each for each in statements("backup") if each["Sid"] == "NeverOverwrite"]
    assert {f"{PLACE}turns/*", f"{PLACE}outcomes/*"} <= set(overwriting["Resource"])
    outcome = f"{PLACE}outcomes/shard/s1/full/20260301T021500Z-0123456789abcdef"
    assert all(may("backup", f"s3:{each}Object", outcome) for each in ("Put", "Delete"))
    assert not may("backup", "s3:GetObject", outcome)
    assert overwriting["Condition"] == {"Null": {"s3:if-none-match": "true"}}


def test_who_keeps_the_repository_frees_versions_and_who_restores_only_reads() -> None:
    assert may("keeper", "s3:DeleteObjectVersion", DATA) and may("keeper", "s3:GetObject", DATA)
    assert may("restore", "s3:GetObject", DATA)
    assert not any(may("restore", each, DATA) for each in ("s3:PutObject", "s3:DeleteObject"))
    outcome = f"{PLACE}outcomes/fleet/shop/proof/20260301T021500Z-0123456789abcdef"
    assert may("restore", "s3:PutObject", outcome) and not may("restore", "s3:DeleteObject", outcome)
