"""``verify`` over everything: modes, a real kill and its resumption, and texts that name what is broken."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from door import Backstay

from repository import layout
from repository.keys import FileSource, Keyring
from repository.manifest import Manifest
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore
from tests.unit.restore.made_chains import MadeServer, made_chain

PROGRAM = Path(sys.executable).with_name("backstay")
WAIT_SECONDS = 60


@pytest.fixture
def server() -> MadeServer:
    return MadeServer(2, pages=24)


@pytest.fixture
def repository(backstay: Backstay, home: Path) -> Repository:
    assert backstay("init", "--new-key", "k1.key").exit_code == 0
    return Repository.open(FilesystemStore(home / "repository"), Keyring([FileSource("k1", home / "k1.key")]))


@pytest.fixture
def links(repository: Repository, server: MadeServer) -> list[Manifest]:
    """A full, two incrementals on it, and a full that refers to all of them: oldest first."""
    taken = made_chain(repository, server, 3)
    server.live()
    return [*taken, server.referring_full(repository, taken[-1])]


@pytest.fixture(autouse=True)
def narrow(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A screen of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")


def flip(home: Path, name: str) -> None:
    path = home / "repository" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.chmod(0o600)
    path.write_bytes(content)


def journals(home: Path) -> list[Path]:
    return sorted((home / "state/backstay/verify").glob("*.jsonl"))


def test_every_mode_says_what_it_read_and_nothing_more(backstay: Backstay, links: list[Manifest]) -> None:
    whole = backstay("verify", "--json").json
    stored = sum(link.sizes.stored_bytes for link in links)
    assert (whole["sound"], whole["stored_bytes"], whole["how"]["mode"]) == (True, stored, "full")
    quick = backstay("verify", "--quick", "--json").json
    assert (quick["sound"], quick["pages"], quick["how"]["mode"]) == (True, 0, "quick")
    assert "as far as it is seen without reading data" in backstay("verify", "--quick").out
    parts = [backstay("verify", "--sample", "34%", "--json").json for _ in range(3)]
    assert all(part["sound"] and part["stored_bytes"] < stored for part in parts)
    assert [part["how"]["seed"].split("/")[1] for part in parts] == ["1", "2", "3"]
    assert sum(part["pages"] for part in parts) >= whole["pages"]
    again = backstay("verify", "--sample", "34", "--seed", parts[1]["how"]["seed"], "--json").json
    assert again["objects"] == parts[1]["objects"]
    assert (
        f"--seed {parts[1]['how']['seed']}"
        in backstay("verify", "--sample", "34%", "--seed", parts[1]["how"]["seed"]).out
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--quick", "--full"],
        ["--quick", "--sample", "5%"],
        ["--sample", "0"],
        ["--sample", "many"],
        ["--seed", "x"],
        ["--sample", "5", "--seed", "../x"],
        ["--rate", "0"],
        ["--rate", "fast"],
        ["--rate", "5"],
        ["--rate", "999kB/s"],
        ["--backup", "latest"],
        ["--all", "s1", "latest"],
        ["--all", "s1", "--backup", "latest"],
        ["s1", "latest", "--backup", "latest"],
    ],
)
def test_what_makes_no_sense_is_refused(
    backstay: Backstay, repository: Repository, arguments: list[str]
) -> None:
    assert backstay("verify", *arguments).exit_code == 2


def test_a_rate_without_its_unit_is_told_with_one(backstay: Backstay, repository: Repository) -> None:
    answer = backstay("verify", "--rate", "5")
    assert "--rate 5 is 5 B a second" in answer.err and "--rate 5MB/s" in answer.err


def test_damage_is_named_by_table_and_pages_and_the_way_out_is_last(
    backstay: Backstay, home: Path, links: list[Manifest], repository: Repository, server: MadeServer
) -> None:
    for number in range(links[0].sizes.packs):
        flip(home, layout.pack(links[0].backup, number))
    answer = backstay("verify", "--all")
    assert answer.exit_code == 41
    assert max(map(len, answer.out.splitlines())) <= 80
    text = " ".join(answer.out.split())
    assert "cannot restore shop.orders page" in text
    for link in links:
        assert f"s1/{link.label} cannot restore" in text
    last = answer.err.splitlines()[-1]
    assert last.startswith("hint: Run `backstay backup full s1 --stored`")
    assert "No whole backup of s1 was seen." in last
    told = backstay("verify", "s1", links[2].label, "--json").json
    assert {each["label"] for each in told["broken"]} >= {link.label for link in links}
    fresh = server.full(repository)
    after = backstay("verify", "--all", "--json").json
    assert [one["label"] for one in after["backups"] if one["sound"]] == [fresh.label]
    hint = after["error"]["hint"]
    assert f"{fresh.label} of s1 is whole, and so is the window from it on" in hint
    assert "backup full" not in hint and "undelete" not in hint
    one = backstay("verify", "s1", links[2].label, "--json").json["error"]["hint"]
    assert "No whole backup" not in one and "`backstay verify s1 --all`" in one
    assert backstay("verify", "s1", fresh.label).exit_code == 0


def test_a_run_that_was_killed_goes_on_where_it_was(
    backstay: Backstay, home: Path, repository: Repository, server: MadeServer, links: list[Manifest]
) -> None:
    """A real process, slow enough to be met in its midst, and killed: nothing of it is asked to end well."""
    stored = sum(link.sizes.stored_bytes for link in links)
    throttle(home, stored // 12)
    killed = begun(home, "verify", "--all")
    try:
        until_noted(home, killed)
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        throttle(home, None)
    (journal,) = journals(home)
    noted = [json.loads(line) for line in journal.read_bytes().splitlines() if b"figures" in line]
    assert noted
    copied = journal.read_bytes()
    told = backstay("verify", "--all", "--json").json
    assert told["how"]["went_on_from"] is not None
    assert told["how"]["known_objects"] >= 1 and 0 < told["how"]["known_bytes"] < stored
    journal.write_bytes(copied)
    answer = backstay("verify", "--all")
    count = told["how"]["known_objects"]
    assert answer.err.count("goes on from an earlier run of ") == 1
    assert f"from an earlier run of {told['how']['went_on_from'][:10]}" in answer.out
    assert f"{count} object" in answer.err and "are not read again" in " ".join(answer.err.split())
    assert (told["sound"], told["stored_bytes"]) == (True, stored)
    assert journals(home) == []
    assert backstay("verify", "--all", "--json").json["how"]["went_on_from"] is None


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_goes_on_unless_it_is_to_begin_anew(
    backstay: Backstay, home: Path, links: list[Manifest], stop: signal.Signals
) -> None:
    stored = sum(link.sizes.stored_bytes for link in links)
    throttle(home, stored // 12)
    stopped = begun(home, "verify", "--all")
    try:
        until_noted(home, stopped)
        stopped.send_signal(stop)
        out, err = stopped.communicate(timeout=WAIT_SECONDS)
    finally:
        stopped.kill()
        stopped.communicate()
        throttle(home, None)
    assert stopped.returncode == 128 + stop, err
    assert out == b"" and b"Traceback" not in err
    assert journals(home)
    assert backstay("verify", "--all", "--restart", "--json").json["how"]["went_on_from"] is None


def throttle(home: Path, bytes_per_second: int | None) -> None:
    """Let the store be that slow, by the configuration; None: as fast as it is."""
    path = home / "backstay.toml"
    text = re.sub(r"\nthrottle_bytes_per_second = .*", "", path.read_text())
    if bytes_per_second:
        text = text.replace("[repository]", f"[repository]\nthrottle_bytes_per_second = {bytes_per_second}")
    path.write_text(text)


def begun(home: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [PROGRAM, *arguments],
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def until_noted(home: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until something that was read is noted in the journal."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        if any(journal.read_bytes().count(b"\n") > 2 for journal in journals(home)):
            return
        time.sleep(0.01)
    raise AssertionError("nothing was noted")
