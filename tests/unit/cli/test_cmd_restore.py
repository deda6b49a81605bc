"""``backstay restore``: what its options ask for, before any server is met."""

from __future__ import annotations

from pathlib import Path

import pytest
from door import Backstay

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--to", "2026-03-01T02:15:00Z", "--latest"], "--to and --latest name different points"),
        (["--to", "2026-03-01 02:15"], "does not say in which time zone"),
        (["--to", "yesterday"], "is no time"),
        (["--skip-gtid", f"{UUID}:7"], "no point is given"),
    ],
)
def test_a_point_that_makes_no_sense_is_a_usage_error(
    backstay: Backstay, home: Path, options: list[str], said: str
) -> None:
    answer = backstay("restore", "s1", "--into", "restored", *options)
    assert answer.exit_code == 2
    assert said in answer.err.splitlines()[0]
    assert not (home / "restored").exists()


def test_a_gtid_that_is_none_is_named(backstay: Backstay) -> None:
    answer = backstay("restore", "s1", "--into", "restored", "--before-gtid", "nonsense", "--json")
    assert answer.exit_code == 18
    assert "nonsense" in answer.json["error"]["message"]


def test_a_shard_without_an_archive_says_how_one_begins(backstay: Backstay, home: Path) -> None:
    backstay("init", "--new-key", "k1.key")
    answer = backstay("restore", "s1", "--into", "restored", "--latest")
    assert answer.exit_code == 40
    assert "s1" in answer.err.splitlines()[0]
    assert "archive" in answer.err
    assert not (home / "restored").exists()
