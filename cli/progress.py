"""Bars with rate and time left, on stderr and only on a terminal; a pipe or a log sees nothing of them."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from cli.render import console
from fleet import figures

if TYPE_CHECKING:
    from restore.replay import ReplayState

_REFRESHES_PER_SECOND = 4
_STAGES = {
    "file": "files",
    "page": "changed pages",
    "redo": "redo log",
    "fetch": "fetching",
    "recover": "recovering",
    "prove": "proving",
    "replay": "replaying",
    "compare": "comparing",
}


class Row:
    """One line that follows a piece of work through its stages. All methods may be called from any thread.

    ``title`` says what is at work (a shard). Without ``bars`` nobody watches.
    """

    def __init__(self, title: str, bars: Progress | None) -> None:
        self._title = title
        self._lock = threading.Lock()
        self._bars = bars
        self._task: TaskID | None = None
        self._is_counting = False

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        """A new stage has begun; ``None`` when nobody knows how many bytes it has."""
        if self._bars is None:
            return
        with self._lock:
            if self._task is not None:
                self._bars.remove_task(self._task)
            self._is_counting = False
            name = _STAGES.get(name, name)
            description = f"{self._title}  {name}" if self._title else name
            self._task = self._bars.add_task(description, total=total_bytes or None)

    def advance(self, count_bytes: int) -> None:
        """So many bytes more of the present stage are done."""
        with self._lock:
            if self._bars is not None and self._task is not None:
                self._bars.advance(self._task, count_bytes)

    def note(self, text: str) -> None:
        """Something worth knowing: a line that stays, above the bars, and in a log."""
        told = f"{self._title}: {text}" if self._title else text
        (self._bars.console if self._bars is not None else console(stderr=True)).print(
            f"note: {told}", markup=False
        )

    def replay(self, state: ReplayState) -> None:
        """A replay has come so far; it is counted in transactions."""
        if self._bars is None:
            return
        if not self._is_counting:
            self.stage("replay", state.total)
        text = counted(state.transactions, state.total, state.rate, state.eta_seconds)
        with self._lock:
            self._is_counting = True
            if self._task is not None:
                self._bars.update(self._task, completed=state.transactions, total=state.total, text=text)

    def say(self, text: str) -> None:
        """How it goes, in words; for work that has no end to count down to."""
        if self._bars is None:
            return
        if not self._is_counting:
            self.stage("")
        with self._lock:
            self._is_counting = True
            if self._task is not None:
                self._bars.update(self._task, text=text)

    def reach(self, done_bytes: int, total_bytes: int) -> None:
        """So many bytes of so many of the present stage are done."""
        with self._lock:
            if self._bars is not None and self._task is not None:
                self._bars.update(self._task, completed=done_bytes, total=total_bytes or None)


class Display(Row):
    """One row, which is gone when the work is done."""

    def __init__(self, title: str = "") -> None:
        super().__init__(title, _bars() if sys.stderr.isatty() else None)

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()


class Board:
    """A row for each of several pieces of work at once; all are gone when the work is done."""

    def __init__(self) -> None:
        self._bars = _bars() if sys.stderr.isatty() else None

    def row(self, title: str) -> Row:
        """A new row at the bottom."""
        return Row(title, self._bars)

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()


def _bars() -> Progress:
    return Progress(
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        BarColumn(
            bar_width=None,
            style="bright_black",
            complete_style="cyan",
            finished_style="cyan",
            pulse_style="cyan",
            table_column=Column(ratio=1, min_width=4),
        ),
        _Measured(table_column=Column(no_wrap=True)),
        console=console(stderr=True),
        expand=True,
        transient=True,
        refresh_per_second=_REFRESHES_PER_SECOND,
    )


class _Measured(ProgressColumn):
    """Done and total, rate and time left; where bytes mean nothing, the time it takes."""

    def render(self, task: Task) -> Text:
        if text := task.fields.get("text"):
            return Text(text, no_wrap=True)
        if not task.completed and not task.total:
            return Text(figures.countdown(task.elapsed or 0), no_wrap=True)
        return Text(measured(task.completed, task.total, task.speed, task.time_remaining), no_wrap=True)


def counted(done: int, total: int, rate: float, seconds_left: float | None) -> str:
    """``12,345 of 300,000 transactions  2,900/s     1:40 left``, as much of it as is known."""
    text = f"{figures.number(done)} of {figures.plural(total, 'transaction')}"
    text += f"  {f'{rate:,.0f}/s' if rate else '':>8}"
    return text if seconds_left is None else f"{text}  {figures.countdown(seconds_left):>7} left"


def measured(done: float, total: float | None, speed: float | None, seconds_left: float | None) -> str:
    """``1.08 of 2.09 GB   204 MB/s     0:05 left``, as much of it as is known."""
    if not done:
        return ""
    text = figures.part(done, total) if total else figures.size(done)
    text += f"  {figures.rate(speed, 1) if speed else '':>9}"
    if seconds_left is not None and total:
        text += f"  {figures.countdown(seconds_left):>7} left"
    return text
