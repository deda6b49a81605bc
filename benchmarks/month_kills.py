"""Who is killed when in a month (SIGKILL): chosen by a seed, each victim about as often as every other."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal, NamedTuple, TypeAlias, get_args

from benchmarks.served import Serving
from infra.sandbox.fleet import SandboxFleet

Victim: TypeAlias = Literal["archiver", "runner", "scheduler", "flow", "supervisor", "replica"]
VICTIMS: tuple[Victim, ...] = get_args(Victim)

FIRST, LAST = 0.15, 0.75  # of the month
PATIENCE_SECONDS = 45.0
LONGEST_AWAY_SECONDS = 20.0

Say = Callable[[str], None]


class Planned(NamedTuple):
    """A kill, so many seconds after the month began."""

    after: float
    victim: Victim


class Killed(NamedTuple):
    """A kill that was tried. ``what``: who died; empty where there was nobody to kill."""

    at: datetime
    victim: Victim
    what: str


def plan_kills(seconds: float, chance: random.Random) -> list[Planned]:
    """When whom: three in two minutes of the time in which there are any, and each victim once at least."""
    span = (LAST - FIRST) * seconds
    count = max(len(VICTIMS), round(span / 40))
    rounds: list[Victim] = []
    while len(rounds) < count:
        some = list(VICTIMS)
        chance.shuffle(some)
        rounds += some
    moments = sorted(chance.uniform(FIRST, LAST) * seconds for _ in range(count))
    return [Planned(*pair) for pair in zip(moments, rounds, strict=False)]


class Kills:
    """Carries the plan out, one after the other, from ``start`` to ``stop``."""

    def __init__(
        self,
        plan: Sequence[Planned],
        sandbox: SandboxFleet,
        serving: Serving,
        chance: random.Random,
        say: Say,
    ) -> None:
        self.done: list[Killed] = []
        self.failures: list[str] = []
        self._plan, self._sandbox, self._serving = plan, sandbox, serving
        self._chance, self._say = chance, say
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """The month begins."""
        self._thread.start()

    def stop(self) -> None:
        """What has not come does not come; who is away is back."""
        self._stopping.set()
        self._thread.join()

    @property
    def last_at(self) -> datetime | None:
        """When the last one was."""
        return max((each.at for each in self.done), default=None)

    def _run(self) -> None:
        began = time.monotonic()
        for due, victim in self._plan:
            if self._stopping.wait(max(0.0, began + due - time.monotonic())):
                return
            try:
                what = self._kill_replica() if victim == "replica" else self._kill_process(victim)
            except Exception as error:  # noqa: BLE001 - told at the end
                self.failures.append(f"killing the {victim} failed: {type(error).__name__}: {error}")
                continue
            self.done.append(Killed(datetime.now(UTC), victim, what))
            self._say(f"killed {victim}: {what or 'there was none'}")

    def _kill_process(self, victim: Victim) -> str:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and not self._stopping.is_set():
            pid, what = self._find(victim)
            if pid is None:
                self._stopping.wait(0.2)
                continue
            if victim == "flow":
                # Anywhere between its start and its end.
                self._stopping.wait(self._chance.uniform(0, 6))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return what
        return ""

    def _find(self, victim: Victim) -> tuple[int | None, str]:
        match victim:
            case "archiver" | "runner" | "scheduler":
                pid = self._serving.part(victim)
                return pid, f"process {pid}"
            case "supervisor":
                pid = self._serving.pid
                return pid, f"process {pid}"
            case _:
                flows = sorted(self._serving.flow_processes().items())
                run, pid = self._chance.choice(flows) if flows else ("", None)
                return pid, f"run {run}, process {pid}"

    def _kill_replica(self) -> str:
        replicas = [replica for shard in self._sandbox.shards for replica in shard.replicas]
        victim = self._chance.choice(replicas)
        victim.kill()
        self._stopping.wait(self._chance.uniform(3, LONGEST_AWAY_SECONDS))
        victim.start()
        return victim.name
