"""Metrics and the page of a real shard, by the command line."""

from __future__ import annotations

import os
import signal
import tomllib
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cli.toml import to_toml
from infra.sandbox.fleet import SandboxFleet
from infra.sandbox.ports import free_ports
from tests.scenario.doors import Door, wait_for

pytestmark = pytest.mark.mysql

PORT_TAKEN, WARNING = 51, 60


@pytest.fixture(scope="module")
def door(sandbox: SandboxFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """The sandbox's shard with one backup, and no archiver."""
    folder = tmp_path_factory.mktemp("told")
    document = tomllib.loads(sandbox.config_path.read_text())
    document["repository"] = {"url": (folder / "repository").as_uri()}
    document["keys"] = [{"id": "told", "provider": "file", "file": str(folder / "told.key")}]
    document["service"] = {"directory": str(folder / "state")}
    config = sandbox.directory / "told.toml"
    config.write_text(to_toml(document))
    config.chmod(0o600)
    door = Door(config, folder)
    door.run("init", "--new-key", "told.key")
    door.run("backup", "full", "s1")
    yield door
    config.unlink()


def values(text: str) -> dict[tuple[str, str], float]:
    """Name and kind, server or shard to value."""
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            labels = each.labels
            of = labels.get("kind") or labels.get("server") or labels.get("shard", "")
            found[each.name, of] = each.value
    return found


def test_metrics_are_printed_and_given_to_who_asks(door: Door) -> None:
    text, _ = door.start("metrics").communicate(timeout=60)
    printed = values(text)
    assert printed["backstay_backups", "full"] == 1
    assert printed["backstay_server_up", "s1-b"] == 1
    assert printed["backstay_repository_reachable", ""] == 1
    assert printed["backstay_shard_health", "s1"] == 2  # nothing archives

    (port,) = free_ports(1)
    serving = door.start("metrics", "--listen", f"127.0.0.1:{port}")
    try:
        text = ""

        def answers() -> bool:
            nonlocal text
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
                    text = answer.read().decode()
            except OSError:
                return False
            return True

        wait_for("metrics over HTTP", 30, answers)
        # Who looks once puts nothing into the store to learn its time.
        assert set(values(text)) == {*printed, ("backstay_store_clock_offset_seconds", "")}
        door.run("metrics", "--listen", f"127.0.0.1:{port}", expect=PORT_TAKEN)
    finally:
        serving.send_signal(signal.SIGTERM)
        serving.communicate(timeout=30)
    assert serving.returncode == 0


def test_the_page_is_one_file_that_replaces_the_one_before(door: Door) -> None:
    page = door.directory / "fleet.html"
    page.write_text("what was here before")
    door.run("status", "--html", str(page), expect=WARNING)
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    assert 'id="shard-s1"' in text
    assert sorted(path.name for path in door.directory.glob("*fleet.html*")) == ["fleet.html"]
    assert page.stat().st_mode & 0o777 == 0o666 & ~_umask()
    error = door.json("status", "--html", str(door.directory / "nowhere" / "fleet.html"), expect=2)["error"]
    assert "nowhere" in error["message"]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
