"""Scheduled backups by a real Prefect server and a real runner: ended at any moment, late, missed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup.full import take_full_backup
from fleet.model import Fleet
from infra.sandbox.distribution import MysqlDistribution
from repository.turns import TurnTerms, turn
from tests.scenario.fleets import fleet_of, is_free, repository_of, wait_free
from tests.scenario.scheduled import BACKUP, ENDS, Scheduled, scheduled_at_rest
from tests.schedulers import wait_until

pytestmark = [pytest.mark.mysql, pytest.mark.slow]


@pytest.fixture
def service(at_rest: Scheduled) -> Iterator[Scheduled]:
    """With a runner, also after a test that ended it."""
    if at_rest.runner is None:
        at_rest.start_runner()
    yield at_rest
    at_rest.end_what_was_begun()


@pytest.fixture(scope="module")
def at_rest(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[Scheduled]:
    with scheduled_at_rest(mysql_distribution, scratch_directory) as service:
        yield service


def test_a_cron_deployment_really_gets_runs_of_both_kinds(service: Scheduled) -> None:
    """With newer versions of what Prefect rests on it never does, and nothing tells."""
    ahead = service.scheduler.runs(
        state_type="SCHEDULED", deployment_id=service.scheduler.deployment(BACKUP)["id"]
    )
    assert {run["parameters"]["kind"] for run in ahead} == {"full", "incremental"}
    for run in ahead:
        due = datetime.fromisoformat(run["expected_start_time"])
        assert due.minute == (0 if run["parameters"]["kind"] == "full" else 30)


def test_a_backup_ends_with_a_message_a_table_and_a_line_in_the_journal(service: Scheduled) -> None:
    service.slow(slow=False)
    run = service.scheduler.wait_for_state(
        service.scheduler.begin(BACKUP, {"kind": "full"}), "COMPLETED", "FAILED", "CRASHED"
    )
    assert run["name"] == "full-s1"
    assert set(run["tags"]) >= {"backstay", "fleet:test", "shard:s1"}
    [label] = service.labels()
    assert run["state"]["message"].startswith(f"{label}: ")
    [ended] = service.journal()
    assert (ended.flow, ended.outcome, ended.label, ended.due_at) == ("full", "done", label, None)
    artifacts = service.scheduler.ask(
        "POST", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}}
    )
    kinds = {each["type"]: each for each in artifacts}
    assert set(kinds) == {"progress", "markdown"}
    assert f"| Backup | s1/{label} |" in kinds["markdown"]["data"]


def test_the_duties_of_the_fleet_end_with_a_message_or_with_what_must_be_put_right(
    service: Scheduled,
) -> None:
    if not service.labels():
        take_full_backup(service.fleet, "s1", repository=repository_of(service.fleet))
    runs = {
        flow: service.scheduler.begin(f"{flow}/test", {})
        for flow in ("retention", "verify", "proof", "archive-health", "reconcile")
    }
    # A shard that has left the configuration, and whose run was ahead.
    gone = service.scheduler.begin(BACKUP, {"kind": "full", "shard": "s9"})
    states = {
        flow: service.scheduler.wait_for_state(run, "COMPLETED", "FAILED", "CRASHED", "CANCELLED")["state"]
        for flow, run in runs.items()
    }
    state = service.scheduler.wait_for_state(gone, "FAILED", "COMPLETED", "CRASHED")["state"]
    assert state["message"] == "no shard of fleet test is called 's9'. Did you mean s1?"
    assert (service.scheduler.run(gone)["run_count"], service.task_states(gone)) == (1, set())
    messages = {flow: state["message"] for flow, state in states.items()}
    assert messages["retention"] == "0 backups expired, nothing to delete"
    assert messages["verify"].startswith("sound: ")
    assert "is proven: restored in" in messages["proof"]
    assert messages["reconcile"] == "nothing to do"
    # Who archives nothing must hear of it.
    assert states["archive-health"]["type"] == "FAILED"
    assert "lacks REPLICATION SLAVE. infra/examples/accounts.sql grants" in messages["archive-health"]


def test_a_run_cancelled_in_mid_copy_frees_the_donor_and_what_waited_for_it_is_taken_or_skipped(
    service: Scheduled,
) -> None:
    """A full and two incrementals that are due at the same moment, in whatever order they come."""
    if not service.labels():
        take_full_backup(service.fleet, "s1", repository=repository_of(service.fleet))
    before, written_before = service.labels(), len(service.journal())
    run = service.begin_slow()
    at = datetime.now(UTC).isoformat()
    waiting = [
        service.scheduler.begin(BACKUP, {"kind": kind}, at=at)
        for kind in ("incremental", "full", "incremental")
    ]
    wait_until("a turn to wait for", lambda: service.names_of_states(waiting) == {"AwaitingConcurrencySlot"})
    # As long as they wait they count as due: the lateness goes by that, and so does what was missed.
    due = {datetime.fromisoformat(service.scheduler.run(each)["expected_start_time"]) for each in waiting}
    assert due == {datetime.fromisoformat(at)}
    service.slow(slow=False)
    service.cancel(run)
    ended = service.scheduler.wait_for_state(run, *ENDS)
    assert ended["state_type"] == "CANCELLED"
    assert "cancelled" in {ended.outcome for ended in service.journal()[written_before:]}

    for each in waiting:
        service.scheduler.wait_for_state(each, *ENDS)
    assert service.names_of_states(waiting[1:2]) == {"Completed"}
    kinds = [label.rpartition("-")[2] for label in service.labels() if label not in before]
    assert sorted(kinds) in (["full"], ["full", "incremental"])
    skipped = [each for each in waiting if service.names_of_states([each]) == {"Skipped"}]
    assert len(skipped) == len(waiting) - len(kinds)
    wait_free(service.scratch)


def test_a_process_killed_in_mid_copy_frees_the_donor_and_the_next_run_works(service: Scheduled) -> None:
    before = service.labels()
    run = service.begin_slow()
    os.kill(service.flow_process(run), signal.SIGKILL)
    wait_free(service.scratch)
    assert service.scheduler.wait_for_state(run, "CRASHED")["name"] == "full-s1"
    service.slow(slow=False)
    again = service.scheduler.begin(BACKUP, {"kind": "full"})
    assert service.scheduler.wait_for_state(again, "COMPLETED", "FAILED", "CANCELLED")["state_type"] == (
        "COMPLETED"
    )
    assert len(service.labels()) == len(before) + 1


def test_a_runner_killed_with_its_run_leaves_nothing_that_the_next_one_waits_for(service: Scheduled) -> None:
    """Not the minutes that it takes to tell from its silence that a run is dead. And what may take hours
    holds no duty of seconds off.
    """
    if not service.labels():
        take_full_backup(service.fleet, "s1", repository=repository_of(service.fleet))
    before, looked = service.labels(), _asked_looks(service)
    run = service.begin_slow()
    service.kill_runner_and(run)
    waiting = service.scheduler.begin(BACKUP, {"kind": "full"})
    assert service.scheduler.run(run)["state_type"] == "RUNNING"
    service.slow(slow=True, runs_at_once=1)
    service.start_runner()
    assert service.scheduler.wait_for_state(run, "CRASHED", seconds=30)["state"]["message"] == (
        "its process died with the runner that had started it"
    )
    wait_until("the next copy", lambda: not is_free(service.scratch), seconds=40)
    # What somebody has paused is not begun at a start, either.
    assert _asked_looks(service) == looked
    duties = [service.scheduler.begin(f"{duty}/test", {}) for duty in ("reconcile", "archive-health")]
    verify = service.scheduler.begin("verify/test", {})
    for duty in duties:
        service.scheduler.wait_for_state(duty, "COMPLETED", "FAILED")
    assert service.scheduler.run(verify)["state_type"] == "SCHEDULED"
    assert service.scheduler.run(waiting)["state_type"] == "RUNNING"
    service.cancel(waiting)
    service.scheduler.wait_for_state(waiting, "CANCELLED")
    service.scheduler.wait_for_state(verify, "COMPLETED")
    assert service.labels() == before


def test_what_may_pass_is_tried_again_and_a_run_that_waits_for_it_can_be_cancelled(
    service: Scheduled,
) -> None:
    service.slow(slow=False)
    service.scratch.kill()
    try:
        run = service.scheduler.begin(BACKUP, {"kind": "full"})
        wait_until("the next try", lambda: "AwaitingRetry" in service.task_states(run))
        service.cancel(run)
        ended = service.scheduler.wait_for_state(run, *ENDS)
        assert ended["state_type"] == "CANCELLED"
    finally:
        service.scratch.start()
    assert service.journal()[-1].outcome == "cancelled"


def test_a_late_full_is_skipped_where_one_was_taken_since_it_was_due(service: Scheduled) -> None:
    if not service.labels():
        take_full_backup(service.fleet, "s1", repository=repository_of(service.fleet))
    yesterday = (datetime.now(UTC) - timedelta(days=1, hours=13)).isoformat()
    before = service.labels()
    run = service.scheduler.begin(BACKUP, {"kind": "full"}, at=yesterday)
    ended = service.scheduler.wait_for_state(run, "COMPLETED", "FAILED", "CANCELLED")
    assert ended["state"]["name"] == "Skipped", ended["state"]
    assert service.journal()[-1].outcome == "skipped"
    assert service.labels() == before


def test_while_somebody_else_backs_the_shard_up_a_run_is_skipped(service: Scheduled) -> None:
    service.slow(slow=False)
    before = service.labels()
    with turn(repository_of(service.fleet), TurnTerms("shard", "s1")):
        run = service.scheduler.begin(BACKUP, {"kind": "full"})
        ended = service.scheduler.wait_for_state(run, "COMPLETED", "FAILED", "CANCELLED")
    assert ended["state"]["name"] == "Skipped", ended["state"]
    assert str(os.getpid()) in ended["state"]["message"]
    assert service.labels() == before


def test_a_runner_takes_a_new_schedule_in_mid_copy_and_cancels_in_order_when_it_is_ended(
    service: Scheduled,
) -> None:
    assert service.runner is not None
    run = service.begin_slow()
    hour = service.hour()
    service.slow(slow=True, hours_later=2)
    service.runner.send_signal(signal.SIGHUP)
    wait_until("the new hour", lambda: service.hour() == (hour + 2) % 24)
    assert service.scheduler.run(run)["state_type"] == "RUNNING"
    service.runner.terminate()
    assert service.runner.wait(40) == 0
    service.runner = None
    assert service.scheduler.wait_for_state(run, "CANCELLED", seconds=20)
    wait_free(service.scratch)
    assert service.journal()[-1].outcome == "cancelled"


def test_a_run_whose_runner_died_too_is_ended_and_a_missed_full_is_taken_once(
    service: Scheduled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(service.directory / "prefect"))
    from prefect.client.orchestration import SyncPrefectClient

    from flows.asking import server_time
    from flows.reconcile import reconcile_fleet

    if not service.labels():
        take_full_backup(service.fleet, "s1", repository=repository_of(service.fleet))
    run = service.begin_slow()
    waiting = service.scheduler.begin(BACKUP, {"kind": "full"})
    wait_until("a wait", lambda: service.names_of_states([waiting]) == {"AwaitingConcurrencySlot"})
    service.kill_runner_and(run)
    repository = repository_of(service.fleet)
    with SyncPrefectClient(service.scheduler.url) as client:
        now = server_time(client)
        assert abs(now - datetime.now(UTC)) < timedelta(seconds=10)
        assert reconcile_fleet(service.fleet, repository, client, now=now) == []
        assert service.scheduler.run(run)["state_type"] == "RUNNING"
        [line] = reconcile_fleet(service.fleet, repository, client, now=now + timedelta(minutes=7))
        assert line.startswith("ended full-s1: its process is gone")
        assert service.scheduler.run(run)["state"]["name"] == "Crashed"
        # What waited for its slot was left alone, and has it now.
        assert service.names_of_states([waiting]) == {"AwaitingConcurrencySlot"}
        service.slow(slow=False)
        service.start_runner()
        ended = service.scheduler.wait_for_state(waiting, *ENDS)
        assert ended["state"]["name"] == "Completed"
        service.kill_runner()
        # This repository has no full since the last one was due.
        other = repository_of(_elsewhere(service))
        [begun] = reconcile_fleet(service.fleet, other, client, now=now)
        assert begun.startswith("began a full of s1")
        [missed] = [run for run in service.scheduler.runs() if "missed" in run["tags"]]
        assert missed["parameters"] == {"shard": "s1", "kind": "full"}
        assert reconcile_fleet(service.fleet, other, client, now=now) == []


def _asked_looks(service: Scheduled) -> set[str]:
    """Runs of `reconcile` that were not scheduled."""
    return {run["id"] for run in service.scheduler.runs(name="reconcile", auto_scheduled=False)}


def _elsewhere(service: Scheduled) -> Fleet:
    folder = service.directory / "elsewhere"
    folder.mkdir()
    return fleet_of(service.scratch, folder=folder)
