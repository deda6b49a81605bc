"""Ctrl-C and SIGTERM: the first one asks, the second one insists."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from fleet.errors import Cancelled

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """What a signal means at this moment.

    Inside ``orderly`` the first signal sets ``asked``, and the room at work comes to a clean end by itself;
    a second one, and any signal elsewhere, raises ``Cancelled`` in the main thread at once.
    """

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.signal: signal.Signals | None = None
        self._is_orderly = False

    def exit_code(self, error: Cancelled) -> int:
        """130 after Ctrl-C, 143 after SIGTERM: 128 and the number of the signal."""
        return error.exit_code if self.signal is None else 128 + self.signal

    @contextmanager
    def orderly(self) -> Generator[threading.Event]:
        """While a room watches the event that is given here, it may end its work in order."""
        self._is_orderly = True
        try:
            yield self.asked
        finally:
            self._is_orderly = False

    @contextmanager
    def listening(self) -> Generator[None]:
        """Take the signals over, and give them back."""
        before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        try:
            yield
        finally:
            for number, receiver in before.items():
                signal.signal(number, receiver)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        is_first = not self.asked.is_set()
        self.signal = signal.Signals(number)
        self.asked.set()
        if not (self._is_orderly and is_first):
            raise Cancelled(f"stopped by {self.signal.name}")
