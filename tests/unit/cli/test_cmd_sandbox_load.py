"""What is told of a load, and where the commands look for their sandbox."""

from __future__ import annotations

from pathlib import Path

import pytest
from door import Backstay

from cli.cmd_sandbox_load import Loaded, ShardLoaded
from cli.render import show_text
from infra.sandbox.latency import Latencies
from infra.sandbox.load import LoadStatistics

STATISTICS = LoadStatistics(12.0, 300, 2, {2003: 9}, Latencies().summary(), 0.1, 4.0, ())


def test_without_a_primary_the_acknowledged_transactions_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    show_text(Loaded((ShardLoaded("s1", STATISTICS, 300, None),)))
    text = capsys.readouterr().out
    assert "fail  shard s1  300 acknowledged transactions in the ledger, and no primary" in text
    assert " 300 " in text


@pytest.mark.parametrize("command", [["sql", "s1", "SELECT 1"], ["load"], ["status"]])
def test_a_sandbox_is_found_beside_its_configuration(
    backstay: Backstay, home: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    made = home / "elsewhere"
    made.mkdir()
    (made / "backstay.toml").write_text("")
    (made / "state.json").write_text("{}")
    monkeypatch.setenv("BACKSTAY_CONFIG", str(made / "backstay.toml"))
    # Named in the refusal, so it was looked at.
    assert f"{made}/state.json" in backstay("sandbox", *command).err
    (made / "state.json").unlink()
    assert f"no sandbox in {home}/sandbox" in backstay("sandbox", *command).err
