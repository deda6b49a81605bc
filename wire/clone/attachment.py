"""One set of connections to a donor's snapshot: the main one, its workers, and one for ACKs.

It lives until the clone is done or the network breaks; a clone that is resumed gets a new one.
"""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable
from dataclasses import replace

from fleet.clock import Clock
from fleet.errors import CloneInterrupted, DonorBusy, ProtocolViolation, ServerUnreachable, ToolError
from wire.clone.connection import CloneConnection, check_no_more
from wire.clone.descriptors import State, StateChange
from wire.clone.messages import (
    NEWEST_VERSION,
    Ack,
    Begin,
    Command,
    Locators,
    Plain,
    Response,
    version_locator,
)
from wire.clone.outcome import CloneOptions, CloneSink
from wire.clone.pacing import Pace
from wire.clone.refusals import QUERY_INTERRUPTED, ConnectionCut
from wire.clone.snapshot import Snapshot, stage_of
from wire.clone.stream import Event, StateEnded, Stream, StreamDone, StreamFailed
from wire.clone.watchdog import Watchdog
from wire.session import Session

_INIT_MARGIN_SECONDS = 300
"""The first clone since a server started opens all its tablespaces, under a short lock, before it answers."""

_ACK_SECONDS = 60
_REINIT_SECONDS = 60
_EXIT_SECONDS = 5
_FREE_SECONDS = 5.0
_POLL_SECONDS = 0.1


class Dialling:
    """Makes connections to one donor, all with the same options."""

    def __init__(
        self,
        connect: Callable[[], Session],
        options: CloneOptions,
        clock: Clock,
        should_stop: Callable[[], None],
    ) -> None:
        self.options = options
        self.clock = clock
        self._should_stop = should_stop
        self._connect = connect
        rate = options.rate_bytes_per_second
        self._pace = Pace(rate, clock) if rate else None

    def should_stop(self) -> None:
        """Raises when the clone was cancelled."""
        self._should_stop()

    def stop_no_more(self) -> None:
        """The clone is being ended already: what that takes must not be stopped."""
        self._should_stop = lambda: None

    def dial(self) -> CloneConnection:
        """Log in and switch to the clone protocol. Raises what ``connect`` raises, or ServerRefused."""
        raw = self._connect().detach()
        connection = CloneConnection(raw, self.clock, pace=self._pace, should_stop=self.should_stop)
        try:
            connection.start()
        except BaseException:
            connection.reset()
            raise
        return connection

    def begin(self, command: Command, version: int, locator: bytes) -> Begin:
        options = self.options
        return Begin(command, version, options.ddl_timeout_seconds, options.block_ddl, locator)


