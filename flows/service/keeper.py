"""Keeping one part: started when it may, started again when it ended, replaced when its settings changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from drills.status.service_state import PartName, PartSeen, PartState
from fleet.clock import Clock
from flows.service.part_process import PartProcess
from flows.service.parts import Part

LONGEST_PAUSE_SECONDS = 60.0
STEADY_SECONDS = 60.0
"""A part that ran so long is started again at once, as if it had never failed."""
GAVE_WAY_SECONDS = 600.0
"""Until one whose work another machine took over tries to take it back: that one may have died since."""
BRIEF_SECONDS = 2.0
"""One that does not run longer does not run at all: so long it takes to find that it cannot."""


def pause_after(failures: int) -> float:
    """Seconds to wait after a part ended ``failures`` times (from 1 on) without having run steadily."""
    return min(LONGEST_PAUSE_SECONDS, 0.5 * 2.0**failures)


@dataclass(frozen=True)
class Surroundings:
    """What every keeper is given. ``tell``: a line for people. ``lock``: a descriptor that every part holds
    as long as it lives. ``input_of``: what a part has as its standard input; None: nothing.
    """

    directory: Path
    clock: Clock
    tell: Callable[[str], None]
    lock: int
    input_of: Callable[[PartName], int | None]


class Keeper:
    """One part over time. ``look`` is called again and again; all but ``kill`` return at once."""

    def __init__(self, part: Part, surroundings: Surroundings) -> None:
        self.part = part
        self._around = surroundings
        self._process: PartProcess | None = None
        self._state: PartState = "waiting"
        self._since = surroundings.clock.now()
        self._down_since: datetime | None = self._since
        self._ended: str | None = None
        self._remark: str | None = None
        self._starts = 0
        self._failures = 0
        self._started = self._next_start = self._kill_at = 0.0
        self._successor: Part | None = None
        self._is_over = False

    @property
    def pid(self) -> int | None:
        """Its first process, if it runs."""
        return self._process.pid if self._process is not None else None

    @property
    def leash_pid(self) -> int | None:
        """The process that holds it, if it runs."""
        return self._process.leash_pid if self._process is not None else None

    @property
    def is_gone(self) -> bool:
        """It was ended, and has ended."""
        return self._is_over and self._process is None

    def seen(self) -> PartSeen:
        """How it does."""
        return PartSeen(
            name=self.part.name,
            state=self._state,
            since=self._since,
            down_since=self._down_since,
            pid=self.pid,
            starts=self._starts,
            failures=self._failures,
            ended=self._ended,
            problem=self._remark,
        )

    def look(self, *, may_start: bool, is_ready: bool = True) -> None:
        """See what became of it, and do what follows. ``is_ready``: it answers, if it runs."""
        if self._process is not None and self._process.ended():
            self._bury(self._process)
        if self._process is None:
            self._perhaps_start(may_start=may_start)
        elif self._state == "stopping":
            if self._around.clock.monotonic() >= self._kill_at:
                self._process.kill()
        elif self._successor is not None and (self._process.is_idle or not self.part.when_idle):
            self._ask()
        else:
            seconds = self._around.clock.monotonic() - self._started
            self._become("running" if is_ready and seconds >= BRIEF_SECONDS else "starting")
            if is_ready and seconds >= STEADY_SECONDS:
                self._failures, self._ended = 0, None

    def replace(self, part: Part) -> None:
        """From now on it is ``part``; what runs is ended first if its settings are others."""
        if self._process is None and part.settings != self.part.settings:
            # What kept it from running may be what was changed.
            self._next_start = 0.0
        if self._process is None or part.settings == self.part.settings:
            if self._process is not None and part.followed != self.part.followed:
                self._process.follow()
            self.part, self._successor = part, None
            return
        self._successor = part
        if part.when_idle and not self._process.is_idle:
            self._around.tell(f"{part.name}: takes the new configuration when its runs have ended")

    def remark(self, problem: str | None) -> None:
        """It runs, and something is wrong with it, or no longer."""
        if problem is not None and self._remark is None:
            self._around.tell(f"{self.part.name} {problem}")
        if problem is None and self._remark is not None and self._process is not None:
            self._around.tell(f"{self.part.name} does its work again")
        self._remark = problem

    def restart(self, because: str) -> None:
        """It runs, and does no good: kill it and start it again."""
        if self._process is None or self._state == "stopping":
            return
        self._process.kill()
        self._bury(self._process, because)

    def end(self) -> None:
        """Ask it to end, for good."""
        self._is_over = True
        if self._process is not None and self._state != "stopping":
            self._ask()

    def kill(self) -> None:
        """End it now, for good."""
        self._is_over = True
        if self._process is not None:
            self._process.kill()
            self._process = None

    def _perhaps_start(self, *, may_start: bool) -> None:
        if self._is_over or self._around.clock.monotonic() < self._next_start:
            return
        if not may_start:
            self._become("waiting")
            return
        self._started = self._around.clock.monotonic()
        self._starts += 1
        try:
            self._process = PartProcess(
                self.part,
                self._around.directory,
                lock=self._around.lock,
                given=self._around.input_of(self.part.name),
            )
        except OSError as error:
            self._fail(f"cannot be started: {error.strerror}")
            return
        self._become("starting")

    def _ask(self) -> None:
        assert self._process is not None
        self._process.ask()
        self._kill_at = self._around.clock.monotonic() + self.part.patience_seconds
        self._become("stopping")

    def _bury(self, process: PartProcess, because: str | None = None) -> None:
        process.close()
        self._process = None
        was_asked = self._state == "stopping"
        if self._successor is not None:
            self.part, self._successor = self._successor, None
        if was_asked:
            self._failures, self._next_start, self._ended = 0, 0.0, None
            self._become("waiting")
            return
        gave_way = because is None and process.exit_code == self.part.gave_way
        self._fail(because or process.how_it_ended(), gave_way=gave_way)

    def _fail(self, why: str, *, gave_way: bool = False) -> None:
        now = self._around.clock.monotonic()
        self._down_since = self._down_since or self._around.clock.now()
        self._failures = 1 if now - self._started >= STEADY_SECONDS else self._failures + 1
        # Two that take over from each other all the time do no work.
        pause = GAVE_WAY_SECONDS if gave_way else pause_after(self._failures)
        self._next_start = now + pause
        self._ended = why
        self._become("failing")
        self._around.tell(f"{self.part.name} {why}; it is started again in {pause:g} s")

    def _become(self, state: PartState) -> None:
        if state == self._state or (state == "waiting" and self._state == "failing"):
            return
        if state == "running":
            self._down_since = None
            if self._failures:
                self._around.tell(f"{self.part.name} runs again")
        self._state = state
        self._since = self._around.clock.now()
