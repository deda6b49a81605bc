"""Puts small segments together to larger objects, in the background: a day of one-second segments is many."""

from __future__ import annotations

import threading
from collections.abc import Callable

from backup.archive.news import NewsKind
from fleet.errors import ToolError
from repository.archive.archive import ShardArchive
from repository.layout import BinlogFile


class Composer:
    """One thread; whatever goes wrong in it is told, and leaves the small segments as they are.

    ``turn`` is shared by all shards of the process: composing holds its object several times in memory.
    """

    def __init__(
        self,
        archive: ShardArchive,
        target_bytes: int,
        turn: threading.Lock,
        tell: Callable[[NewsKind, str], None],
    ) -> None:
        self._turn = turn
        self._archive = archive
        self._target_bytes = target_bytes
        self._tell = tell
        self._changed = threading.Condition()
        self._files: dict[BinlogFile, bool] = {}
        self._is_ending = False
        self._has_told_of_locks = False
        self._thread = threading.Thread(target=self._run, name="archive-compose", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def add(self, file: BinlogFile, is_finished: bool) -> None:
        """This file has many pieces, or is finished: no more will come of it."""
        with self._changed:
            self._files[file] = is_finished or self._files.get(file, False)
            self._changed.notify()

    def end(self) -> None:
        """Begin nothing more. What is at work ends with the process: composing can be cut off anywhere."""
        with self._changed:
            self._is_ending = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def _run(self) -> None:
        while (found := self._next()) is not None:
            file, is_finished = found
            try:
                with self._turn:
                    if self._is_ending:
                        return
                    self._archive.compose(file, target_bytes=self._target_bytes, finished=is_finished)
                self._tell_of_locks()
            except ToolError as error:
                self._tell("warning", f"the segments of {file.file} stay small: {error.message}")

    def _tell_of_locks(self) -> None:
        """Once: from then on it is always so."""
        until = self._archive.locked.until
        if until is not None and not self._has_told_of_locks:
            self._has_told_of_locks = True
            self._tell(
                "locked",
                "small segments stay beside what they were put together to, for they are locked "
                f"until {until:%Y-%m-%d %H:%M} UTC, and so are those that come",
            )

    def _next(self) -> tuple[BinlogFile, bool] | None:
        with self._changed:
            while not self._files and not self._is_ending:
                self._changed.wait()
            if self._is_ending:
                return None
            file = next(iter(self._files))
            return file, self._files.pop(file)
