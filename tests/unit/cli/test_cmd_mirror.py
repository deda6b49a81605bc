"""``backstay mirror``: what it says of a copy that is whole, behind, or not to be made."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from door import Backstay

from cli.mirroring import places_to_mirror
from fleet.config import load
from repository import layout
from repository.archive.archive import ShardArchive
from tests.unit.repository.archive.archived_binlogs import MadeFile, binlog, open_first
from tests.unit.repository.sealed_backups import TickingClock, sample, take


@pytest.fixture
def mirrored(home: Path, backstay: Backstay, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a mirror that is empty yet; its backups lie in March 2026."""
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    config = home / "backstay.toml"
    mirror = f'\n[mirror]\nurl = "file://{home}/mirror"\n\n[mirror.retention]\ndays = 36500.0\n'
    config.write_text(config.read_text() + mirror)
    assert backstay("init", "--new-key", "k1.key").exit_code == 0
    return home


def fill(home: Path) -> str:
    source = places_to_mirror(load(home / "backstay.toml")).source
    manifest = take(source, TickingClock(), sample())
    archive = ShardArchive(source, "s1")
    open_first(archive)
    made = MadeFile(binlog()).run("aaaaaaaa-0000-4000-8000-000000000001", 1, 5).rotate()
    made.put(archive, made.cuts(2), "rotate")
    return manifest.label


def test_one_run_copies_all_and_says_so(mirrored: Path, backstay: Backstay) -> None:
    label = fill(mirrored)
    answer = backstay("mirror", "run", "--once", "--json")
    assert answer.exit_code == 0
    assert answer.json["backups"] == [{"shard": "s1", "label": label}]
    assert answer.json["refused"] == []
    listed = backstay("backup", "list", "--from", "mirror", "--json").json["backups"]
    assert [each["label"] for each in listed] == [label]
    assert backstay("verify", "--all", "--quick", "--from", "mirror").exit_code == 0
    assert backstay("archive", "verify", "s1", "--from", "mirror").exit_code == 0
    text = backstay("mirror", "run", "--once")
    assert (text.exit_code, "objects  0" in text.out) == (0, True)


def test_the_status_tells_what_is_still_to_be_copied(mirrored: Path, backstay: Backstay) -> None:
    label = fill(mirrored)
    before = backstay("mirror", "status", "s1", "--json").json["shards"][0]
    assert (before["backups"]["newest_here"], before["backups"]["newest_there"]) == (label, None)
    assert before["backups"]["to_copy"] == 1
    assert before["backups"]["bytes_to_copy"] > 0
    assert before["archive"]["last_there"] is None
    assert before["archive"]["lag_seconds"] > 0
    assert before["archive"]["bytes_to_copy"] > 0
    backstay("mirror", "run", "--once")
    after = backstay("mirror", "status", "--json").json["shards"]
    assert [each["shard"] for each in after] == ["s1", "s2"]
    assert after[0]["backups"]["newest_there"] == label
    assert (after[0]["backups"]["to_copy"], after[0]["archive"]["bytes_to_copy"]) == (0, 0)
    assert after[0]["archive"]["lag_seconds"] == 0
    assert after[0]["archive"]["last_there"] == after[0]["archive"]["last_here"]
    assert after[1]["archive"] is None
    assert label in backstay("mirror", "status").out


def test_the_status_of_a_mirror_that_is_not_there_yet_puts_nothing(
    mirrored: Path, backstay: Backstay
) -> None:
    assert backstay("mirror", "status").exit_code == 0
    assert not (mirrored / "mirror").exists()


def test_what_is_damaged_is_told_and_remembered(mirrored: Path, backstay: Backstay) -> None:
    label = fill(mirrored)
    pack = mirrored / "repository" / "data" / "s1" / label / "p00000000"
    data = bytearray(pack.read_bytes())
    data[-1] ^= 1
    pack.write_bytes(data)
    answer = backstay("mirror", "run", "--once", "--json")
    assert answer.exit_code == 25
    (refused,) = answer.json["refused"]
    assert "p00000000" in refused["problem"]
    shard = backstay("mirror", "status", "s1", "--json").json["shards"][0]
    assert shard["last_error"]["kind"] == "ObjectDamaged"
    assert shard["backups"]["to_copy"] == 1
    text = backstay("mirror", "status")
    assert (text.exit_code, "shard s1  last error, " in text.out) == (0, True)
    pack.write_bytes(bytes([*data[:-1], data[-1] ^ 1]))
    assert backstay("mirror", "run", "--once").exit_code == 0
    after = backstay("mirror", "status", "--json").json
    assert ([each["last_error"] for each in after["shards"]], after["findings"]) == ([None, None], [])


