"""``backstay standby``: its three doors, and what is told of one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from door import Backstay

from cli.cmd_standby import in_short
from cli.render import show_text
from repository.archive.beyond import HeldBeyond
from restore.journal import JOURNAL_NAME, Journal, RestoreHeader
from restore.standby_status import StandbyStatus, write_status

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
AT = datetime(2026, 3, 1, 2, 15, 0, 123_456, tzinfo=UTC)
NOW = StandbyStatus(
    shard="s1",
    directory=Path("/srv/standby"),
    label="20260301T021500Z-full",
    state="following",
    pid=4711,
    server_uuid=UUID,
    gtid_executed=f"{UUID}:1-77",
    applied_at=AT,
    archived_at=AT + timedelta(seconds=0.4),
    lag_seconds=0.4,
    lag_transactions=12,
    delay_seconds=3600,
    updated_at=AT,
)


@pytest.mark.parametrize(
    "arguments",
    [
        ["standby", "s1", "--into", "standby"],
        ["standby", "--into", "standby", "s1"],
        ["standby", "--json", "s1", "--into", "standby"],
        ["standby", "follow", "s1", "--into", "standby"],
    ],
)
def test_a_shard_alone_means_to_follow_it(backstay: Backstay, home: Path, arguments: list[str]) -> None:
    backstay("init", "--new-key", "k1.key")
    answer = backstay(*arguments)
    assert answer.exit_code == 40
    assert "s1" in answer.err
    assert not (home / "standby").exists()


@pytest.mark.parametrize("verb", ["promote", "status"])
def test_a_directory_without_a_standby_is_named(backstay: Backstay, home: Path, verb: str) -> None:
    answer = backstay("standby", verb, "nothing")
    assert answer.exit_code == 40
    assert answer.err.startswith(f"error: there is no standby in {home}/nothing\n")


def test_a_delay_that_is_none_is_a_usage_error(backstay: Backstay) -> None:
    assert backstay("standby", "s1", "--into", "standby", "--delay", "soon").exit_code == 2


def test_help_of_the_group_lists_the_three(backstay: Backstay) -> None:
    answer = backstay("standby", "--help")
    assert answer.exit_code == 0
    assert all(f"\n  {name} " in answer.out for name in ("follow", "promote", "status"))


def test_a_standby_is_told_at_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    show_text(NOW)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith("standby     of shard s1 follows the archive\n")
    assert "lag         0.4 s, 12 transactions behind the archive\n" in text
    assert "delay       1 h 00 min after their commit\n" in text
    assert "archived    up to 2026-03-01 02:15:00.523456 UTC\n" in text


def left_in(directory: Path, now: StandbyStatus) -> None:
    """The files of a standby of which nobody holds the journal any more."""
    directory.mkdir()
    header = RestoreHeader("r" * 32, "s1", now.label, delta=False)
    journal = Journal.open(directory / JOURNAL_NAME, header, None, go_on=False)
    write_status(replace(now, directory=directory))
    journal.close()


def test_a_standby_that_does_not_run_is_a_finding(backstay: Backstay, home: Path) -> None:
    left_in(home / "standby", NOW)
    answer = backstay("standby", "status", "standby")
    assert answer.exit_code == 41
    assert "does not run" in answer.err
    assert f"backstay standby s1 --into {home}/standby" in answer.err
    assert "lag" not in answer.out


def test_what_a_standby_ended_with_is_told_with_its_way_out(backstay: Backstay, home: Path) -> None:
    left_in(home / "standby", replace(NOW, problem="its line went another way", hint="Start anew."))
    answer = backstay("standby", "status", "standby", "--json")
    assert answer.exit_code == 41
    assert (answer.json["problem"], answer.json["hint"]) == ("its line went another way", "Start anew.")
    assert answer.json["lag_seconds"] is None
    assert answer.json["error"]["hint"] == "Start anew."


def test_one_line_says_how_it_goes() -> None:
    assert in_short(NOW) == "following, lag 0.4 s, 12 transactions, 1 h 00 min of it wanted"


def test_a_standby_of_an_archive_that_ends_early_names_the_backup_with_more(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_text(replace(NOW, beyond=HeldBeyond("20260302T021500Z-full", 5, f"{UUID}:78-82")))
    told = " ".join(capsys.readouterr().out.split())
    assert "20260302T021500Z-full holds 5 transactions that the archive does not reach" in told
    assert "They are not in this standby" in told
