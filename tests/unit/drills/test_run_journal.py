"""How scheduled runs ended is written down, whoever dies at it, and in a bounded file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import pytest

from drills.status.run_journal import RunEnded, RunJournal

_AT = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)


def _run(shard: str = "s1", minutes: int = 0) -> RunEnded:
    at = _AT + timedelta(minutes=minutes)
    return RunEnded(flow="full", shard=shard, due_at=at, started_at=at, ended_at=at, outcome="done")


def test_what_was_appended_is_read_back_in_order(tmp_path: Path) -> None:
    journal = RunJournal(tmp_path / "state" / "runs.jsonl")
    failed = _run("s2", 1).model_copy(update={"outcome": "failed", "exit_code": 15, "hint": "Wait."})
    journal.append(_run())
    journal.append(failed)
    assert journal.all() == (_run(), failed)


def test_a_run_of_the_whole_fleet_is_of_no_shard(tmp_path: Path) -> None:
    journal = RunJournal(tmp_path / "runs.jsonl")
    run = RunEnded(flow="retention", started_at=_AT, ended_at=_AT, outcome="done")
    journal.append(run)
    assert journal.all() == (run,)


def test_there_is_no_run_where_there_is_no_journal(tmp_path: Path) -> None:
    assert RunJournal(tmp_path / "runs.jsonl").all() == ()


def test_a_torn_line_takes_no_other_with_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    journal = RunJournal(path)
    journal.append(_run())
    path.write_bytes(path.read_bytes() + b'{"flow": "full", "sha')
    journal.append(_run("s2"))
    assert [run.shard for run in journal.all()] == ["s1", "s2"]


def test_the_oldest_go_when_the_file_is_full(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    journal = RunJournal(path, max_bytes=4000)
    for minute in range(100):
        journal.append(_run(minutes=minute))
        assert path.stat().st_size <= 4000
    kept = [run.due_at for run in journal.all()]
    assert kept == [_AT + timedelta(minutes=minute) for minute in range(100 - len(kept), 100)]
    assert len(kept) > 5
    assert path.stat().st_mode & 0o777 == 0o600


def _append_many(path: Path, shard: str) -> None:
    for minute in range(50):
        RunJournal(path, max_bytes=20_000).append(_run(shard, minute))


def test_processes_share_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    spawn = get_context("spawn")
    writers = [spawn.Process(target=_append_many, args=(path, f"s{number}")) for number in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = path.read_text().splitlines()
    assert all(RunEnded.model_validate_json(line) for line in lines)
    assert len(lines) > 20


@pytest.mark.parametrize("state", ["/var/lib/state", ""])
def test_the_state_of_a_fleet_has_a_place_of_its_own(
    state: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from fleet.model import Fleet
    from fleet.state_place import state_directory

    monkeypatch.setenv("XDG_STATE_HOME", state)
    monkeypatch.setenv("HOME", str(tmp_path))
    fleet = Fleet.model_construct(name="shop")
    root = Path(state) if state else tmp_path / ".local" / "state"
    assert state_directory(fleet) == root / "backstay" / "service" / "shop"
    named = fleet.service.model_copy(update={"directory": tmp_path / "here"})
    assert state_directory(fleet.model_copy(update={"service": named})) == tmp_path / "here"
