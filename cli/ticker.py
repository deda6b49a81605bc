"""What a command that runs on and on tells: news as lines, and on a terminal one line below that says how it
goes. In a pipe or a log only alarms are told, that they are over, and new epochs.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.status import Status
from rich.text import Text

from backup.archive.news import News
from cli.render import console
from fleet import figures
from fleet.errors import ToolError

GLANCE_SECONDS = 5.0

_TOLD_EVERYWHERE = frozenset({"recovered", "epoch"})


class Ticker:
    """``glance`` says in one line how it goes; it is asked every few seconds, on a terminal only."""

    def __init__(
        self, glance: Callable[[], str] | None = None, *, every_seconds: float = GLANCE_SECONDS
    ) -> None:
        self._glance = glance
        self._every_seconds = every_seconds
        self._console = console(stderr=True)
        self._status: Status | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._status = self._console.status("begins ...", spinner="dots")
            self._status.start()
            self._thread = threading.Thread(target=self._look, name="ticker", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._status is not None:
            self._status.stop()

    def tell(self, news: News) -> None:
        """Something happened; from any thread."""
        if self._status is None and not (news.is_alarm or news.kind in _TOLD_EVERYWHERE):
            return
        line = f"{figures.moment(news.at)}  {news.shard}  {news.kind}: {news.text}"
        if self._status is None:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
        else:
            self._console.print(Text(line, style="bold red" if news.is_alarm else ""))

    def say(self, text: str) -> None:
        """The line below, from now on."""
        if self._status is not None:
            self._status.update(text)

    def _look(self) -> None:
        while self._glance is not None and not self._ended.wait(self._every_seconds):
            # What keeps it from looking is told by the work itself.
            with suppress(ToolError):
                self.say(self._glance())