class Attachment:
    """``main`` has its snapshot, ``aux`` carries ACKs; ``follow`` starts the readers and goes with them."""

    def __init__(
        self, dialling: Dialling, main: CloneConnection, aux: CloneConnection, snapshot: Snapshot
    ) -> None:
        self._dialling = dialling
        self._main = main
        self._aux = aux
        self._snapshot = snapshot
        self._clock = dialling.clock
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._streams: list[Stream] = []
        self._ended: dict[State, set[int]] = {}
        self._main_ended: StateChange | None = None

    @classmethod
    def open(cls, dialling: Dialling, snapshot_of: Callable[[list[Response]], Snapshot]) -> Attachment:
        """INIT: the donor makes a snapshot. ``snapshot_of`` takes its answer.

        Raises DonorBusy while the donor serves another clone, ServerRefused when it will not.
        """
        main = dialling.dial()
        try:
            aux = dialling.dial()
            try:
                wait = dialling.options.ddl_timeout_seconds + _INIT_MARGIN_SECONDS
                request = dialling.begin(Command.INIT, NEWEST_VERSION, version_locator())
                return cls(dialling, main, aux, snapshot_of(main.ask(request, seconds=wait)))
            except BaseException:
                aux.reset()
                raise
        except BaseException:
            main.reset()
            raise

    @classmethod
    def reopen(cls, dialling: Dialling, snapshot: Snapshot) -> Attachment:
        """REINIT: the donor goes on where we stand. Raises CloneInterrupted if it lost the snapshot."""
        main = dialling.dial()
        try:
            aux = dialling.dial()
            try:
                snapshot.files.forget_changes()
                request = dialling.begin(Command.REINIT, snapshot.version, snapshot.resume_locator())
                main.ask(request, seconds=_REINIT_SECONDS)
                return cls(dialling, main, aux, snapshot)
            except BaseException:
                aux.reset()
                raise
        except BaseException:
            main.reset()
            raise

    def follow(self, sink: CloneSink) -> None:
        """Receive until the stage DONE is over on every connection.

        Raises ConnectionCut when the network broke or a reader stalled (all connections are reset then), what
        the donor's error means, and what ``sink`` raises.
        """
        self._start(sink, self._dialling.options.connections)
        with Watchdog(self._streams, self._dialling.options.stall_seconds, self._clock, self._stalled):
            while not self._is_done():
                if (event := self._next_event()) is not None:
                    self._heed(event, sink)

    def list_files(self, sink: CloneSink) -> None:
        """Go along until every file of the FILE stage is announced, and let go of the donor there.

        It keeps the snapshot, and tracks its pages, until we come back. Raises what ``follow`` does.
        """
        snapshot = self._snapshot
        self._start(sink, 1, lambda: snapshot.state is State.FILE and snapshot.knows_files(State.FILE))
        with Watchdog(self._streams, self._dialling.options.stall_seconds, self._clock, self._stalled):
            while not isinstance(event := self._next_event(), StreamDone):
                if event is not None:
                    self._heed(event, sink)
        self.break_off()

    def leave(self) -> None:
        """The orderly end: workers, ACK connection, main."""
        connections = [self._aux, self._main]
        for worker in self._streams[1:]:
            if worker.is_alive():
                # It still waits to be let in; its connection must not be used by two threads.
                worker.give_up()
            elif worker.connection is not None:
                connections.insert(0, worker.connection)
        for connection in connections:
            if not connection.is_cut:
                # All data is here: a connection that fails now loses nothing.
                with contextlib.suppress(ToolError):
                    connection.ask(Plain(Command.EXIT), seconds=_EXIT_SECONDS)
                    connection.close()
                connection.reset()

    def break_off(self) -> None:
        """Reset every connection: whoever waits at the donor for one of them goes on at once."""
        for stream in self._streams:
            stream.give_up()
        self._main.reset()
        self._aux.reset()

    def abandon(self) -> None:
        """End the clone for good: tell the donor, let go of it, and wait a moment until it is free."""
        self._dialling.stop_no_more()
        if self._aux.is_cut or not _interrupt(self._aux, self._snapshot):
            self.break_off()
            release(self._dialling, self._snapshot)
            return
        for stream in self._streams:
            stream.give_up()
        self._main.reset()
        _wait_until_free(self._aux, self._snapshot, self._clock)
        self._aux.reset()
        for stream in self._streams:
            stream.join(timeout=_POLL_SECONDS)

    def has_readers(self) -> bool:
        """A reader may still be in the sink after ``break_off``."""
        return any(stream.is_alive() for stream in self._streams)

    def failure(self) -> BaseException | None:
        """What went wrong in a reader, apart from the break, once there are no readers any more."""
        while not self._events.empty():
            event = self._events.get()
            if isinstance(event, StreamFailed) and not isinstance(event.error, ConnectionCut):
                return event.error
        return None

    def _start(self, sink: CloneSink, connections: int, until: Callable[[], bool] = lambda: False) -> None:
        for number in range(connections):
            prepare = self._attach if number else self._use_main
            self._streams.append(Stream(number, prepare, self._snapshot, sink, self._events.put, until=until))
        for stream in self._streams:
            stream.start()

    def _next_event(self) -> Event | None:
        """What a reader tells; ``None`` when nothing was told for a moment. Raises when cancelled."""
        self._dialling.should_stop()
        try:
            return self._events.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            return None

    def _use_main(self, stream: Stream) -> bool:
        stream.use(self._main)
        return True

    def _attach(self, stream: Stream) -> bool:
        """Get a worker's connection; False if the donor has none left for us, since fewer will do."""
        try:
            connection = self._dialling.dial()
        except (ServerUnreachable, CloneInterrupted):
            return False
        stream.use(connection)
        try:
            request = self._dialling.begin(Command.ATTACH, self._snapshot.version, self._snapshot.locator)
            for response in connection.ask(request):
                if not isinstance(response, Locators):
                    raise ProtocolViolation(f"ATTACH was answered by a {type(response).__name__}")
        except (DonorBusy, CloneInterrupted):
            connection.reset()
            return False
        return True

    def _heed(self, event: Event, sink: CloneSink) -> None:
        match event:
            case StateEnded(stream, change):
                self._ended.setdefault(change.state, set()).add(stream.number)
                if stream.is_main:
                    self._main_ended = change
                self._acknowledge_if_ended(sink)
            case StreamDone():
                self._acknowledge_if_ended(sink)
            case StreamFailed(stream, error):
                if isinstance(error, ConnectionCut) and self._snapshot.state is State.DONE:
                    return
                if isinstance(error, ConnectionCut):
                    self.break_off()
                raise error

    def _acknowledge_if_ended(self, sink: CloneSink) -> None:
        change = self._main_ended
        if change is None:
            return
        ended = self._ended[change.state]
        if any(stream.is_executing and stream.number not in ended for stream in self._streams):
            return
        self._main_ended = None
        stage = stage_of(change.state)
        if stage is not None:
            sink.before_ack(stage)
        request = Ack(0, self._snapshot.locator, replace(change, ack=True))
        try:
            check_no_more(self._aux.ask(request, seconds=_ACK_SECONDS), "ACK")
        except ConnectionCut:
            self.break_off()
            raise

    def _is_done(self) -> bool:
        main, *workers = self._streams
        return (
            self._snapshot.state is State.DONE
            and not main.is_alive()
            and not any(worker.is_executing for worker in workers)
        )

    def _stalled(self, stream: Stream, seconds: float) -> None:
        """From the watchdog's thread."""
        # Told first: the readers will tell that their connections broke, which explains nothing.
        stalled = ConnectionCut(f"the data was not taken for {seconds:.1f} s, so the donor was let go")
        self._events.put(StreamFailed(stream, stalled))
        self.break_off()


