"""How a run ended is known on every machine, told once, and where it ran if that was elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drills.status import places, run_outcomes
from drills.status.judge import judge_journal
from drills.status.look import Looker
from drills.status.report import Health
from drills.status.run_journal import RunEnded, RunJournal
from drills.status.run_outcomes import all_runs, tell_all
from fleet.clock import SystemClock
from fleet.errors import DiskFull, StoreDenied, StoreUnreachable
from fleet.model import Fleet
from repository import layout
from repository.outcomes import KEPT, MAX_TEXT, Outcomes, new_token
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore
from tests.unit.repository.sealed_backups import TickingClock, ToldStore, file_keyring

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    server = {"name": "a", "host": "127.0.0.1", "port": 1, "region": "eu"}
    return Fleet.model_validate(
        {
            "name": "shop",
            "regions": ["eu"],
            "shards": [{"name": "s1", "servers": [server]}],
            "accounts": {"backup": {"user": "b", "password": {"inline": "p"}}},
            "allow_inline_secrets": True,
            "repository": {"url": f"file://{tmp_path}/repository"},
            "keys": [{"id": "k1", "provider": "file", "file": f"{tmp_path}/k1.key"}],
            "service": {"directory": f"{tmp_path}/here"},
        }
    )


@pytest.fixture
def elsewhere(fleet: Fleet, tmp_path: Path) -> Fleet:
    """The same fleet, as a machine with another state directory has it."""
    service = fleet.service.model_copy(update={"directory": tmp_path / "there"})
    return fleet.model_copy(update={"service": service})


@pytest.fixture
def repository(fleet: Fleet, tmp_path: Path) -> Repository:
    return Repository.create(FilesystemStore(fleet.repository.path), file_keyring(tmp_path), TickingClock())


def ended(flow: str, hours: float = 0.0, *, shard: str | None = None, **changes: Any) -> RunEnded:
    at = NOW + hours * HOUR
    facts: dict[str, Any] = {"due_at": at, "started_at": at, "ended_at": at, "outcome": "failed"}
    named = {"flow": flow, "shard": shard, "token": new_token(), "message": "no room"}
    return RunEnded.model_validate(named | facts | changes)


def run_on(fleet: Fleet, *runs: RunEnded) -> None:
    """As a flow ends: first this machine's journal, then the repository."""
    for run in runs:
        RunJournal(places.runs_file(fleet)).append(run)
        assert tell_all(fleet, run, seconds=60) is None


