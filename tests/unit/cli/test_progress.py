"""Bars are there on a terminal, and only there."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

WORK = """
import time
from cli.progress import Display

with Display("s1") as display:
    display.stage("file", 2_000_000_000)
    for _ in range(10):
        display.advance(100_000_000)
        time.sleep(0.1)
    display.stage("recover")
    time.sleep(0.6)
    display.reach(5, 10)
print("done")
"""


def on_a_terminal(code: str, *, columns: int = 80) -> str:
    """What a terminal of that width is sent on stderr."""
    leader, follower = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "LINES": "24", "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(
        [sys.executable, "-c", code], stderr=follower, stdout=subprocess.DEVNULL, env=environment
    ) as process:
        os.close(follower)
        screen = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            screen += part
    os.close(leader)
    assert process.returncode == 0
    return screen.decode()


def test_a_terminal_sees_stage_amount_rate_and_time_left() -> None:
    screen = on_a_terminal(WORK)
    assert "s1  files" in screen
    assert "of 2.00 GB" in screen
    assert "MB/s" in screen or "GB/s" in screen
    assert "left" in screen
    assert "s1  recovering" in screen


def test_a_pipe_sees_nothing() -> None:
    ran = subprocess.run([sys.executable, "-c", WORK], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("done\n", "")


def test_an_error_on_a_terminal_is_wrapped_between_words(tmp_path: Path) -> None:
    code = f"from cli.app import run\nrun(['config', 'check', '-c', {str(tmp_path / 'nowhere.toml')!r}])\n"
    lines = on_a_terminal(code, columns=60).replace("\r", "").splitlines()
    assert lines[0].startswith("error: there is no config file")
    hint = next(number for number, line in enumerate(lines) if line.startswith("hint: "))
    assert all(line.startswith("      ") and len(line) <= 60 for line in lines[hint + 1 :])


NOTE = """
from cli.progress import Display

with Display("s1") as display:
    display.stage("fetch", 10)
    display.note("without a lease: the store [is] read-only")
print("done")
"""


def test_a_note_stays_on_a_terminal_and_in_a_log() -> None:
    assert "note: s1: without a lease: the store [is] read-only" in on_a_terminal(NOTE)
    ran = subprocess.run([sys.executable, "-c", NOTE], capture_output=True, text=True, check=True)
    assert ran.stdout == "done\n"
    assert ran.stderr.splitlines() == ["note: s1: without a lease: the store [is] read-only"]
