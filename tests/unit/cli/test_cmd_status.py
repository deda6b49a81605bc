"""``backstay status``: what somebody reads who was just woken, and what monitoring reads."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from door import Backstay
from rich.console import Console, RenderableType

from cli.render import render_text
from cli.text_status import short, watched
from drills.status.judge import by_urgency, what_to_do
from drills.status.page import render_page
from drills.status.report import FleetStatus, Health, Judged
from tests.unit.drills.seen_fleets import (
    NOW,
    fleet_that_is_ill,
    fleet_that_is_well,
    fleet_that_nobody_can_ask,
)

COMMAND = re.compile(r"^ *(?:To do: .*: |)(?:backstay|mysql|mysqladmin|df) ")


@pytest.fixture(autouse=True)
def quick_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a store that is not there."""
    monkeypatch.setenv("BACKSTAY_TEST_PASSWORD", "secret")


def text_of(status: FleetStatus) -> str:
    return printed(render_text(status))


def printed(text: RenderableType) -> str:
    screen = Console(file=StringIO(), width=80, highlight=False, emoji=False, markup=False)
    screen.print(text, crop=False)
    assert isinstance(screen.file, StringIO)
    return "\n".join(line.rstrip() for line in screen.file.getvalue().splitlines())


def too_long(text: str) -> Iterator[str]:
    """A line that is to be copied is never broken; no other is longer than the screen."""
    yield from (line for line in text.splitlines() if len(line) > 80 and not COMMAND.match(line))


@pytest.mark.parametrize("seen", [fleet_that_is_well, fleet_that_is_ill, fleet_that_nobody_can_ask])
def test_every_fleet_fits_80_columns(seen: Callable[[], FleetStatus]) -> None:
    status = seen()
    assert list(too_long(text_of(status))) == []
    for shard in status.shards:
        assert list(too_long(text_of(replace(status, shards=(shard,))))) == []


def test_the_last_line_says_what_to_do() -> None:
    assert text_of(fleet_that_is_well()).splitlines()[-1].startswith("To do: ")


def test_on_a_screen_what_to_do_comes_first() -> None:
    assert printed(watched(fleet_that_is_ill())).startswith("To do: ")


def test_a_command_that_does_not_fit_has_a_line_of_its_own() -> None:
    command = "mysql -h database-with-a-long-name.example.net -P 3306 -E -e 'SHOW REPLICA STATUS'"
    found = (
        Judged(Health.CRITICAL, "replication-lag", "server b", "is stopped", f"See why: {command}", NOW),
    )
    status = replace(
        fleet_that_is_well(), findings=found, health=Health.CRITICAL, what_to_do=what_to_do(found)
    )
    lines = text_of(status).splitlines()
    assert lines[-2:] == ["To do: See why:", f"  {command}"]
    assert f"          {command}" in lines


def test_the_worst_comes_first_with_its_age_and_its_chapter() -> None:
    found = by_urgency(
        [
            Judged(Health.WARNING, "settings", "server a", "is odd"),
            Judged(Health.CRITICAL, "archive-gap", "shard s1", "lacks", None, NOW - timedelta(hours=3)),
        ]
    )
    status = replace(fleet_that_is_well(), seen_at=NOW, findings=found)
    told = [line for line in text_of(status).splitlines() if line.startswith(("critical", "warning"))]
    assert told == ["critical  shard s1: lacks (archive-gap, 3h)", "warning   server a: is odd (settings)"]


def test_many_shards_that_are_ill_in_the_same_way_are_told_together() -> None:
    def told(count: int) -> str:
        found = [
            Judged(Health.WARNING, "backup-overdue", f"shard s{n}", "is late", f"Take it: backstay s{n}")
            for n in range(count)
        ]
        return text_of(replace(fleet_that_is_well(), findings=tuple(found)))

    assert told(2).count("is late") == 2
    assert told(8).count("is late") == 1
    assert "          The same: s1, s2, s3, s4, s5, s6, s7\n" in told(8)


