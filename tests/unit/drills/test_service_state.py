"""Whether a service that told of itself is still there, and what ails it."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drills.status.report import Health
from drills.status.service_state import (
    FILE,
    PartSeen,
    ServiceSeen,
    judge_service,
    read_service,
    write_service,
)
from fleet.process import this_process

NOW = datetime(2026, 3, 1, 2, 15, tzinfo=UTC)
HOUR = timedelta(hours=1)


def service(*parts: PartSeen) -> ServiceSeen:
    return ServiceSeen(pid=os.getpid(), started_at=NOW - HOUR, parts=parts)


def test_a_service_that_runs_is_known(tmp_path: Path) -> None:
    write_service(tmp_path, service())
    seen = read_service(tmp_path)
    assert seen is not None
    assert (seen.pid, seen.process) == (os.getpid(), this_process())


@pytest.mark.parametrize("place", range(4))
def test_a_service_whose_pid_is_somebody_elses_now_is_gone(tmp_path: Path, place: int) -> None:
    """Its boot, its namespace, its pid or its start are others'."""
    mark = this_process()
    assert mark is not None
    parts = mark.split("/")
    parts[place] = "1"
    seen = service().model_copy(update={"process": "/".join(parts)})
    (tmp_path / FILE).write_text(seen.model_dump_json())
    assert read_service(tmp_path) is None


@pytest.mark.parametrize("mark", [None, "", "a/b", "a/b/c/d", "//-1/"])
def test_a_service_of_which_nothing_can_be_told_is_not_known(tmp_path: Path, mark: str | None) -> None:
    (tmp_path / FILE).write_text(service().model_copy(update={"process": mark}).model_dump_json())
    assert read_service(tmp_path) is None


def test_a_service_that_ended_and_that_nobody_waited_for_is_gone(tmp_path: Path) -> None:
    mark = this_process()
    assert mark is not None
    with subprocess.Popen(["true"], stdout=subprocess.PIPE) as ended:
        assert ended.stdout is not None
        ended.stdout.read()
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        boot, space, *_ = mark.split("/")
        seen = service().model_copy(update={"process": f"{boot}/{space}/{ended.pid}/ended"})
        (tmp_path / FILE).write_text(seen.model_dump_json())
        assert read_service(tmp_path) is None


def test_a_page_that_does_not_run_is_told_for_it_is_what_notifies(tmp_path: Path) -> None:
    page = PartSeen(
        name="page",
        state="failing",
        since=NOW,
        down_since=NOW - HOUR,
        failures=2,
        ended="was killed by SIGKILL",
    )
    (told,) = judge_service(service(page), tmp_path, NOW)
    assert (told.health, told.subject) == (Health.WARNING, "page")
    assert told.message == "it does not run: was killed by SIGKILL"
    assert told.hint is not None
    assert "Nobody is notified" in told.hint
    well = page.model_copy(update={"state": "running", "down_since": None, "failures": 0})
    assert judge_service(service(well), tmp_path, NOW) == ()
