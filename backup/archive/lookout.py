"""Looks around while events come in: a source can stop to be the right one without a word.

An old primary that is made a replica goes on sending; and a dump that was open when RESET BINARY LOGS was run
waits for ever at a place that no longer exists (seen with MySQL 9.7). So the servers are asked every few
seconds, and the receiver hangs up when there is a reason: what then is to be done, it finds out anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import NamedTuple

from backup.archive.sources import SourceChoice
from backup.archive.spool import Tail
from backup.archive.survey import Survey
from fleet.errors import ToolError
from fleet.gtid import GtidSet
from wire.binlog_admin import binlog_files
from wire.session import Session

LOOK_SECONDS = 5.0


class Sight(NamedTuple):
    """What one look saw, beside what had been received before it. ``sizes``: the source's files."""

    choice: SourceChoice
    tail: Tail | None
    sizes: Mapping[str, int]
    archived: GtidSet


def why_leave(following: SourceChoice, sight: Sight, lost_before: GtidSet) -> str | None:
    """Why the source should be left, or None. Pure.

    ``lost_before``: what the source lacked at the look before. A commit that waits for its acknowledgement is
    archived before the source counts it, but it does not wait for two looks.
    """
    now = sight.choice
    if now.line_uuid != following.line_uuid:
        return f"the primary is {now.line_name or now.line_uuid} now"
    if now.source.uuid != following.source.uuid:
        return None
    tail = sight.tail
    if tail is not None and tail.file.server_uuid == now.source.uuid:
        size = sight.sizes.get(tail.file.file)
        if size is None:
            return f"{now.source.name} no longer has {tail.file.file}"
        if size < tail.end:
            return f"{tail.file.file} of {now.source.name} has {size} bytes, and {tail.end} were received"
    if now.source.uuid == now.line_uuid and lost_before & lost(sight):
        return f"{now.source.name} lacks transactions that it sent before"
    return None


def lost(sight: Sight) -> GtidSet:
    """Transactions that are archived, and that the source does not have (yet)."""
    return sight.archived - sight.choice.source.executed


class Lookout:
    """A thread that looks while one connection lasts. A context manager; ``leave`` is called once at most."""

    def __init__(
        self,
        following: SourceChoice,
        *,
        survey: Callable[[], Survey],
        choose: Callable[[Survey], SourceChoice],
        connect: Callable[[], Session],
        received: Callable[[], tuple[Tail | None, GtidSet]],
        leave: Callable[[str], None],
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._following = following
        self._survey = survey
        self._choose = choose
        self._connect = connect
        self._received = received
        self._leave = leave
        self._look_seconds = look_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="archive-lookout", daemon=True)

    def __enter__(self) -> Lookout:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(self._look_seconds)

    def _run(self) -> None:
        before = GtidSet()
        while not self._stopping.wait(self._look_seconds):
            try:
                sight = self._look()
            except ToolError:
                # A server that does not answer: if it is the source, the dump's own silence will tell.
                continue
            reason = why_leave(self._following, sight, before)
            if reason is not None and not self._stopping.is_set():
                self._leave(reason)
                return
            before = lost(sight)

    def _look(self) -> Sight:
        # First what was received: it must be there in what the source says afterwards.
        tail, archived = self._received()
        choice = self._choose(self._survey())
        sizes: dict[str, int] = {}
        if choice.source.uuid == self._following.source.uuid:
            with closing(self._connect()) as session:
                sizes = {file.name: file.size_bytes for file in binlog_files(session)}
        return Sight(choice, tail, sizes, archived)
