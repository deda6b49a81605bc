"""The reader of one data connection: a thread that takes what comes, until the stage DONE or an error."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from fleet.errors import ProtocolViolation
from wire.clone.connection import CloneConnection
from wire.clone.descriptors import (
    DataBlock,
    FileMeta,
    Locator,
    State,
    StateChange,
    TaskMeta,
)
from wire.clone.landing import Landing
from wire.clone.messages import (
    Command,
    Complete,
    Described,
    Plain,
    ResponseType,
)
from wire.clone.outcome import CloneSink
from wire.clone.refusals import ConnectionCut
from wire.clone.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class StateEnded:
    """A connection has sent all its data of a state; ``change`` is what to acknowledge."""

    stream: Stream
    change: StateChange


@dataclass(frozen=True, slots=True)
class StreamDone:
    """A connection has come to its orderly end, ready for EXIT."""

    stream: Stream


@dataclass(frozen=True, slots=True)
class StreamFailed:
    """A connection, or what was done with its data, failed."""

    stream: Stream
    error: BaseException


Event = StateEnded | StreamDone | StreamFailed


class Stream(threading.Thread):
    """Reads connection number ``number``; 0 is the main one, which alone changes the state of the snapshot.

    ``prepare`` runs in the thread, since a worker may wait long for the donor: it sets ``connection``, and
    says whether there is one to read from. What happens is told to ``tell``, from the thread, which ends
    early where ``until``, asked after each descriptor, says so.
    """

    def __init__(
        self,
        number: int,
        prepare: Callable[[Stream], bool],
        snapshot: Snapshot,
        sink: CloneSink,
        tell: Callable[[Event], None],
        *,
        until: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(name=f"clone-{number}", daemon=True)
        self.number = number
        self.connection: CloneConnection | None = None
        self.is_executing = False
        """From then on the donor counts this connection: no stage ends without it."""
        self._prepare = prepare
        self._snapshot = snapshot
        self._sink = sink
        self._tell = tell
        self._until = until
        self._is_given_up = False

    @property
    def is_main(self) -> bool:
        return self.number == 0

    def run(self) -> None:
        try:
            if self._prepare(self) and self.connection is not None:
                self._serve(self.connection)
        except BaseException as error:  # noqa: BLE001 (told to the thread that runs the clone)
            self._tell(StreamFailed(self, error))
        else:
            self._tell(StreamDone(self))

    def give_up(self) -> None:
        """Let go of the donor and end the thread soon; from any thread."""
        self._is_given_up = True
        if self.connection is not None:
            self.connection.reset()

    def use(self, connection: CloneConnection) -> None:
        """``prepare`` has a connection; it is reset at once if the stream was given up meanwhile."""
        self.connection = connection
        if self._is_given_up:
            connection.reset()

    def away_seconds(self, now: float) -> float:
        """How long the reader has been away from its socket."""
        since = self.connection.away_since if self.connection is not None and self.is_executing else None
        return 0.0 if since is None else now - since

    def _serve(self, connection: CloneConnection) -> None:
        self._stop_if_given_up()
        connection.away_since = None
        landing = Landing(self._snapshot, self._sink, connection, self.number)
        self.is_executing = True
        connection.send(Plain(Command.EXECUTE))
        try:
            while self._serve_one(connection, landing) and not self._until():
                pass
        finally:
            landing.abandon()
            self.is_executing = False

    def _serve_one(self, connection: CloneConnection, landing: Landing) -> bool:
        response = connection.response()
        match response:
            case Described(descriptor):
                self._take(descriptor, connection, landing)
            case Complete():
                if self.is_main and self._snapshot.state is not State.DONE:
                    raise ProtocolViolation(f"the donor is done in the state {self._snapshot.state.name}")
                return False
            case _:
                raise ProtocolViolation(f"EXECUTE was answered by a {type(response).__name__}")
        return True

    def _take(
        self,
        descriptor: Locator | TaskMeta | StateChange | FileMeta | DataBlock,
        connection: CloneConnection,
        landing: Landing,
    ) -> None:
        match descriptor:
            case DataBlock():
                kind, length = connection.next_response()
                if kind != ResponseType.DATA or length != descriptor.length:
                    raise ProtocolViolation(
                        f"a block of {descriptor.length} bytes is followed by a response of type {kind}"
                        f" with {length}"
                    )
                landing.receive(descriptor, self._stop_if_given_up)
            case StateChange():
                self._change_state(descriptor, landing)
            case FileMeta():
                self._announce(descriptor)
            case TaskMeta():
                pass
            case Locator():
                raise ProtocolViolation("a locator came among the data")

    def _announce(self, meta: FileMeta) -> None:
        if not self.is_main:
            # A worker may be ahead of the main connection, which tells of the files first.
            self._snapshot.progress(meta.state, self._stop_if_given_up)
        self._snapshot.files.announce(meta, self._snapshot.state)
        self._snapshot.files_announced()

    def _change_state(self, change: StateChange, landing: Landing) -> None:
        if change.ack:
            return  # a keep-alive
        landing.finish_chunk()
        if not change.start:
            self._tell(StateEnded(self, change))
        elif self.is_main:
            self._snapshot.enter(change, self._sink, self.number)

    def _stop_if_given_up(self) -> None:
        if self._is_given_up:
            raise ConnectionCut("the connection was given up")
