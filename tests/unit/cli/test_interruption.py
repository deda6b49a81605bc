"""Ctrl-C and SIGTERM."""

from __future__ import annotations

import os
import signal
import time

import pytest

from cli.interruption import Interruption
from fleet.errors import Cancelled


def test_a_signal_stops_a_command_that_does_not_watch_for_it() -> None:
    interruption = Interruption()
    with interruption.listening(), pytest.raises(Cancelled, match="SIGTERM"):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert interruption.exit_code(Cancelled("")) == 143


def test_the_first_signal_asks_a_watching_room_and_the_second_insists() -> None:
    interruption = Interruption()
    with interruption.listening(), interruption.orderly() as asked:
        assert not asked.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        assert asked.wait(5)
        with pytest.raises(Cancelled, match="SIGINT"):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)


def test_the_signals_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interruption().listening():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
