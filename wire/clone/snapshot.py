"""The donor's snapshot as we know it, and what we have of it: shared by all connections of one clone.

It outlives the connections: after a break, new ones go on from here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace

from fleet.blocks import Block, Extent, Stage
from fleet.clock import Clock
from fleet.errors import ProtocolViolation
from wire.admin import version_numbers
from wire.clone.buffers import BufferPool
from wire.clone.descriptors import (
    DataBlock,
    Locator,
    State,
    StateChange,
    decode_locator,
    encode_descriptor,
)
from wire.clone.files import FileTable, directories
from wire.clone.messages import INNODB, Collation, Config, Locators, Plugin, Response
from wire.clone.outcome import CloneOutcome, CloneSink, ExternalTablespaces
from wire.clone.progress import StageProgress
from wire.clone.redo import RedoLog

LARGEST_BLOCK = 4 * 1024 * 1024
BLOCK_PAGES = 64
CHUNK_PAGES = 4096
GROUP_BYTES = 1024 * 1024
"""Pages of the PAGE stage are handed over in groups of up to this size."""

DONOR_WAITS_SETTING = "clone_donor_timeout_after_network_failure"


class Snapshot:
    """What INIT was answered by, then the state of the copy. Methods are safe for several threads."""

    def __init__(self, greeting: Iterable[Response], external: ExternalTablespaces, clock: Clock) -> None:
        """Raises ProtocolViolation when the donor's answer to INIT lacks something."""
        self.configs: dict[str, str] = {}
        self.plugins: list[str] = []
        self.collations: list[str] = []
        self.locator = b""
        self.version = 0
        for response in greeting:
            self._note(response)
        if not self.locator:
            raise ProtocolViolation("the donor sent no locator")
        page = int(self._config("innodb_page_size"))
        self.files = FileTable(external, version_numbers(self._config("version")))
        self.redo = RedoLog()
        self.pool = BufferPool(max(GROUP_BYTES, BLOCK_PAGES * page))
        self.chunk_bytes = CHUNK_PAGES * page
        self.state = State.INIT
        self.resumes = 0
        self.skipped_bytes: int | None = None
        """Bytes that the donor need not send in the FILE stage, once they were chosen."""
        self.bytes_by_stage: dict[Stage, int] = dict.fromkeys(Stage, 0)
        self._started_at: dict[State, float] = {}
        self._expected_files: dict[State, int] = {}
        self._progress: dict[State, StageProgress] = {}
        self._clock = clock
        self._changed = threading.Condition()
        self._has_data = False

    @property
    def donor_waits_seconds(self) -> float:
        """How long the donor keeps the snapshot after a broken connection."""
        return 60.0 * int(self.configs.get(DONOR_WAITS_SETTING, "5"))

    def enter(self, change: StateChange, sink: CloneSink, stream: int) -> None:
        """A state starts, as the main connection says: apply what DDL did, tell ``sink``, let workers go on.

        A state that was entered before may be entered again, after a break.
        """
        if not self.state <= change.state <= self.state + 1:
            raise ProtocolViolation(f"the state {change.state.name} starts in {self.state.name}")
        pages = self.files.apply_changes()
        if change.state is State.PAGE:
            self.files.check_received()
        for initial in pages:
            self.hand_over(_block_of(initial.index, initial.page), sink, stream)
        if change.state in _STAGES:
            sink.stage_started(_STAGES[change.state], change.estimate)
        with self._changed:
            if change.state not in self._progress:
                self._progress[change.state] = StageProgress(change.chunks)
                self._started_at[change.state] = self._clock.monotonic()
            self._expected_files[change.state] = change.files
            self.state = change.state
            self._changed.notify_all()

    def files_announced(self) -> None:
        """Tell those who wait for descriptions that there are more."""
        with self._changed:
            self._changed.notify_all()

    def progress(self, state: State, give_up: Callable[[], None]) -> StageProgress:
        """The progress of ``state``, once the main connection has entered it and knows all its files.

        A worker may be ahead of the main connection. ``give_up`` is asked meanwhile; it raises to end the
        wait.
        """
        with self._changed:
            while self.state < state or not self.knows_files(state):
                give_up()
                self._changed.wait(timeout=0.1)
        if state not in _STAGES or state < self.state:
            raise ProtocolViolation(f"data of the state {state.name} in {self.state.name}")
        return self._progress[state]

    def knows_files(self, state: State) -> bool:
        """Every file of the stage was announced. In the PAGE stage the donor counts pages instead."""
        if state is State.PAGE:
            return True
        return self.files.announced(state) >= self._expected_files.get(state, 0)

    def hand_over(self, block: Block, sink: CloneSink, stream: int) -> None:
        """Give ``block`` to ``sink``: from the first one on, a clone can be resumed, but not begun anew."""
        self._has_data = True
        sink.put(block, stream)

    def has_data(self) -> bool:
        return self._has_data

    def may_be_resumed(self) -> bool:
        """Before there is data, and unless chunks were chosen, it is as good to begin anew."""
        return self._has_data or self.skipped_bytes is not None

    def skip(self, chunks: frozenset[int]) -> None:
        """Chunks of the FILE stage, which was entered, count as received."""
        progress = self._progress[State.FILE]
        skipped = 0
        left = set(chunks)
        for file in self.files.announced_files(self.chunk_bytes):
            ours = left.intersection(range(file.first_chunk, file.last_chunk + 1))
            left -= ours
            skipped += self.files.skip(file, ours)
        if left:
            raise ValueError(f"no file has the chunks {sorted(left)[:10]}")
        for chunk in chunks:
            progress.finish(chunk)
        self.skipped_bytes = skipped

    def count(self, block: DataBlock, length: int) -> None:
        """``length`` bytes of ``block`` were handed over."""
        stage = _STAGES[block.state]
        with self._changed:
            self.bytes_by_stage[stage] += length

    def resume_locator(self) -> bytes:
        """What REINIT carries: the clone, the state we are in, and what of its data we have.

        A redo stage whose files are not all known is reported as not begun: the donor tells them again.
        """
        state = self.state
        if state is State.REDO and not self.knows_files(state):
            state = State.PAGE
        chunks = self._progress[state].summary() if state in self._progress else None
        locator = replace(
            self._own_locator(), state=state, files_known=self.knows_files(state), chunks=chunks
        )
        return encode_descriptor(locator)

    def outcome(self) -> CloneOutcome:
        """Raises ProtocolViolation when something is missing."""
        files = self.files.final_files()
        ends = [*(self._started_at[state] for state in (State.PAGE, State.REDO)), self._clock.monotonic()]
        starts = [self._started_at[state] for state in _STAGES]
        return CloneOutcome(
            files=files,
            directories=directories(files),
            configs=dict(self.configs),
            plugins=tuple(self.plugins),
            collations=tuple(self.collations),
            redo=self.redo.facts(self.files.redo_sizes()),
            bytes_by_stage=dict(self.bytes_by_stage),
            seconds_by_stage={
                stage: end - start for stage, start, end in zip(Stage, starts, ends, strict=True)
            },
            resumes=self.resumes,
            skipped_bytes=self.skipped_bytes or 0,
        )

    def _own_locator(self) -> Locator:
        return decode_locator(self.locator)

    def _note(self, response: Response) -> None:
        match response:
            case Config(key, value):
                self.configs[key] = value
            case Plugin(name):
                self.plugins.append(name)
            case Collation(name):
                self.collations.append(name)
            case Locators(version, locators):
                if len(locators) != 1 or locators[0][0] != INNODB:
                    raise ProtocolViolation(f"the donor sent {len(locators)} locators, not one of InnoDB")
                self.version, self.locator = version, locators[0][1]
                decode_locator(self.locator)
            case _:
                raise ProtocolViolation(f"INIT was answered by a {type(response).__name__}")

    def _config(self, key: str) -> str:
        if key not in self.configs:
            raise ProtocolViolation(f"the donor did not say its {key}")
        return self.configs[key]


_STAGES = {State.FILE: Stage.FILE, State.PAGE: Stage.PAGE, State.REDO: Stage.REDO}


def stage_of(state: State) -> Stage | None:
    """The stage of ``state``; INIT and DONE carry no data."""
    return _STAGES.get(state)


def _block_of(index: int, page: bytearray) -> Block:
    return Block(Stage.FILE, (Extent(index, 0, len(page)),), memoryview(page), lambda: None)