def release(dialling: Dialling, snapshot: Snapshot) -> None:
    """Free a donor that keeps ``snapshot`` for us after a break. If it cannot be reached, it frees itself."""
    dialling.stop_no_more()
    with contextlib.suppress(ToolError):
        aux = dialling.dial()
        if _interrupt(aux, snapshot):
            _wait_until_free(aux, snapshot, dialling.clock)
        aux.reset()


def _interrupt(aux: CloneConnection, snapshot: Snapshot) -> bool:
    """Make every connection of the clone end at the donor, without its waiting for us to come back."""
    try:
        aux.ask(Ack(QUERY_INTERRUPTED, snapshot.locator, None), seconds=_EXIT_SECONDS)
    except ConnectionCut:
        return False
    except ToolError:
        pass  # it is gone already
    return True


def _wait_until_free(aux: CloneConnection, snapshot: Snapshot, clock: Clock) -> None:
    """An ACK for a clone that the donor no longer has is an error: that is the sign."""
    deadline = clock.monotonic() + _FREE_SECONDS
    with contextlib.suppress(ToolError):
        while clock.monotonic() < deadline:
            aux.ask(Ack(QUERY_INTERRUPTED, snapshot.locator, None), seconds=_EXIT_SECONDS)
            clock.sleep(0.02)
