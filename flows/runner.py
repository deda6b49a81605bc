"""``python -m flows.runner CONFIG``: puts the deployments and automations of a fleet, and carries out
their runs here.

It is a child of ``backstay serve``, which gives it the environment (``flows.environment``). SIGHUP: read the
configuration again, and put what changed; runs go on meanwhile. SIGTERM: running runs are cancelled in order.
Runs that wait keep waiting while nobody serves them: schedules are not paused. What the runner before left
behind when it was killed is ended first.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import StateType
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.states import Crashed

from drills.status.notify import forget_told
from drills.status.notify_failures import write_blocks
from fleet.clock import SystemClock
from fleet.config import load
from fleet.errors import SchedulerUnreachable, ToolError
from fleet.model import Fleet
from fleet.state_place import state_directory
from flows.applying import apply, plan, prefect_client
from flows.asking import deployments_of, runs_in
from flows.automations import apply_automations, plan_automations
from flows.deployments import SHORT, wanted_deployments
from flows.patience import make_observers_patient, patient
from flows.service.sight import NOTIFIED_FILE

_SERVER_SECONDS = 120
"""How long the server may take until it answers: its first start makes a database."""
_AGAIN_SECONDS = 30
"""Between two looks whether a block is there by now that is to notify."""

POLL = "_get_and_submit_flow_runs"
"""What Prefect's poller does again and again."""

_BEGUN = (StateType.PENDING, StateType.RUNNING, StateType.CANCELLING)
_LEFT = "its process died with the runner that had started it"

_log = logging.getLogger("backstay.runner")


class _Known(RunnerDeployment):
    """A deployment that is put already, for a runner that wants to put it itself."""

    async def aapply(self, *_args: Any, **_more: Any) -> UUID:
        assert self._id is not None
        return self._id

    _id: UUID | None = None

    @classmethod
    def of(cls, name: str, id_: UUID) -> _Known:
        known = cls(name=name, flow_name=name)
        known._id = id_
        return known


class _Runner(Runner):
    """A runner that leaves it to others what a SIGTERM does, since two of them are in one process.

    Prefect's own receiver leaves the loop at once, and its runs without an end. Its poller gives up after
    three minutes without a server, and takes the running backups with it.
    """

    when_asked_to_end: Callable[[], object]

    def handle_sigterm(self, *_args: Any, **_more: Any) -> None:
        self.when_asked_to_end()

    async def __aenter__(self) -> _Runner:
        await super().__aenter__()
        poller = self._scheduled_run_poller
        setattr(poller, POLL, patient(getattr(poller, POLL)))
        return self


