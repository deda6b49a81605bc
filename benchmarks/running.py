"""Run cases in rounds: every case once, then every case again, so that a slow minute hurts all alike."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from benchmarks.cases import Case, Workplace
from benchmarks.measuring import Usage, run_measured, settle
from benchmarks.results import Outcome
from fleet.errors import ToolError

Say = Callable[[str], None]


def run_cases(
    place: Workplace, cases: Sequence[Case], wanted: Iterable[str], rounds: int, say: Say
) -> list[Outcome]:
    """Measure the ``wanted`` cases; a backup that only a wanted restore needs is made, but not told.

    A case that fails is told as failed and not tried again.
    """
    names = set(wanted)
    by_name = {case.name: case for case in cases}
    records = {case.name: _Record(case) for case in cases if case.name in names}
    made: set[str] = set()
    for number in range(rounds):
        for record in records.values():
            case = record.case
            if record.error:
                continue
            try:
                if case.needs and case.needs not in made:
                    say(f"making what {case.name} restores")
                    _run_once(place, by_name[case.needs])
                    made.add(case.needs)
                say(f"{case.group.value}: {case.title}" + (f", round {number + 1}" if rounds > 1 else ""))
                record.take(*_run_once(place, case))
                made.add(case.name)
            except (ToolError, OSError, subprocess.SubprocessError) as error:
                record.error = str(error)
                say(f"{case.name} failed: {error}")
    return [record.outcome() for record in records.values()]


def _run_once(place: Workplace, case: Case) -> tuple[Usage, int, Mapping[str, Any] | None]:
    case.before()
    settle()
    try:
        usage = run_measured(
            case.command,
            environ=case.environ,
            servers={"donor": place.donor.pid, "store": place.store_pid},
            durable=case.durable,
            log=place.scratch(f"{case.name}.log"),
        )
        stored = case.stored()
        report = json.loads(case.report.read_text()) if case.report else None
    finally:
        case.after()
    return usage, stored, report


class _Record:
    """What was seen of one case so far."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.error: str | None = None
        self._usages: list[Usage] = []
        self._reports: list[Mapping[str, Any]] = []
        self._stored = 0

    def take(self, usage: Usage, stored: int, report: Mapping[str, Any] | None) -> None:
        self._usages.append(usage)
        self._stored = stored
        if report is not None:
            self._reports.append(report)

    def outcome(self) -> Outcome:
        case = self.case
        return Outcome(
            case.name, case.title, case.group, case.ours, case.encrypted, tuple(self._usages), self._stored,
            tuple(self._reports), self.error,
        )  # fmt: skip
