"""Whatever ends a run, this machine and all others are told how; and what cannot be told changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from prefect.client.schemas.objects import StateType

from drills.status.run_journal import RunEnded
from drills.status.run_outcomes import all_runs, tell_all
from fleet.errors import RetentionRefused
from fleet.model import Fleet
from flows import recorded as module
from flows.recorded import Done, recorded
from repository import layout
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore
from tests.unit.flows.scheduled_fleets import SHARD_A, described
from tests.unit.repository.sealed_backups import TickingClock, file_keyring


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    found = described(
        shards=[SHARD_A],
        repository={"url": f"file://{tmp_path}/repository"},
        keys=[{"id": "k1", "provider": "file", "file": f"{tmp_path}/k1.key"}],
        service={"directory": f"{tmp_path}/here"},
    )
    monkeypatch.setattr(module, "load", lambda: found)
    monkeypatch.setattr(module, "due_at", lambda: None)
    # However busy this machine is.
    monkeypatch.setattr(module, "tell_all", partial(tell_all, seconds=60))
    return found


@pytest.fixture
def repository(fleet: Fleet, tmp_path: Path) -> Repository:
    return Repository.create(FilesystemStore(fleet.repository.path), file_keyring(tmp_path), TickingClock())


@pytest.fixture
def elsewhere(fleet: Fleet, repository: Repository, tmp_path: Path) -> Callable[[], list[RunEnded]]:
    """What a machine with a state directory of its own is told."""
    service = fleet.service.model_copy(update={"directory": tmp_path / "there"})
    return lambda: list(all_runs(fleet.model_copy(update={"service": service}), repository))


def refuse(_fleet: Fleet) -> Done:
    raise RetentionRefused("a manifest cannot be read", hint="Put it back.")


def test_a_failure_is_told_with_its_way_out(fleet: Fleet, elsewhere: Callable[[], list[RunEnded]]) -> None:
    assert recorded("retention", None, refuse).type is StateType.FAILED
    [run] = elsewhere()
    assert (run.flow, run.shard, run.outcome, run.exit_code) == ("retention", None, "failed", 45)
    assert (run.message, run.hint) == ("a manifest cannot be read", "Put it back.")


def test_so_is_a_success_what_was_skipped_and_what_was_cancelled(
    elsewhere: Callable[[], list[RunEnded]],
) -> None:
    def end(_fleet: Fleet) -> Done:
        raise KeyboardInterrupt

    recorded("full", "a", lambda _: Done("taken", label="20260301T000000Z-full"))
    recorded("incremental", "a", lambda _: Done("not taken: too late", skipped=True))
    with pytest.raises(KeyboardInterrupt):
        recorded("verify", None, end)
    assert [(run.flow, run.outcome, run.label) for run in elsewhere()] == [
        ("full", "done", "20260301T000000Z-full"),
        ("incremental", "skipped", None),
        ("verify", "cancelled", None),
    ]


def test_what_comes_every_few_minutes_puts_nothing(repository: Repository) -> None:
    for flow in ("reconcile", "archive-health"):
        recorded(flow, None, lambda _: Done("nothing to do"))
    assert list(repository.store.list(layout.OUTCOMES)) == []


@pytest.mark.usefixtures("fleet")
def test_a_run_ends_as_it_did_where_nobody_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no repository."""
    lines: list[str] = []
    monkeypatch.setattr(module, "log", lines.append)
    assert recorded("proof", None, lambda _: Done("proven")).type is StateType.COMPLETED
    [line] = lines
    assert line.startswith("how the run ended is not told to other machines: there is no repository at")
