"""``backstay check`` and the checks of ``backup full`` and ``restore``, where no server answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from door import Backstay


@pytest.fixture(autouse=True)
def nobody_listens(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The servers' ports are bound and refuse every connection, whatever else runs on this machine."""
    monkeypatch.setenv("BACKSTAY_TEST_PASSWORD", "secret")
    mysqld = home / "mysqld"
    mysqld.write_text("#!/bin/sh\necho mysqld  Ver 9.7.4 for Linux on x86_64\n")
    mysqld.chmod(0o755)
    config = (home / "backstay.toml").read_text() + "\n[backup]\nspool_max_bytes = 1\n"
    config += '[restore]\nmysqld = "mysqld"\n'
    held: list[socket.socket] = []
    for port in ("3311", "3312", "3321"):
        held.append(socket.socket())
        held[-1].bind(("127.0.0.1", 0))
        config = config.replace(f"port = {port},", f"port = {held[-1].getsockname()[1]},")
    (home / "backstay.toml").write_text(config)
    yield
    for each in held:
        each.close()


def test_everything_that_is_wrong_is_told_at_once(backstay: Backstay) -> None:
    answer = backstay("check")
    assert answer.exit_code == 41
    levels = [line.split()[:3] for line in answer.out.splitlines() if line[:4].strip()]
    assert [level[0] for level in levels] == ["ok", "fail", "ok", "ok", *["fail"] * 5]
    assert [level[1] for level in levels] == [
        "configuration",
        "repository",
        "spool",
        "mysqld",
        "shard",
        "server",
        "server",
        "shard",
        "server",
    ]
    assert answer.err == (
        "error: 6 of 9 checks failed\nhint: The lines below each `fail` name the way out.\n"
    )
    assert "secret" not in answer.out + answer.err


def test_programs_get_the_findings_and_the_error_in_one_object(backstay: Backstay) -> None:
    backstay("init", "--new-key", "k1.key")
    checked = backstay("check", "s2", "--json").json
    assert set(checked) == {"findings", "error"}
    assert checked["error"]["kind"] == "CheckFailed"
    assert [(finding["level"], finding["subject"]) for finding in checked["findings"]] == [
        ("ok", "configuration"),
        ("ok", "repository"),
        ("ok", "key k1"),
        ("ok", "store"),
        ("ok", "spool"),
        ("ok", "mysqld"),
        ("fail", "shard s2"),
        ("fail", "server s2-a"),
    ]
    assert set(checked["findings"][0]) == {"level", "subject", "message", "hint"}


def test_what_a_server_says_is_told_once(backstay: Backstay) -> None:
    backstay("init", "--new-key", "k1.key")
    shard, server = backstay("check", "s2", "--json").json["findings"][-2:]
    assert shard["message"] == "no server of it can be copied from; each says why"
    assert server["subject"] == "server s2-a"
    assert "s2-a" in server["message"]


def test_the_archive_says_nothing_again_that_was_said_of_the_servers(backstay: Backstay, home: Path) -> None:
    backstay("init", "--new-key", "k1.key")
    before = of_the_servers(backstay)
    with (home / "backstay.toml").open("a") as config:
        config.write('[archive]\nmode = "async"\n')
    assert of_the_servers(backstay) == before


def of_the_servers(backstay: Backstay) -> list[dict[str, str]]:
    """What else is found tells of the free space too, which other tests use meanwhile."""
    findings = backstay("check", "s2", "--json").json["findings"]
    return [finding for finding in findings if finding["subject"].endswith(("s2", "s2-a"))]


@pytest.mark.parametrize("content", [bytes(32), None])
def test_a_key_that_cannot_be_used_is_told_under_its_own_name(
    backstay: Backstay, home: Path, content: bytes | None
) -> None:
    backstay("init", "--new-key", "k1.key")
    if content is None:
        (home / "k1.key").unlink()
    else:
        (home / "k1.key").write_bytes(content)
    answer = backstay("check", "s2", "--json").json
    assert "findings" in answer, answer
    findings = answer["findings"]
    assert [(finding["level"], finding["subject"]) for finding in findings][1:4] == [
        ("ok", "repository"),
        ("fail", "key k1"),
        ("ok", "store"),
    ]


def test_a_configured_mysqld_that_does_not_run_is_found(backstay: Backstay, home: Path) -> None:
    (home / "mysqld").unlink()
    findings = backstay("check", "s2", "--json").json["findings"]
    (found,) = [finding for finding in findings if finding["subject"] == "mysqld"]
    assert (found["level"], found["message"]) == ("fail", f"{home}/mysqld is not a program that can be run")


def test_a_shard_that_nobody_knows_is_named_with_the_nearest(backstay: Backstay) -> None:
    answer = backstay("check", "s3")
    assert answer.exit_code == 40
    assert "s3" in answer.err


def test_a_backup_needs_a_shard_or_all_of_them(backstay: Backstay) -> None:
    assert backstay("backup", "full").exit_code == 2
    assert backstay("backup", "full", "s1", "--all").exit_code == 2
    assert backstay("backup", "full", "--all", "--donor", "s1-a").exit_code == 2


def test_a_backup_without_a_repository_says_how_to_make_one(backstay: Backstay, home: Path) -> None:
    (home / "k1.key").write_bytes(bytes(32))
    (home / "k1.key").chmod(0o600)
    answer = backstay("backup", "full", "s1")
    assert answer.exit_code == 27
    assert "backstay init" in answer.err


def test_the_plan_of_a_backup_fails_with_what_the_backup_would_fail_with(backstay: Backstay) -> None:
    backstay("init", "--new-key", "k1.key")
    answer = backstay("backup", "full", "s2", "--dry-run", "--json")
    assert answer.exit_code == answer.json["error"]["exit_code"]
    assert answer.exit_code in {12, 13}


def test_a_restore_of_a_shard_without_backups_touches_nothing(backstay: Backstay, home: Path) -> None:
    backstay("init", "--new-key", "k1.key")
    answer = backstay("restore", "s1", "--into", "new")
    assert answer.exit_code == 40
    assert answer.err.startswith("error: there is no backup of shard s1")
    assert not (home / "new").exists()


@pytest.mark.parametrize("option", ["--delta", "--yes", "-y", "--json"])
def test_an_option_is_not_taken_for_the_value_of_the_one_before(
    backstay: Backstay, home: Path, option: str
) -> None:
    answer = backstay("restore", "s1", "--into", option)
    assert answer.exit_code == 2
    assert answer.err.startswith(
        f"error: --into has no value: {option} follows it, which is an option\nhint: "
    )
    assert not (home / option).exists()


def test_a_restore_must_say_where_to(backstay: Backstay) -> None:
    answer = backstay("restore", "s1")
    assert answer.exit_code == 2
    assert "--into" in answer.err


def test_fix_says_first_what_it_runs(backstay: Backstay) -> None:
    answer = backstay("check", "--fix")
    assert answer.exit_code == 41
    assert answer.out.splitlines()[:3] == [
        "Where page tracking is off, this runs now:",
        "  INSTALL COMPONENT 'file://component_mysqlbackup'",
        "  SELECT mysqlbackup_page_track_set(true)",
    ]
    assert set(backstay("check", "--fix", "--json").json) == {"findings", "error"}