def test_a_shard_that_is_not_configured_is_shown_with_the_end_of_its_backups() -> None:
    status = fleet_that_is_ill()
    text = text_of(status)
    assert (
        "old_7: 12 backups, and the configuration does not name it\n  newest 20260322T094112Z-full, " in text
    )
    assert " ago; kept until 2026-04-21\n" in text
    (old,) = status.unconfigured
    ended = replace(old, kept_until=NOW - timedelta(days=1))
    assert "ago; kept as its newest\n" in text_of(replace(status, unconfigured=(ended,)))
    shut = replace(old, newest=None, kept_until=None)
    assert "newest" not in text_of(replace(status, unconfigured=(shut,)))


def test_fulls_that_are_all_damaged_are_not_told_as_never_taken() -> None:
    status = fleet_that_is_well()
    shard = status.shards[0]
    backups = tuple(
        replace(each, damage="a pack is gone" if each.kind == "full" else None) for each in shard.backups
    )
    damaged = replace(shard, backups=backups, last_full=None)
    whole = text_of(replace(status, shards=(damaged, *status.shards[1:])))
    (row,) = [line for line in whole.splitlines() if line.startswith(shard.shard)]
    assert row.split()[2] == "damaged"
    alone = text_of(replace(status, shards=(damaged,)))
    assert re.search(r"^last full +none is whole$", alone, re.MULTILINE)
    assert "none is whole</span>" in render_page(replace(status, shards=(damaged,)), NOW)


def test_a_clock_that_is_off_is_shown_beside_its_server() -> None:
    status = fleet_that_is_ill()
    text = text_of(replace(status, shards=status.shards[1:]))
    assert "users-1-a, us-east: primary, its clock 1 min 12 s behind ours" in text
    assert "its clock" not in text_of(replace(status, shards=status.shards[:1]))


def test_what_is_known_of_long_ago_is_as_old_as_it_is_now() -> None:
    """The fleet was seen years before anybody runs this test."""
    status = replace(fleet_that_is_well(), unreachable="the store does not answer", health=Health.CRITICAL)
    row = next(line for line in text_of(status).splitlines() if line.startswith(status.shards[0].shard))
    ages = [int(age) for age in re.findall(r"(\d+)d", row)]
    assert "NOT NOW: the store does not answer" in text_of(status)
    assert "?" in row
    assert ages


def test_a_backup_that_runs_is_shown_with_its_beginning_and_in_the_table() -> None:
    well = fleet_that_is_well()
    shards = [replace(each, running_since=NOW - timedelta(minutes=9)) for each in well.shards]
    assert "running since 2026-03-31 09:32:12 UTC" in re.sub(
        " +", " ", text_of(replace(well, shards=tuple(shards[:1])))
    )
    assert "running" in text_of(replace(well, shards=tuple(shards)))
    assert "running" not in text_of(well)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.42, "0.4s"),
        (42, "42s"),
        (119, "119s"),
        (120, "2m"),
        (7199, "119m"),
        (7200, "2h"),
        (-5, "0s"),
    ],
)
def test_an_age_is_one_unit(seconds: float, text: str) -> None:
    assert short(seconds) == text


def test_a_fleet_without_a_backup_is_critical(backstay: Backstay) -> None:
    assert backstay("init", "--new-key", "k1.key").exit_code == 0
    run = backstay("status")
    assert run.exit_code == 61
    assert "there is no backup" in run.out
    assert run.err == ""
    answer = backstay("status", "s1", "--json")
    assert answer.exit_code == 61
    assert [shard["shard"] for shard in answer.json["shards"]] == ["s1"]
    assert answer.json["health"] == "critical"
    assert "error" not in answer.json


def test_a_repository_that_is_not_there_is_critical_and_no_error(backstay: Backstay) -> None:
    (Path("k1.key")).write_text("not yet")
    run = backstay("status", "--json")
    assert run.exit_code == 61
    assert run.json["unreachable"]
    assert run.json["findings"][0]["code"] in {"repository-unreachable", "key-unusable"}


def test_a_shard_that_is_nowhere_is_told_the_nearest_one(backstay: Backstay) -> None:
    run = backstay("status", "s3")
    assert run.exit_code == 40
    assert "Did you mean" in run.err


def test_watching_is_for_people(backstay: Backstay) -> None:
    assert backstay("status", "--watch", "--json").exit_code == 2


def test_a_status_needs_no_scheduler_to_be_installed(home: Path) -> None:
    program = (
        "import sys; from cli.app import run; run(['status']); "
        "sys.exit(any(name.split('.')[0] == 'prefect' for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=home, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
