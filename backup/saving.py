"""What the donor need not send: chunks of files in which no page changed since the base.

The donor's page tracking tells which pages changed. It is asked when the clone itself already tracks changes,
so no change falls between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleet.errors import Cancelled, ServerRefused, ToolError
from fleet.figures import plural
from repository.manifest import Manifest
from wire import admin
from wire.clone.outcome import AnnouncedFile, CloneOutcome
from wire.page_tracking import PageList, changed_pages, tracking_status, why_no_list
from wire.session import Session


def why_not_asked(session: Session, base: Manifest) -> str | None:
    """Why the donor's page tracking cannot save anything over ``base``; ``None`` if it can.

    Raises ServerUnreachable.
    """
    try:
        if (obstacle := why_no_list(session)) is not None:
            return f"the donor has no list of changed pages: {obstacle.message}"
        start_lsn = tracking_status(session).start_lsn
        if not _is_same_run(admin.started_at(session), base.donor.started_at):
            return f"the donor was started anew since {base.label}, and a crash may have cost it notes"
    except ServerRefused as error:
        # To save something is a favour: without it the backup takes longer, and is as good.
        return f"the donor does not tell of its page tracking: {error.message}"
    if start_lsn is None or start_lsn > base.lsn.checkpoint:
        return (
            f"the donor's page tracking is on since LSN {start_lsn}, "
            f"after the checkpoint of {base.label} at {base.lsn.checkpoint}"
        )
    return None


def _is_same_run(now: datetime, then: datetime | None) -> bool:
    """Did the same mysqld say both? After kill -9 the notes lack pages that were written just before."""
    return then is not None and abs(now - then) <= timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A tablespace file of the base. Bytes."""

    size: int
    page_size: int | None


class UnchangedChunks:
    """A ``ChunkChooser``: chunks that the base holds whole. Where the donor cannot tell, it chooses none."""

    def __init__(self, base: Manifest, connect: Callable[[], Session]) -> None:
        self._base = base
        self._connect = connect
        self._held = {
            (entry.space_id, entry.ordinal): HeldFile(entry.size, entry.page_size)
            for entry in base.files
            if entry.space_id is not None
        }
        self._told = ""

    def __call__(self, files: Sequence[AnnouncedFile]) -> frozenset[int]:
        try:
            with closing(self._connect()) as session:
                # Tracking that was switched off and on since the first look has forgotten what it knew.
                if reason := why_not_asked(session, self._base):
                    self._told = reason
                    return frozenset()
                changed = changed_pages(session, self._base.lsn.checkpoint)
        except Cancelled:
            raise
        except ToolError as error:
            self._told = f"the donor's list of changed pages could not be read: {error.message}"
            return frozenset()
        chosen = frozenset(unchanged_chunks(files, self._held, changed))
        chunks = sum(file.last_chunk - file.first_chunk + 1 for file in files)
        self._told = f"{plural(len(chosen), 'chunk')} of {chunks} without a change since {self._base.label}"
        return chosen

    def told(self, outcome: CloneOutcome) -> str:
        """What became of it, in a few words."""
        return outcome.why_not_skipped or self._told


def unchanged_chunks(
    files: Sequence[AnnouncedFile], held: dict[tuple[int, int], HeldFile], changed: PageList
) -> Iterator[int]:
    """Chunks of tablespace files that lie whole within the base's file, and have no changed page."""
    first_pages = _first_pages(files)
    for file in files:
        known = held.get((file.space_id, file.ordinal)) if file.space_id is not None else None
        if known is None or file.page_size is None or known.page_size != file.page_size:
            continue
        assert file.space_id is not None
        for number in range(file.last_chunk - file.first_chunk + 1):
            begin = number * file.chunk_bytes
            end = min(begin + file.chunk_bytes, file.size)
            if end > known.size:
                break
            first = first_pages[file.index] + begin // file.page_size
            last = first_pages[file.index] + (end - 1) // file.page_size
            if not changed.has_any(file.space_id, first, last):
                yield file.first_chunk + number


def _first_pages(files: Sequence[AnnouncedFile]) -> dict[int, int]:
    """By index: the page number, within its tablespace, of a file's first page."""
    ends: dict[int, int] = {}
    first: dict[int, int] = {}
    for file in sorted(files, key=lambda file: file.ordinal):
        if file.space_id is not None and file.page_size:
            first[file.index] = ends.get(file.space_id, 0)
            ends[file.space_id] = first[file.index] + file.size // file.page_size
    return first
