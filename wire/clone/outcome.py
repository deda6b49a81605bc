"""What a clone is asked for, what it hands over, and what is known when it is complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from fleet.blocks import Block, Stage
from wire.clone.pages import PageSize

ExternalTablespaces = Literal["refuse", "into-datadir"]


@dataclass(frozen=True)
class CloneOptions:
    """How to clone. ``connections`` carry data (1 to 4); one more carries ACKs.

    ``stall_seconds``: how long a reader may be away from its socket before the donor is let go;
    ``resume_wait_seconds``: how long the clone may then wait to be resumed. ``block_ddl`` makes the donor
    take its backup lock for the whole copy. ``rate_bytes_per_second`` limits all connections together; the
    donor pins a file while a block of 1 MiB is read, so below some MB/s a RENAME of the table waits for it.
    """

    connections: int = 2
    ddl_timeout_seconds: int = 300
    stall_seconds: float = 2.0
    resume_wait_seconds: float = 240.0
    block_ddl: bool = False
    external_tablespaces: ExternalTablespaces = "refuse"
    rate_bytes_per_second: int | None = None


class CloneSink(Protocol):
    """Where the blocks go. An error that any method raises ends the clone, and is raised by ``run``.

    A stage may be started twice (a clone that was resumed, or begun again before it had data), and so may be
    acknowledged; no byte of a file is handed over twice in one stage.
    """

    def put(self, block: Block, stream: int) -> None:
        """Take over ``block``; called from the reader threads, and should return within the stall bound."""
        ...

    def has_room(self) -> bool:
        """After a stall: may the stream be resumed?"""
        ...

    def before_ack(self, stage: Stage) -> None:
        """All data of ``stage`` was handed over; the donor waits. Called from the thread of ``run``."""
        ...

    def stage_started(self, stage: Stage, estimate_bytes: int) -> None:
        """Called from a reader thread, before the first block of ``stage``."""
        ...


@dataclass(frozen=True, slots=True)
class AnnouncedFile:
    """A file that is about to be copied in the FILE stage; sizes in bytes.

    Chunk ``first_chunk + n`` has the bytes from ``n * chunk_bytes`` on; no chunk has bytes of two files.
    ``space_id`` and ``page_size`` (physical) are ``None`` for what is no tablespace; ``ordinal`` counts the
    files of one tablespace, from 0.
    """

    index: int
    name: str
    space_id: int | None
    ordinal: int
    size: int
    page_size: int | None
    first_chunk: int
    last_chunk: int
    chunk_bytes: int


class ChunkChooser(Protocol):
    """Says which chunks of the FILE stage the donor need not send, by number.

    Called once, from the thread of ``run``, when every file is announced and the donor tracks the pages that
    it changes from now on, so what the donor says of earlier changes, asked here, leaves no gap. The donor
    keeps the snapshot for ``clone_donor_timeout_after_network_failure`` meanwhile (5 minutes by default).
    What it raises ends the clone; the donor is free then.
    """

    def __call__(self, files: Sequence[AnnouncedFile]) -> frozenset[int]: ...


class SpaceFile(NamedTuple):
    """Which tablespace a file belongs to, as which of its files (from 0), and the size of its pages."""

    space_id: int
    ordinal: int
    page_size: PageSize


@dataclass(frozen=True, slots=True)
class CloneFile:
    """A file of the data directory to be. ``index`` is the ``Extent.file`` of its blocks.

    ``name`` is relative and safe to join to a directory; ``size`` in bytes; what no block covers is zeros.
    ``space_id`` and ``page_size`` (physical, in bytes) are ``None`` for what is no tablespace.
    """

    index: int
    name: str
    space_id: int | None
    size: int
    page_size: int | None


@dataclass(frozen=True, slots=True)
class RedoFacts:
    """What the redo log of the clone says of itself; LSNs are InnoDB's log sequence numbers.

    ``checkpoint_lsn``: pages changed before it are whole in the files; recovery starts there.
    ``end_lsn``: where recovery ends, the moment that the clone shows.
    """

    start_lsn: int
    checkpoint_lsn: int
    end_lsn: int


@dataclass(frozen=True)
class CloneOutcome:
    """A complete clone. ``files`` are the final ones: dropped left out, renamed by their last name.

    ``skipped_bytes`` of them the donor did not send in the FILE stage, as it was asked to; if it would not
    leave them out, ``why_not_skipped`` is the reason, and everything came.
    """

    files: tuple[CloneFile, ...]
    directories: tuple[str, ...]
    configs: Mapping[str, str]
    plugins: tuple[str, ...]
    collations: tuple[str, ...]
    redo: RedoFacts
    bytes_by_stage: Mapping[Stage, int] = field(default_factory=dict[Stage, int])
    seconds_by_stage: Mapping[Stage, float] = field(default_factory=dict[Stage, float])
    resumes: int = 0
    skipped_bytes: int = 0
    why_not_skipped: str | None = None