def test_a_shard_that_has_parted_has_an_exit_code_of_its_own(mirrored: Path, backstay: Backstay) -> None:
    label = fill(mirrored)
    backstay("mirror", "run", "--once")
    manifest = mirrored / "mirror" / layout.MANIFESTS / "s1" / label
    manifest.chmod(0o600)
    manifest.write_bytes(bytes(reversed(manifest.read_bytes())))
    assert backstay("mirror", "run", "--once").exit_code == 47


def test_without_a_mirror_there_is_nothing_to_run(home: Path, backstay: Backstay) -> None:
    for command in ("run", "status"):
        answer = backstay("mirror", command)
        assert answer.exit_code == 10
        assert "there is no mirror" in answer.err


def test_a_mirror_that_was_made_by_hand_and_lacks_data_is_found_and_completed(
    mirrored: Path, backstay: Backstay
) -> None:
    label = fill(mirrored)
    backstay("mirror", "run", "--once")
    (mirrored / "mirror" / "data" / "s1" / label / "p00000000").unlink()
    assert backstay("mirror", "run", "--once").exit_code == 0
    assert backstay("verify", "s1", "--quick", "--from", "mirror").exit_code == 41
    assert backstay("mirror", "run", "--once", "--recheck").exit_code == 0
    assert backstay("verify", "s1", "--quick", "--from", "mirror").exit_code == 0


def test_after_a_loss_the_mirror_becomes_the_repository_by_its_url_alone(
    mirrored: Path, backstay: Backstay
) -> None:
    label = fill(mirrored)
    backstay("mirror", "run", "--once")
    (mirrored / "repository").rename(mirrored / "lost")
    config = mirrored / "backstay.toml"
    text = config.read_text().replace(f"file://{mirrored}/repository", f"file://{mirrored}/mirror")
    config.write_text(text.partition("\n[mirror]")[0])
    assert backstay("backup", "list", "--json").json["backups"][0]["label"] == label
    assert backstay("verify", "--all", "--quick").exit_code == 0


def test_a_mirror_that_is_gone_is_begun_anew_only_if_that_is_asked_for(
    mirrored: Path, backstay: Backstay
) -> None:
    label = fill(mirrored)
    assert backstay("mirror", "run", "--once").exit_code == 0
    (mirrored / "mirror").rename(mirrored / "unmounted")
    for once in ((), ("--once",)):
        answer = backstay("mirror", "run", *once)
        assert (answer.exit_code, "is gone" in answer.err, "--anew" in answer.err) == (27, True, True)
    assert not (mirrored / "mirror").exists()
    told = backstay("verify", "--all", "--from", "mirror")
    assert (told.exit_code, "backstay init" in told.err) == (27, False)
    assert backstay("mirror", "run", "--once", "--anew").exit_code == 0
    listed = backstay("backup", "list", "--from", "mirror", "--json").json["backups"]
    assert [each["label"] for each in listed] == [label]


def test_the_status_without_the_repository_says_what_the_mirror_has(
    mirrored: Path, backstay: Backstay
) -> None:
    label = fill(mirrored)
    assert backstay("mirror", "run", "--once").exit_code == 0
    before = backstay("mirror", "status", "s1", "--json").json["shards"][0]
    (mirrored / "repository").rename(mirrored / "unmounted")
    answer = backstay("mirror", "status", "s1", "--json")
    assert answer.exit_code == 0
    (shard,) = answer.json["shards"]
    assert shard["backups"] == dict.fromkeys(shard["backups"]) | {"newest_there": label}
    assert shard["archive"]["last_there"] == before["archive"]["last_there"]
    (finding,) = answer.json["findings"]
    assert "the repository cannot be asked: there is no repository at" in finding["message"]
    text = backstay("mirror", "status").out
    assert label in text and "cannot be asked" in text
    (mirrored / "mirror").rename(mirrored / "unmounted-too")
    assert backstay("mirror", "status").exit_code == 27


