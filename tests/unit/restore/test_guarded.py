"""A child process that cannot outlive its owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from restore.guarded import GuardedProcess

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.01)


def test_its_exit_status_is_told(tmp_path: Path) -> None:
    process = GuardedProcess([sys.executable, "-c", "raise SystemExit(7)"], tmp_path / "console")
    assert process.wait(10) == 7
    assert process.poll() == 7


def test_terminate_ends_it_and_tells_the_signal(tmp_path: Path) -> None:
    process = GuardedProcess(SLEEPER, tmp_path / "console")
    assert process.pid is not None
    assert process.poll() is None
    process.terminate()
    assert process.wait(10) == 128 + signal.SIGTERM
    assert not is_alive(process.pid)


def test_kill_ends_one_that_ignores_to_be_terminated(tmp_path: Path) -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('on', flush=True); time.sleep(60)"
    )
    console = tmp_path / "console"
    process = GuardedProcess([sys.executable, "-c", stubborn], console)
    while "on" not in console.read_text():
        time.sleep(0.01)
    process.terminate()
    assert process.wait(0.2) is None
    process.kill()
    assert process.pid is not None
    assert not is_alive(process.pid)


def test_a_program_that_is_not_there_is_told_on_the_console(tmp_path: Path) -> None:
    process = GuardedProcess(["/nowhere/mysqld"], tmp_path / "console")
    assert process.pid is None
    assert process.wait(10) == 127
    assert "/nowhere/mysqld cannot be started" in (tmp_path / "console").read_text()


def test_it_dies_when_its_owner_is_killed(tmp_path: Path) -> None:
    pid = _pid_of_child_of_killed_owner(tmp_path, leave=False)
    wait_until_gone(pid)


def test_once_left_it_outlives_its_owner(tmp_path: Path) -> None:
    pid = _pid_of_child_of_killed_owner(tmp_path, leave=True)
    try:
        time.sleep(0.3)
        assert is_alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def _pid_of_child_of_killed_owner(tmp_path: Path, *, leave: bool) -> int:
    program = f"""
import time
from pathlib import Path
from restore.guarded import GuardedProcess
process = GuardedProcess({SLEEPER!r}, Path({str(tmp_path / "console")!r}))
if {leave}:
    process.leave()
print(process.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert is_alive(pid)
        owner.kill()
    return pid


def test_one_that_cannot_be_started_leaves_no_connection(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError) as found:
        GuardedProcess(["true"], tmp_path / "nowhere" / "console")
    # While somebody still holds the error, and with it all that it passed through.
    assert set(os.listdir("/proc/self/fd")) == before, found
