"""What a failed test of the schedule could not see from where it stood: the scheduler's side of it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import httpx
import pytest

from tests.scenario.scheduled import Scheduled


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where a test fails that has a scheduler, its report shows what the processes wrote and what each run
    last said.
    """
    report = yield
    funcargs: dict[str, Any] = getattr(item, "funcargs", {})
    if report.failed:
        for service in (each for each in funcargs.values() if isinstance(each, Scheduled)):
            report.sections.append(("runs, newest first", _runs(service)))
            report.sections += [(name, _end_of(service, name)) for name in ("runner.log", "server.log")]
    return report


def _runs(service: Scheduled) -> str:
    try:
        runs = service.scheduler.runs()
    except httpx.HTTPError as error:
        return f"the scheduler does not answer: {type(error).__name__}"
    begun = [run for run in runs if run["state"] and run["start_time"]]
    said = [(run["start_time"], run["name"], run["state"]["name"], run["state"]["message"]) for run in begun]
    return "\n".join("{} {}: {}, {}".format(*each) for each in said[:20])


def _end_of(service: Scheduled, name: str) -> str:
    try:
        return (service.directory / name).read_text(errors="replace")[-8000:]
    except OSError as error:
        return f"cannot be read: {error.strerror}"
