"""``backstay expire``, ``backup hold`` and ``backup release``: what people and programs are told."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from door import Backstay
from test_cmd_backups import facts

from fleet.parallelism import Parallelism
from repository import layout
from repository.keys import FileSource, Keyring
from repository.layout import BackupName
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore
from repository.writer import begin_backup


class Then:
    """A clock that stands so many days before now."""

    def __init__(self, days: float) -> None:
        self._time = datetime.now(UTC) - timedelta(days=days)

    def now(self) -> datetime:
        return self._time

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        self._time += timedelta(seconds=seconds)


@pytest.fixture
def taken(backstay: Backstay, home: Path) -> list[str]:
    """Labels of four fulls, 50, 40, 31 and 1 days old; of shard s1."""
    assert backstay("init", "--new-key", "k1.key").exit_code == 0
    return [take(home, days) for days in (50, 40, 31, 1)]


def take(home: Path, days: float, shard: str = "s1") -> str:
    source = FileSource("k1", home / "k1.key")
    repository = Repository.open(FilesystemStore(home / "repository"), Keyring([source]))
    with begin_backup(
        repository, shard, "full", parallelism=Parallelism(), pack_size=1 << 20, level=1, clock=Then(days)
    ) as writer:
        return writer.complete(facts().model_copy(update={"files": ()})).label


def table(text: str) -> dict[str, list[str]]:
    """Label, and the words behind it."""
    rows = [line.split() for line in text.splitlines()]
    return {row[0]: row[1:] for row in rows if row and layout.parse_label(row[0])}


def listed(text: str) -> list[tuple[str, str]]:
    """Label and state."""
    rows = [line.split() for line in text.splitlines()]
    return [(row[1], row[2]) for row in rows if len(row) > 2 and layout.parse_label(row[1])]


def test_what_cannot_be_read_has_its_row(backstay: Backstay, home: Path, taken: list[str]) -> None:
    manifest = home / "repository" / layout.manifest(BackupName("s1", taken[2]))
    manifest.chmod(0o600)
    manifest.write_bytes(b"noise")
    told = backstay("backup", "list")
    assert told.exit_code != 0
    assert listed(told.out)[:4] == list(zip(taken, ["taken", "taken", "unreadable", "taken"], strict=True))


def test_the_plan_is_told_then_done_then_undone(backstay: Backstay, taken: list[str]) -> None:
    plan = backstay("expire", "--dry-run")
    assert plan.exit_code == 0
    lines = plan.out.splitlines()
    assert lines[0].startswith("The recovery window begins at ")
    assert lines[2] == "Shard s1: 2 stay, 2 expire."
    rows = table(plan.out)
    assert rows[taken[0]][0] == "expires"
    assert rows[taken[3]][:6] == ["stays", "in", "the", "window", "of", "30"]
    assert "can be taken back until" in " ".join(rows[taken[0]])
    done = backstay("expire", "s1")
    assert done.exit_code == 0
    assert "Shard s1: 2 stay, 2 expire now." in done.out
    assert done.out.splitlines()[-1] == f"backstay expire s1 --take-back {taken[1]}"
    states = {row.split()[1]: row.split()[2] for row in backstay("backup", "list").out.splitlines()[1:]}
    assert [states[label] for label in taken] == ["expired", "expired", "taken", "taken"]
    assert "50 days old, and the window is 30 days" in backstay("backup", "show", "s1", taken[0]).out
    back = backstay("expire", "s1", "--take-back", taken[1])
    assert back.out.splitlines()[0] == f"s1/{taken[1]} is taken back."
    assert backstay("expire", "s1", "--take-back", taken[1]).out.startswith("Nothing to do:")
    again = backstay("expire", "--json").json
    assert again["done"]
    (shard,) = again["shards"]
    assert [each["label"] for each in shard["expires"]] == [taken[1]]
    assert [each["label"] for each in shard["expired"]] == [taken[0]]


def test_a_hold_shows_wherever_backups_are_told(backstay: Backstay, taken: list[str]) -> None:
    backstay("expire")
    held = backstay("backup", "hold", "s1", taken[0], "--reason", "audit 7", "--until", "90d")
    assert held.exit_code == 0
    assert "taken back" in held.out
    assert any(
        "held until" in line and "audit 7" in line for line in backstay("backup", "list").out.splitlines()
    )
    (hold,) = backstay("backup", "show", "s1", taken[0], "--json").json["holds"]
    assert hold["reason"] == "audit 7"
    assert "@" in hold["placed_by"]
    kept = {each["label"]: each["reasons"] for each in backstay("expire", "--json").json["shards"][0]["kept"]}
    assert kept[taken[0]] == ["held"]
    released = backstay("backup", "release", "s1", taken[0])
    assert released.exit_code == 0
    assert "audit 7" in released.out
    assert backstay("backup", "release", "s1", taken[0]).exit_code == 40
    assert [each["label"] for each in backstay("expire", "--json").json["shards"][0]["expires"]] == [taken[0]]


@pytest.mark.parametrize(
    ("until", "told"),
    [
        ("2020-01-01T00:00:00Z", "has passed"),
        ("30", "is no span of time"),
        ("tomorrow", "is no time"),
        ("2030-01-01T00:00:00", "which time zone"),
    ],
)
def test_a_hold_needs_a_date_that_can_be_understood(
    backstay: Backstay, taken: list[str], until: str, told: str
) -> None:
    refused = backstay("backup", "hold", "s1", taken[0], "--reason", "audit", "--until", until)
    assert refused.exit_code == 2
    assert told in refused.err


def test_a_number_mistyped_is_refused_until_it_is_confirmed(
    backstay: Backstay, home: Path, taken: list[str]
) -> None:
    taken += [take(home, days) for days in range(5, 29)]
    config = home / "backstay.toml"
    config.write_text(config.read_text() + "\n[retention]\ndays = 3.0\n")
    refused = backstay("expire")
    assert refused.exit_code == 45
    assert "Shard s1: 2 stay, 26 would expire; refused, nothing is marked." in refused.out
    assert "is retention.days = 3 what was meant?" in refused.out
    assert "--yes-shrink" in refused.err
    assert {row[0] for row in table(refused.out).values()} == {"stays", "would"}
    assert backstay("expire", "--json").json["error"]["exit_code"] == 45
    assert backstay("expire", "--dry-run").exit_code == 45
    assert backstay("expire", "--yes-shrink").exit_code == 0
    assert backstay("expire").exit_code == 0


def test_a_shard_that_left_the_configuration_is_looked_at_too(
    backstay: Backstay, home: Path, taken: list[str]
) -> None:
    old = [take(home, days, "gone") for days in (70, 60, 50, 40)]
    told = backstay("expire", "--dry-run", "--json").json
    assert [each["shard"] for each in told["shards"]] == ["gone", "s1"]
    assert [each["label"] for each in told["shards"][0]["kept"]] == old[2:]
    assert backstay("expire", "gone", "--dry-run").exit_code == 0
    assert backstay("expire", "s3").exit_code == 40


def test_a_shard_without_backups_has_nothing_to_expire(backstay: Backstay, taken: list[str]) -> None:
    assert "Shard s2: 0 stay, 0 expire." in backstay("expire", "s2", "--dry-run").out


def test_an_object_that_is_no_mark_is_told(backstay: Backstay, home: Path, taken: list[str]) -> None:
    mark = home / "repository" / "expired" / "s1" / taken[3] / "mark"
    mark.parent.mkdir(parents=True)
    mark.write_bytes(b"not ours")
    told = backstay("expire", "--dry-run")
    assert told.exit_code == 0
    assert "no mark: " in told.out
    assert backstay("backup", "show", "s1").out.split()[1] == f"s1/{taken[3]}"


def test_what_is_told_of_marks_is_true_when_it_is_told(
    backstay: Backstay, home: Path, taken: list[str]
) -> None:
    backstay("expire")
    then = time.time() - 25 * 3600
    os.utime(home / "repository" / "expired" / "s1" / taken[0] / "mark", (then, then))
    (home / "repository" / "expired" / "s1" / taken[1] / "reduced").write_text('{"format": 1}')
    rows = {label: " ".join(row) for label, row in table(backstay("expire").out).items()}
    assert rows[taken[0]].endswith("days; the grace time is over, prune may delete it")
    assert rows[taken[1]].endswith("days; only what others refer to is left")
    assert list(rows) == [taken[3], taken[2], taken[1], taken[0]]
    states = dict(listed(backstay("backup", "list").out))
    assert [states[label] for label in taken] == ["expired", "reduced", "taken", "taken"]
    assert backstay("backup", "show", "s1", taken[1], "--json").json["backup"]["reduced"]
    refused = backstay("expire", "s1", "--take-back", taken[1])
    assert refused.exit_code == 45
    assert f"Nothing can bring it back. The newest backup without a mark is {taken[3]}." in refused.err
    held = backstay("backup", "hold", "s1", "latest", "--reason", "x", "--until", "30d")
    assert held.exit_code == 2
    assert f"The newest is {taken[3]}." in held.err


def test_marks_of_a_retention_that_was_too_short_are_taken_back_and_it_is_said(
    backstay: Backstay, home: Path, taken: list[str]
) -> None:
    config = home / "backstay.toml"
    before = config.read_text()
    config.write_text(before + "\n[retention]\ndays = 0.5\nminimum_fulls = 1\n")
    backstay("expire", "--yes-shrink")
    config.write_text(before)
    dry = backstay("expire", "--dry-run")
    assert "Shard s1: 2 stay, 0 expire, 2 expired before, 1 to be taken back." in dry.out
    assert "its mark is taken back" in " ".join(table(dry.out)[taken[2]])
    (shard,) = backstay("expire", "--json").json["shards"]
    assert shard["taken_back"] == [taken[2]]
    assert "12 h 00 min" in backstay("backup", "show", "s1", taken[0]).out


def test_where_a_manifest_cannot_be_read_the_way_out_can_be_typed(
    backstay: Backstay, home: Path, taken: list[str]
) -> None:
    manifest = home / "repository" / layout.manifest(BackupName("s1", taken[3]))
    manifest.chmod(0o600)
    manifest.write_bytes(b"noise")
    refused = backstay("expire")
    assert refused.exit_code == 45
    assert f"backstay prune --give-up s1/{taken[3]}`, at each run until it is gone" in refused.err


def test_take_back_needs_one_shard(backstay: Backstay, taken: list[str]) -> None:
    for arguments in (["--take-back", taken[0]], ["s1", "s2", "--take-back", taken[0]]):
        assert backstay("expire", *arguments).exit_code == 2
    assert backstay("expire", "s1", "--take-back", "20200101T000000Z-full").exit_code == 40
    assert backstay("expire", "s1", "--take-back", "latest").exit_code == 2


def test_without_any_backup_nothing_expires(backstay: Backstay) -> None:
    backstay("init", "--new-key", "k1.key")
    assert backstay("expire").out == "There is no backup yet, so nothing expires.\n"


def test_everything_fits_80_columns(
    backstay: Backstay, taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    backstay("backup", "hold", "s1", taken[0], "--reason", "a long reason " * 9, "--until", "90d")
    for arguments in (
        ["expire", "--dry-run"],
        ["expire"],
        ["backup", "list"],
        ["backup", "show", "s1", taken[0]],
    ):
        assert max(map(len, backstay(*arguments).out.splitlines())) <= 80
