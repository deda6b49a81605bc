"""Start, watch and signal processes of our own, and never one that merely got a recycled pid.

A process is known by its pid, its start time in clock ticks and the boot it belongs to (``/proc/<pid>/stat``,
field 22). Each also carries its sandbox's directory in its environment, so that one which was started just
before its parent was killed is found although nobody wrote it down.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from fleet.errors import SandboxFailed

MARK = "BACKSTAY_SANDBOX_OWNER"
_SHOWN_SECONDS = 10.0


class Process(NamedTuple):
    """One process that ran or runs: ``start_ticks`` counts from the start of the boot ``boot_id``."""

    pid: int
    start_ticks: int
    boot_id: str


def spawn(command: Sequence[str | Path], *, owner: Path, output: Path, environ: Mapping[str, str]) -> Process:
    """Start ``command`` in a session of its own; what it prints is appended to the file ``output``.

    ``owner``: the directory by which ``find_owned`` finds it. Raises SandboxFailed if it cannot be started.
    """
    words = [str(word) for word in command]
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(output), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    marked = {**environ, MARK: str(owner.resolve())}
    try:
        pid = os.posix_spawn(words[0], words, marked, file_actions=actions, setsid=True)
    except OSError as error:
        raise SandboxFailed(f"could not start {words[0]}: {error.strerror}") from error
    found = identify(pid)
    if found is None:  # our own child stays in /proc at least as a zombie, until it is reaped
        raise SandboxFailed(f"could not find the process {pid}, just started, in /proc")
    _wait_marked(found)
    return found


def identify(pid: int) -> Process | None:
    """The process that has this pid now, dead but not reaped ones included; None if there is none."""
    fields = _stat(pid)
    return Process(pid, int(fields[19]), _boot_id()) if fields else None


def is_alive(process: Process) -> bool:
    """Does this very process still run? A frozen one does; one that ended but was not yet reaped does not."""
    with _pinned(process) as descriptor:
        return descriptor is not None and not _has_ended(descriptor, 0)


def send(process: Process, number: signal.Signals) -> bool:
    """Send a signal to this very process. False if it is gone."""
    with _pinned(process) as descriptor:
        if descriptor is None or _has_ended(descriptor, 0):
            return False
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, number)
            return True
        return False


def send_group(process: Process, number: signal.Signals) -> bool:
    """Send a signal to the whole group that this process leads. False if it is gone."""
    if not is_alive(process):
        return False
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
        return True
    return False


def wait_gone(process: Process, timeout_seconds: float) -> bool:
    """Wait until the process ended, and reap it if it is our child. False if it runs at the deadline."""
    with _pinned(process) as descriptor:
        if descriptor is not None and not _has_ended(descriptor, timeout_seconds):
            return False
    reap(process)
    return True


def reap(process: Process) -> None:
    """Take a child that ended out of the process table; anything else is left alone."""
    with suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)


def end(process: Process, *, grace_seconds: float) -> None:
    """Ask the process to stop, and kill it if it has not within ``grace_seconds``."""
    send_group(process, signal.SIGCONT)
    if send(process, signal.SIGTERM) and not wait_gone(process, grace_seconds):
        kill(process)
    reap(process)


def kill(process: Process) -> None:
    """End the process at once, as a power failure would, and wait until it is gone."""
    if send(process, signal.SIGKILL) and not wait_gone(process, 30):
        raise SandboxFailed(f"process {process.pid} does not die", hint="Does it hang in a dead disk?")
    reap(process)


def find_owned(owner: Path) -> list[Process]:
    """All running processes that were started for this directory or one below it, by whomever."""
    directory = owner.resolve()
    found: list[Process] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environ = (entry / "environ").read_bytes()
        except OSError:  # ended meanwhile, or another user's
            continue
        mark = next((word for word in environ.split(b"\0") if word.startswith(f"{MARK}=".encode())), None)
        if mark is None:
            continue
        marked = Path(os.fsdecode(mark.partition(b"=")[2]))
        process = identify(int(entry.name)) if marked.is_relative_to(directory) else None
        if process is not None and is_alive(process):
            found.append(process)
    return found


def has_argument(process: Process, word: str) -> bool:
    """Was the process started with this argument?"""
    try:
        return word.encode() in Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def _wait_marked(process: Process) -> None:
    """Wait until the kernel shows the new program's environment, or the program has ended.

    The call that starts it returns some microseconds earlier; until then ``find_owned`` would miss it.
    """
    deadline = time.monotonic() + _SHOWN_SECONDS
    while is_alive(process) and time.monotonic() < deadline:
        with suppress(OSError):
            if Path(f"/proc/{process.pid}/environ").read_bytes():
                return
        time.sleep(0.001)


@contextmanager
def _pinned(process: Process) -> Generator[int | None]:
    """A descriptor that stands for this very process and no later one of the same pid; None if it is gone."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        yield None
        return
    try:
        # Opened first and compared then: what agrees now is what the descriptor pins.
        yield descriptor if identify(process.pid) == process else None
    finally:
        os.close(descriptor)


def _has_ended(descriptor: int, timeout_seconds: float) -> bool:
    # Its state in /proc will not do: of a dying server the first thread is a zombie before the last is gone.
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(timeout_seconds * 1000))


def _stat(pid: int) -> list[str]:
    """Fields of ``/proc/<pid>/stat`` from the third (the state) on."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    # The second field, the program's name in parentheses, may itself hold blanks and parentheses.
    return text.rpartition(")")[2].split()


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
