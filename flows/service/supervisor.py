"""`backstay serve`: everything that one machine does for a fleet, kept running until somebody stops it."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType

from drills.status.notify_failures import Failure, Way, news, read_failures
from drills.status.places import ran_file
from drills.status.ran import STEP, Doing, RanHistory
from drills.status.service_report import PartPlanned, PartServed, Served, ServicePlan
from drills.status.service_state import PartName, ServiceSeen, write_service
from fleet.clock import Clock
from fleet.errors import ConfigError, ToolError
from fleet.model import Fleet
from fleet.state_place import state_directory
from flows.environment import API_AUTH
from flows.password import ensure_password
from flows.service import leash
from flows.service.claim import check_free, claimed, listening
from flows.service.configuration import Change, Configuration, accept
from flows.service.keeper import Keeper, Surroundings
from flows.service.parts import Part, wanted_parts
from flows.service.scheduler_watch import SchedulerWatch

TICK_SECONDS = 0.25
CONFIG_LOOK_SECONDS = 2.0

_SCHEDULE: tuple[PartName, ...] = ("scheduler", "runner")

Tell = Callable[[str], None]


def plan_service(config: Path, clock: Clock) -> ServicePlan:
    """What `serve` would do. Raises what ``serve`` raises before it starts anything."""
    configuration = Configuration(config)
    fleet = configuration.read().fleet
    directory = state_directory(fleet)
    with claimed(directory, clock), listening(fleet.service.host, fleet.service.port):
        parts = _wanted(fleet, configuration.path, directory)
        _check_port(fleet)
    return ServicePlan(
        fleet.name,
        directory,
        page_url(fleet),
        fleet.scheduler.api_url or f"http://127.0.0.1:{fleet.scheduler.port}",
        tuple(PartPlanned(part.name, part.command) for part in parts),
    )


def serve(config: Path, *, clock: Clock, cancelled: threading.Event, tell: Tell) -> Served:
    """Keep all parts of the service running until ``cancelled`` is set; then end them in order.

    Call it in the main thread. ``tell`` gets a line for people whenever something happens. Raises
    ``ConfigError``, ``ServiceRuns`` and ``PortTaken`` before anything is started; later nothing ends it.
    """
    configuration = Configuration(config)
    change = configuration.read()
    directory = state_directory(change.fleet)
    with ExitStack() as stack:
        lock = stack.enter_context(claimed(directory, clock))
        page = listening(change.fleet.service.host, change.fleet.service.port)
        service = Service(
            configuration, change.fleet, directory, lock=lock, page=page, clock=clock, tell=tell
        )
        stack.callback(service.close)
        _check_port(change.fleet)
        service.begin(change)
        with _reload_signal() as asked:
            while not cancelled.wait(TICK_SECONDS):
                service.look(reload=asked.is_set())
                asked.clear()
        return service.end()


class Service:
    """The parts and what they need of each other."""

    def __init__(
        self,
        configuration: Configuration,
        fleet: Fleet,
        directory: Path,
        *,
        lock: int,
        page: socket.socket,
        clock: Clock,
        tell: Tell,
    ) -> None:
        self.fleet = fleet
        self._configuration = configuration
        self._directory = directory
        self._lock = lock
        self._page = page
        self._clock = clock
        self._tell = tell
        self._keepers: dict[PartName, Keeper] = {}
        self._leaving: list[Keeper] = []
        self._watch = SchedulerWatch(fleet.scheduler.port, directory, clock)
        self._started_at, self._started = clock.now(), clock.monotonic()
        self._next_config_look = 0.0
        self._next_note = 0.0
        self._written: ServiceSeen | None = None
        self._is_untaken = False
        self._was_well = False
        self._silent: dict[Way, Failure] = {}

    def begin(self, change: Change) -> None:
        """Take the configuration that the service starts with."""
        leash.become_subreaper()
        accept(change, self._directory)
        for part in _wanted(change.fleet, self._configuration.path, self._directory):
            self._keepers[part.name] = self._keeper(part)
        self._tell(f"serves {self.fleet.name}: {page_url(self.fleet)}, state in {self._directory}")

    def look(self, *, reload: bool = False) -> None:
        """One round: the configuration, the scheduler, every part."""
        now = self._clock.monotonic()
        if reload or now >= self._next_config_look:
            self._next_config_look = now + CONFIG_LOOK_SECONDS
            self._look_at_configuration(asked=reload)
            self._look_at_notifications()
        self._look_at_scheduler()
        for name, keeper in self._keepers.items():
            keeper.look(may_start=self._may_start(keeper.part), is_ready=self._is_ready(name))
        for keeper in self._leaving:
            keeper.look(may_start=False)
        self._leaving = [keeper for keeper in self._leaving if not keeper.is_gone]
        self._end_orphans()
        self._write_down()
        if now >= self._next_note:
            self._next_note = now + STEP.total_seconds()
            self._note_that_it_runs()

    def end(self) -> Served:
        """Ask every part to end; the scheduler last, so that it learns how the runs ended."""
        self._note_that_it_runs()
        self._tell("ends: running backups are asked to stop, and let go of their donors")
        scheduler = self._keepers.get("scheduler")
        self._end_all([keeper for keeper in self._keepers.values() if keeper is not scheduler])
        self._end_all([scheduler] if scheduler is not None else [])
        seen = [keeper.seen() for keeper in self._keepers.values()]
        return Served(
            self.fleet.name,
            self._directory,
            self._clock.monotonic() - self._started,
            tuple(PartServed(part.name, part.starts) for part in seen),
        )

    def close(self) -> None:
        """Whatever happened: no part is left."""
        for keeper in (*self._keepers.values(), *self._leaving):
            keeper.kill()
        self._end_orphans()
        self._page.close()

    def _end_all(self, keepers: list[Keeper]) -> None:
        for keeper in keepers:
            keeper.end()
        while not all(keeper.is_gone for keeper in keepers):
            self._clock.sleep(TICK_SECONDS)
            for keeper in keepers:
                keeper.look(may_start=False)
            self._write_down()

    def _look_at_configuration(self, *, asked: bool) -> None:
        before = self._configuration.problem
        # What kept it from being taken may have passed: a port in use, a disk that was full.
        change = self._configuration.changed(asked=asked or self._is_untaken)
        self._is_untaken = False
        if change is not None:
            try:
                self._take(change)
            except (ToolError, OSError) as error:
                self._is_untaken = True
                self._configuration.problem = getattr(error, "message", str(error))
        problem = self._configuration.problem
        if problem is not None and (asked or problem != before):
            self._tell(f"the configuration was changed and does not count: {problem}")

    def _take(self, change: Change) -> None:
        """Go on with another configuration. Raises ``ToolError`` before anything is changed."""
        fleet = change.fleet
        if state_directory(fleet) != self._directory:
            raise ConfigError(
                f"the service keeps its state in {self._directory}, and would in {state_directory(fleet)}",
                hint="Stop the service and start it again.",
            )
        parts = _wanted(fleet, self._configuration.path, self._directory)
        if fleet.scheduler.port != self.fleet.scheduler.port:
            _check_port(fleet)
        page = self._page
        if (fleet.service.host, fleet.service.port) != (self.fleet.service.host, self.fleet.service.port):
            page = listening(fleet.service.host, fleet.service.port)
        try:
            accept(change, self._directory)
        except OSError:
            if page is not self._page:
                # Otherwise it is in its own way when this is tried again.
                page.close()
            raise
        if page is not self._page:
            self._page.close()
            self._page = page
        if fleet.scheduler.port != self.fleet.scheduler.port:
            self._watch = SchedulerWatch(fleet.scheduler.port, self._directory, self._clock)
        self.fleet = fleet
        replaced = self._replace(parts)
        self._tell(f"takes the changed configuration: {', '.join(replaced) or 'no part needs to know'}")

    def _replace(self, parts: list[Part]) -> list[str]:
        replaced: list[str] = []
        for name in set(self._keepers) - {part.name for part in parts}:
            gone = self._keepers.pop(name)
            gone.end()
            self._leaving.append(gone)
            replaced.append(f"{name} ends")
        for part in parts:
            keeper = self._keepers.get(part.name)
            if keeper is None:
                self._keepers[part.name] = self._keeper(part)
                replaced.append(f"{part.name} begins")
                continue
            if keeper.part.settings != part.settings:
                replaced.append(f"{part.name} begins anew")
            elif keeper.part.followed != part.followed:
                replaced.append(f"{part.name} follows")
            keeper.replace(part)
        return replaced

    def _look_at_notifications(self) -> None:
        """The page notifies; where nobody hears it, this is the log that somebody reads."""
        silent = read_failures(self._directory)
        for line in news(self._silent, silent, self.fleet.notify):
            self._tell(line)
        self._silent = silent

    def _look_at_scheduler(self) -> None:
        keeper = self._keepers.get("scheduler")
        if keeper is None:
            return
        self._watch.look(keeper.pid, keeper.part.environ.get(API_AUTH))
        keeper.remark(self._watch.problem)
        if self._watch.verdict is None:
            return
        lost = self._watch.lost_database
        keeper.restart(self._watch.verdict)
        runner = self._keepers.get("runner")
        if lost and runner is not None:
            # Its deployments were in that database.
            runner.restart("has to tell a new scheduler what is to run")
        self._watch.look(None)

    def _may_start(self, part: Part) -> bool:
        # A name that has just come back must not meet its predecessor.
        return not any(keeper.part.name == part.name for keeper in self._leaving)

    def _is_ready(self, name: PartName) -> bool:
        if name == "scheduler":
            return self._watch.is_ready
        return name != "runner" or self._watch.has_deployments

    def _keeper(self, part: Part) -> Keeper:
        return Keeper(
            part, Surroundings(self._directory, self._clock, self._tell, self._lock, self._input_of)
        )

    def _input_of(self, name: PartName) -> int | None:
        return self._page.fileno() if name == "page" else None

    def _end_orphans(self) -> None:
        """Processes of a part whose leash was killed fall to us, and are no part's any more."""
        known = {keeper.leash_pid for keeper in (*self._keepers.values(), *self._leaving)}
        leash.kill_all({pid for pid in leash.children_of(os.getpid()) if pid not in known})

    def _note_that_it_runs(self) -> None:
        """For whoever asks later why a backup is missing."""
        of_schedule = [keeper.seen() for name, keeper in self._keepers.items() if name in _SCHEDULE]
        is_scheduling = bool(of_schedule) and all(part.state == "running" for part in of_schedule)
        doing: list[Doing] = ["service", "schedule"] if is_scheduling else ["service"]
        RanHistory(ran_file(self.fleet)).note(doing, self._clock.now())

    def _write_down(self) -> None:
        seen = ServiceSeen(
            pid=os.getpid(),
            started_at=self._started_at,
            parts=tuple(keeper.seen() for keeper in self._keepers.values()),
            config_problem=self._configuration.problem,
        )
        if seen.is_well and not self._was_well:
            self._was_well = True
            self._tell(f"all parts run, {self._clock.monotonic() - self._started:.0f} s after the start")
        if seen != self._written:
            # A full disk must not end what still works.
            with suppress(OSError):
                write_service(self._directory, seen)
                self._written = seen


def page_url(fleet: Fleet) -> str:
    """Where the page is."""
    host = f"[{fleet.service.host}]" if ":" in fleet.service.host else fleet.service.host
    return f"http://{host}:{fleet.service.port}/"


def _wanted(fleet: Fleet, config: Path, directory: Path) -> list[Part]:
    if fleet.scheduler.api_url is None:
        ensure_password(directory)
    return wanted_parts(fleet, config, directory, os.environ)


def _check_port(fleet: Fleet) -> None:
    if fleet.scheduler.api_url is None:
        check_free(fleet.scheduler.port)


@contextmanager
def _reload_signal() -> Generator[threading.Event]:
    """Set when somebody asks for the configuration to be read again: SIGHUP."""
    asked = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        asked.set()

    before = signal.signal(signal.SIGHUP, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGHUP, before)
