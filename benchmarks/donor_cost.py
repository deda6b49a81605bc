"""What a backup costs those who use the donor: latencies of a steady load without it and with it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.cases import ROOT, Case, Workplace
from benchmarks.measuring import run_measured, settle
from benchmarks.results import DonorCost, latency
from fleet.errors import SandboxFailed

PER_SECOND = 100
_WARM_UP_SECONDS = 5.0


@dataclass(frozen=True)
class Window:
    """When something ran, in monotonic time."""

    started: float
    ended: float


def donor_costs(
    place: Workplace, cases: Sequence[Case], rows: int, seconds: float, say: Callable[[str], None]
) -> list[DonorCost]:
    """The load alone, beside each case (again and again until it ran for ``seconds``), then alone again."""

    def nothing() -> list[Window]:
        started = time.monotonic()
        time.sleep(seconds)
        return [Window(started, started + seconds)]

    costs = [_cost(place, "nothing else", rows, nothing, say)]
    for case in cases:
        title = f"{case.title}, {case.group.value.rpartition(' ')[2]}"
        costs.append(_cost(place, title, rows, lambda case=case: _repeated(place, case, seconds), say))
    return [*costs, _cost(place, "nothing else, again", rows, nothing, say)]


def within(windows: Sequence[Window], seen: Sequence[tuple[float, float]]) -> list[float]:
    """The latencies of all transactions that were due in one of the windows; ``seen``: (due, latency)."""
    return [
        latency for due, latency in seen if any(window.started <= due < window.ended for window in windows)
    ]


def _cost(
    place: Workplace, title: str, rows: int, run: Callable[[], list[Window]], say: Callable[[str], None]
) -> DonorCost:
    say(f"load of {PER_SECOND} transactions a second, and {title}")
    report, log = place.scratch("oltp.json"), place.scratch("oltp.log")
    settle()
    words = [str(place.donor.server.socket), str(report), str(rows), str(PER_SECOND)]
    with log.open("wb") as output:
        load = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.oltp", *words], stdout=output, stderr=output, cwd=ROOT
        )
    try:
        time.sleep(_WARM_UP_SECONDS)
        windows = run()
        load.send_signal(signal.SIGTERM)
        if load.wait(timeout=60) != 0:
            raise SandboxFailed(f"the load failed: {log.read_text().strip()[-300:]}")
    finally:
        load.kill()
        load.wait()
    found = latency(within(windows, json.loads(report.read_text())))
    return DonorCost(title, sum(window.ended - window.started for window in windows), found)


def _repeated(place: Workplace, case: Case, seconds: float) -> list[Window]:
    windows: list[Window] = []
    while sum(window.ended - window.started for window in windows) < seconds:
        case.before()
        started = time.monotonic()
        try:
            run_measured(
                case.command, environ=case.environ, servers={}, durable=case.durable,
                log=place.scratch(f"{case.name}.log"),
            )  # fmt: skip
            windows.append(Window(started, time.monotonic()))
        finally:
            case.after()
    return windows
