"""What is told of all shards at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from door import Backstay

from cli.failure import Failure
from cli.render import show_text
from cli.text_fleet import FleetPlanned, FleetRestored, ShardRestored
from cli.text_point import BranchLeft, Neighbour, PointPlanned
from restore.full import LeftServer
from restore.point_restore import PointResult

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
LABEL = "20260301T021500Z-incremental"
AT = datetime(2026, 3, 1, 2, 15, 0, 123_456, tzinfo=UTC)
OTHER = "4e11fa47-71ca-11e1-9e33-c80aa9429562"
INTO = Path("/srv/restored")


def plan_of(shard: str) -> PointPlanned:
    last = Neighbour("in", f"{UUID}:77", "2026-03-01T02:15:00.123456Z", ("insert",), ("shop.orders",), "")
    return PointPlanned(
        shard=shard,
        label=LABEL,
        target=INTO / shard,
        to="2026-03-01 02:15:00.200000 UTC",
        mode="empty",
        steps=(),
        stop_before=None,
        gtids=f"{UUID}:1-77",
        skipped="",
        neighbours=(last,),
        branches=(BranchLeft(1, 406, f"{OTHER}:1-406"),) if shard == "s1" else (),
        epoch=1,
        transactions=123_456,
        segments=3,
        archive_bytes=1,
        log_bytes=2,
        backup_bytes=3,
        needed_bytes=4,
        free_bytes=5,
        estimated_seconds=95.0,
        promised_seconds=3600.0,
        remove_files=(),
        links=(),
        passed_over=(),
    )


def result_of(shard: str) -> PointResult:
    return PointResult(
        shard=shard,
        label=LABEL,
        target=INTO / shard,
        asked="2026-03-01 02:15:00.200000 UTC",
        epoch=1,
        reached_at=AT,
        stopped_before=None,
        skipped="",
        server_uuid=UUID,
        server_version="9.7.4",
        gtid_executed=f"{UUID}:1-77",
        transactions=123_456,
        log_bytes=2,
        checks=(),
        seconds=80.0,
        stage_seconds={"replay": 60.0},
        unrecorded=None,
        left=None,
        promoted=False,
        next_steps=(),
    )


def told(capsys: pytest.CaptureFixture[str], result: object) -> str:
    show_text(result)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    return text


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_a_plan_has_a_row_for_each_shard(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(
        capsys,
        FleetPlanned("2026-03-01 02:15:00.200000 UTC", INTO, 0.25, 190.0, (plan_of("s1"), plan_of("s2"))),
    )
    row = f"s2     {LABEL}    123,456  2026-03-01 02:15:00  1 min 35 s\n"
    assert row in text
    assert "Shard s1 goes without 406 transactions of a branch that epoch 1 left behind" in text
    assert text.endswith("The shards stand at most 0.25 s apart, by the clocks of their servers.\n")


def test_a_promoted_server_is_told_as_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    left = LeftServer(Path("/srv/run/mysqld.sock"), 4711, Path("/srv/run/mysqld.log"))
    promoted = told(capsys, replace(result_of("s1"), left=left, promoted=True))
    assert f"promoted        s1, from backup {LABEL}" in promoted
    assert "process 4711, takes writes, no password; socket only" in promoted
    restored = told(capsys, replace(result_of("s1"), left=left))
    assert f"restored        s1, from backup {LABEL}" in restored
    assert "process 4711, read-only, no password; socket only" in restored


def test_a_result_tells_what_failed_beside_what_was_restored(capsys: pytest.CaptureFixture[str]) -> None:
    error = Failure("ArchiveGap", "5 transactions were never archived", "Take a backup.", 35, retryable=False)
    shards = (
        ShardRestored("s1", INTO / "s1", result_of("s1"), None),
        ShardRestored("s2", INTO / "s2", None, error),
    )
    text = told(capsys, FleetRestored("2026-03-01 02:15:00.200000 UTC", INTO, 0.0, 81.0, shards))
    assert "s1     /srv/restored/s1   123,456  2026-03-01 02:15:00.123456  1 min 20 s\n" in text
    assert "All shards stand at that very moment" in text
    assert "fail  shard s2  5 transactions were never archived\n" in text


@pytest.mark.parametrize("seconds", [None, 0.0, 2.5])
def test_how_far_apart_the_shards_stand_is_always_said(
    capsys: pytest.CaptureFixture[str], seconds: float | None
) -> None:
    assert (
        "shard"
        in told(capsys, FleetPlanned("the end", INTO, seconds, 1.0, (plan_of("s1"),))).splitlines()[-1]
    )


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--before-gtid", f"{UUID}:7"],
        ["--latest", "--delta"],
        ["--latest", "--backup", LABEL],
        ["s1", "--latest"],
    ],
)
def test_all_shards_need_a_moment_that_they_share(backstay: Backstay, home: Path, options: list[str]) -> None:
    backstay("init", "--new-key", "k1.key")
    answer = backstay("restore", "--all", "--into", "restored", *options)
    assert answer.exit_code == 2
    assert not (home / "restored").exists()


def test_a_restore_names_a_shard_or_all(backstay: Backstay) -> None:
    assert backstay("restore", "--into", "restored").err.startswith("error: no shard is named\n")