def test_labels_are_whole_in_80_columns(mirrored: Path, backstay: Backstay) -> None:
    label = fill(mirrored)
    assert backstay("mirror", "run", "--once").exit_code == 0
    assert backstay("mirror", "status").out.count(label) == 2


def test_a_mirror_that_was_written_to_as_the_repository_is_told(mirrored: Path, backstay: Backstay) -> None:
    fill(mirrored)
    assert backstay("mirror", "run", "--once", "--json").json["findings"] == []
    clock = TickingClock()
    clock.sleep(3600)
    later = take(places_to_mirror(load(mirrored / "backstay.toml")).mirror, clock, sample(5)).label
    for command in (("run", "--once"), ("status",)):
        answer = backstay("mirror", *command, "--json")
        assert answer.exit_code == 0
        (finding,) = answer.json["findings"]
        assert later in finding["message"]
        assert "newer than its newest" in " ".join(backstay("mirror", *command).out.split())


def test_where_the_repository_is_away_its_mirror_is_named_before_a_new_one(
    mirrored: Path, backstay: Backstay
) -> None:
    (mirrored / "repository").rename(mirrored / "unmounted")
    answer = backstay("backup", "list")
    assert answer.exit_code == 27
    assert "With --from mirror the mirror is read" in answer.err
    assert "`backstay init` makes a new, empty repository" in answer.err


def started(home: Path, *options: str) -> subprocess.Popen[bytes]:
    """``backstay mirror run`` in a process of its own."""
    program = "import sys; from cli.app import main; sys.argv[0] = 'backstay'; main()"
    return subprocess.Popen(
        [sys.executable, "-c", program, "--config", str(home / "backstay.toml"), "mirror", "run", *options],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_for_manifest(home: Path, label: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not (home / "mirror" / layout.MANIFESTS / "s1" / label).exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_first_sigterm_ends_a_run_in_order_and_a_kill_does_no_harm(
    mirrored: Path, backstay: Backstay
) -> None:
    label = fill(mirrored)
    process = started(mirrored)
    wait_for_manifest(mirrored, label, process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert b"backups  1" in out
    shutil.rmtree(mirrored / "mirror")
    process = started(mirrored, "--anew")
    wait_for_manifest(mirrored, label, process)
    process.kill()
    process.communicate(timeout=60)
    assert backstay("mirror", "run", "--once").exit_code == 0
    assert backstay("verify", "--all", "--quick", "--from", "mirror").exit_code == 0


def test_what_was_pruned_in_the_mirror_does_not_come_back(mirrored: Path, backstay: Backstay) -> None:
    source = places_to_mirror(load(mirrored / "backstay.toml")).source
    clock = TickingClock()
    labels = [take(source, clock, sample(seed)).label for seed in range(3)]
    assert backstay("mirror", "run", "--once").exit_code == 0
    config = mirrored / "backstay.toml"
    short = "days = 7.0\nminimum_fulls = 1\ngrace_hours = 0.0"
    config.write_text(config.read_text().replace("days = 36500.0", short))
    assert backstay("expire", "--on", "mirror", "--yes-shrink").exit_code == 0
    assert backstay("prune", "--on", "mirror").exit_code == 0
    for mark in (mirrored / "mirror" / layout.EXPIRED).glob("*/*/*"):
        hours_ago = 3 if mark.name == "mark" else 2
        os.utime(mark, (time.time() - 3600 * hours_ago,) * 2)
    assert backstay("prune", "--on", "mirror").exit_code == 0
    manifests = mirrored / "mirror" / layout.MANIFESTS / "s1"
    assert [each.name for each in manifests.iterdir()] == labels[-1:]
    assert backstay("mirror", "run", "--once", "--json").json["objects"] == 0
    assert [each.name for each in manifests.iterdir()] == labels[-1:]
    listed = backstay("backup", "list", "--json").json["backups"]
    assert [each["label"] for each in listed] == labels