class _Runners:
    """One for what may take hours, with the limit of the configuration; and one that always has a place for
    each of the short duties.
    """

    def __init__(self, fleet: Fleet) -> None:
        name = f"backstay-{fleet.name}"
        self._long = _Runner(name=name, limit=fleet.scheduler.runs_at_once, pause_on_shutdown=False)
        self._short = _Runner(name=f"{name}-short", limit=len(SHORT), pause_on_shutdown=False)

    def take(self, full_name: str, id_: UUID) -> None:
        """From now on the runs of this deployment are carried out."""
        flow, _, _ = full_name.partition("/")
        (self._short if flow in SHORT else self._long).add_deployment(_Known.of(full_name, id_))

    async def serve(self) -> None:
        """Until SIGTERM, or until one of them fails; in order: what runs is cancelled, and has let go."""
        loop, ending = asyncio.get_running_loop(), asyncio.Event()
        runners = (self._long, self._short)
        for runner in runners:
            runner.when_asked_to_end = partial(loop.call_soon_threadsafe, ending.set)
        serving = [asyncio.create_task(runner.start()) for runner in runners]
        asked = asyncio.create_task(ending.wait())
        await asyncio.wait([asked, *serving], return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        await asyncio.gather(*map(_end, runners, serving))
        await asyncio.gather(*serving)


async def _end(runner: Runner, serving: asyncio.Task[None]) -> None:
    while not (runner.started or serving.done()):
        # One that has only begun to start cannot be stopped.
        await asyncio.sleep(0.1)
    if not serving.done():
        await runner.astop()


class _Follower:
    """Puts deployments as the configuration has them, and has the runners take their runs."""

    def __init__(self, config: Path, runners: _Runners) -> None:
        self._config, self._runners = config, runners
        self._said: str | None = None
        self.asked = threading.Event()

    def end_what_was_left(self) -> None:
        """End the runs of a runner that was killed: they would keep their shards for minutes.

        No process of it lives: it is one service on one state directory, and its leash kills them all. What
        runs in a pool is its workers'. Raises ``ConfigError``, ``SchedulerUnreachable``.
        """
        fleet = load(self._config)
        with prefect_client(fleet) as client:
            in_pools = {each.id for each in deployments_of(client, fleet) if each.work_pool_name is not None}
            for run in runs_in(client, fleet, _BEGUN):
                if run.deployment_id not in in_pools:
                    client.set_flow_run_state(run.id, Crashed(message=_LEFT), force=True)
                    _log.info("ended %s: %s", run.name, _LEFT)

    def put(self) -> None:
        """Raises ``ConfigError``, ``SchedulerUnreachable``."""
        fleet = load(self._config)
        with prefect_client(fleet) as client:
            planned = plan(client, fleet, wanted_deployments(fleet, in_pools=False))
            ids = apply(client, planned)
        for step in planned.of("create", "change", "delete"):
            _log.info("%s: %s", step.step, step.name)
        for name, id_ in ids.items():
            self._runners.take(name, id_)

    def reconcile_at_once(self) -> None:
        """Begin one run of it now, as a person would; not where somebody has paused it.

        What was missed, as every full of a new fleet, need not wait for the five minutes to be over.
        Raises ``ConfigError``, ``SchedulerUnreachable``.
        """
        fleet = load(self._config)
        with prefect_client(fleet) as client:
            try:
                reconcile = client.read_deployment_by_name(f"reconcile/{fleet.name}")
            except ObjectNotFound:
                # Somebody has deleted it since: that it is not begun now must not end the runner.
                return
            if not reconcile.paused:
                client.create_flow_run_from_deployment(reconcile.id)

    def put_automations(self) -> bool:
        """False if something is in the way that may pass: it is told, and backups do not wait for it."""
        try:
            fleet, clock = load(self._config), SystemClock()
            with prefect_client(fleet) as client:
                planned = plan_automations(client, fleet)
                apply_automations(client, planned, clock)
        except ToolError as error:
            if error.message != self._said:
                _log.error("the automations stay as they were: %s", error.message)
            self._said = error.message
            return False
        self._said = None
        if planned.tells_somebody_new:
            forget_told(state_directory(fleet) / NOTIFIED_FILE, "prefect")
        for step in planned.steps:
            if step.step != "keep":
                _log.info("%s: automation %s", step.step, step.name)
        for line in write_blocks(state_directory(fleet), planned.problems, clock.now()):
            _log.info("%s", line)
        return not planned.problems

    def ask(self, _number: int, _frame: FrameType | None) -> None:
        """Somebody says that the configuration has changed: SIGHUP."""
        self.asked.set()

    def follow(self) -> None:
        """Whenever it is asked to; what does not load or cannot be put is told, and all stays as it was."""
        while True:
            is_all_put = self.put_automations()
            is_asked = self.asked.wait(None if is_all_put else _AGAIN_SECONDS)
            self.asked.clear()
            if not is_asked:
                continue
            try:
                self.put()
            except ToolError as error:
                _log.error("the deployments stay as they were: %s", error.message)


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM. Ends with the error's exit code if it cannot begin."""
    _listen()
    make_observers_patient()
    config = Path(arguments[0])
    try:
        fleet = load(config)
        runners = _Runners(fleet)
        follower = _Follower(config, runners)
        # Before the first look at the configuration: a change that is told from now on must not be lost.
        signal.signal(signal.SIGHUP, follower.ask)
        _put_when_it_answers(follower)
    except ToolError as error:
        _log.error("%s", error.message)
        return error.exit_code

    threading.Thread(target=follower.follow, name="follow", daemon=True).start()
    asyncio.run(runners.serve())
    return 0


def _listen() -> None:
    """Prefect has its own ways with the root of all loggers."""
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(logging.Formatter("%(message)s"))
    _log.addHandler(lines)
    _log.setLevel(logging.INFO)
    _log.propagate = False


def _put_when_it_answers(follower: _Follower) -> None:
    clock = SystemClock()
    until = clock.monotonic() + _SERVER_SECONDS
    while True:
        try:
            follower.end_what_was_left()
            follower.put()
            follower.reconcile_at_once()
        except SchedulerUnreachable:
            if clock.monotonic() > until:
                raise
            clock.sleep(0.5)
        else:
            return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