def calls_itself(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda name: monkeypatch.setattr(run_outcomes, "host_name", lambda: name)


def test_a_run_is_known_everywhere_and_once_where_it_ran(
    fleet: Fleet, elsewhere: Fleet, repository: Repository
) -> None:
    runs = (ended("retention"), ended("full", 1, shard="s1", exit_code=12, hint="Make some room."))
    run_on(fleet, *runs)
    assert all_runs(fleet, repository) == runs
    assert all_runs(elsewhere, repository) == runs


def test_the_text_says_where_it_ran_if_that_was_elsewhere(
    fleet: Fleet, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = calls_itself(monkeypatch)
    name("worker-2")
    assert tell_all(fleet, ended("retention", -1), seconds=60) is None
    name("worker-1")
    run_on(fleet, ended("proof", -2))
    (proof, retention) = all_runs(fleet, repository)
    assert (proof.message, retention.message) == ("no room", "no room (on worker-2)")
    told = {each.code: each.message for each in judge_journal([proof, retention], fleet, NOW)}
    assert told["retention-refused"] == "the last retention failed: no room (on worker-2)"


def test_what_a_terminal_would_obey_is_not_shown(
    fleet: Fleet, elsewhere: Fleet, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls_itself(monkeypatch)("evil\x1b[2J")
    assert (
        tell_all(fleet, ended("full", shard="s1", message="\x1b[31mred", hint="a\x07b"), seconds=60) is None
    )
    calls_itself(monkeypatch)("here")
    (run,) = all_runs(elsewhere, repository)
    assert (run.message, run.hint) == ("?[31mred (on evil?[2J)", "a?b")


def test_a_proof_that_had_no_room_is_no_proof_that_failed(fleet: Fleet) -> None:
    failed = ended("proof", -2)
    full = failed.model_copy(update={"exit_code": DiskFull.exit_code})
    (told,) = judge_journal([full], fleet, NOW)
    assert (told.code, told.health) == ("disk-full", Health.WARNING)
    assert told.message == "the last proof could not be carried out: no room"
    assert "proof.directory" in str(told.hint)
    # One that was carried out since had room; one before it had not yet.
    assert list(judge_journal([full], fleet, NOW, proven_at=NOW - HOUR)) == []
    assert list(judge_journal([full], fleet, NOW, proven_at=NOW - 3 * HOUR)) == [told]
    assert list(judge_journal([full, ended("proof", -1, outcome="done")], fleet, NOW)) == []
    assert [each.code for each in judge_journal([failed], fleet, NOW, proven_at=NOW)] == ["proof-failed"]


def test_the_newest_wins_wherever_it_ran(fleet: Fleet, elsewhere: Fleet, repository: Repository) -> None:
    run_on(fleet, ended("retention", -3))
    run_on(elsewhere, ended("retention", -2, outcome="done"))
    assert list(judge_journal(all_runs(fleet, repository), fleet, NOW)) == []
    run_on(elsewhere, ended("retention", -1))
    found = judge_journal(all_runs(fleet, repository), fleet, NOW)
    assert [each.code for each in found] == ["retention-refused"]


def test_status_tells_why_a_backup_is_missing_that_another_machine_should_have_taken(
    fleet: Fleet, elsewhere: Fleet, repository: Repository
) -> None:
    at = SystemClock().now().replace(minute=0, second=0, microsecond=0) - 3 * HOUR
    cron = {"full_cron": f"{at.minute} {at.hour} * * *"}
    fleet = fleet.model_copy(update={"schedule": fleet.schedule.model_copy(update=cron)})
    run_on(elsewhere, ended("full", shard="s1", due_at=at, started_at=at, ended_at=at))
    looker = Looker(fleet)
    for _ in range(2):
        (shard,) = looker.look().shards
        fulls = [(each.state, each.because) for each in shard.runs if each.kind == "full"]
        assert fulls == [("failed", "no room")]


def test_other_fleets_and_shards_that_left_are_not_told(
    fleet: Fleet, elsewhere: Fleet, repository: Repository
) -> None:
    other = elsewhere.model_copy(update={"name": "other"})
    run_on(other, ended("retention"), ended("full", shard="gone"))
    assert all_runs(fleet, repository) == ()


def test_the_repository_never_grows_beyond_a_few_of_each_duty(
    fleet: Fleet, elsewhere: Fleet, repository: Repository
) -> None:
    run_on(elsewhere, *(ended("retention", hours) for hours in range(9)))
    assert len(all_runs(fleet, repository)) == KEPT
    Outcomes(repository).trim()
    assert len(list(repository.store.list(layout.OUTCOMES))) == KEPT
    assert len(all_runs(elsewhere, repository)) == 9


def test_a_long_message_is_cut_and_told(fleet: Fleet, elsewhere: Fleet, repository: Repository) -> None:
    run_on(elsewhere, ended("verify", message="x" * 9999, hint="y" * 9999))
    (run,) = all_runs(fleet, repository)
    assert (len(run.message or ""), len(run.hint or "")) == (MAX_TEXT, MAX_TEXT)


def test_what_keeps_a_run_from_telling_is_said_and_fails_nothing(fleet: Fleet) -> None:
    assert "there is no repository at" in (tell_all(fleet, ended("retention"), seconds=60) or "")


@pytest.mark.usefixtures("repository")
def test_a_bug_on_the_way_is_not_taken_for_told(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_args: object, **_options: object) -> FilesystemStore:
        raise KeyError("unheard of")

    monkeypatch.setattr(run_outcomes, "open_store", break_down)
    assert tell_all(fleet, ended("retention"), seconds=60) == "a bug in Backstay: KeyError"


@pytest.mark.usefixtures("repository")
def test_a_store_that_hangs_keeps_no_run(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go, gone = threading.Event(), threading.Event()

    def hang(*_args: object, **_options: object) -> FilesystemStore:
        let_go.wait(30)
        gone.set()
        raise StoreUnreachable("too late")

    monkeypatch.setattr(run_outcomes, "open_store", hang)
    try:
        told = tell_all(fleet, ended("retention"), seconds=0.05)
        assert told == "the store gave no answer within 0.05 s"
    finally:
        let_go.set()
    assert gone.wait(10)


def test_an_account_that_may_not_list_them_sees_its_own(fleet: Fleet, repository: Repository) -> None:
    class Shut(ToldStore):
        def before(self, operation: str, key: str) -> None:
            if key.startswith(layout.OUTCOMES):
                raise StoreDenied(f"{operation} {key}: this account may not")

    own = ended("retention")
    run_on(fleet, own)
    shut = Repository(Shut(repository.store), repository.description, repository.keys)  # type: ignore[arg-type]
    assert all_runs(fleet, shut) == (own,)
