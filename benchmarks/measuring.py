"""Run one command and measure it: wall time until all it wrote is durable, CPU, memory, bytes written.

CPU time of the command is that of its whole process tree (``wait4`` adds up what was waited for). Servers
that work for it, the donor and the object store, are watched apart, by ``/proc/<pid>/stat`` before and after.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fleet.errors import SandboxFailed

_TICKS = os.sysconf("SC_CLK_TCK")
_SAMPLE_SECONDS = 0.1
_PROC = Path("/proc")


@dataclass(frozen=True)
class Usage:
    """What one run took.

    ``seconds``: wall time with the final sync. ``cpu_seconds``: user and system time of the process tree.
    ``peak_bytes``: the highest sum of the resident high-water marks of processes that ran at the same time.
    ``servers_cpu_seconds``: what each watched server used meanwhile. ``others_cpu_seconds``: what all else on
    the machine used, and what its host took from it: noise.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    servers_cpu_seconds: dict[str, float] = field(default_factory=dict[str, float])
    others_cpu_seconds: float = 0.0

    @property
    def noise(self) -> float:
        """The part of the machine's processors that others used, 0 to 1."""
        return self.others_cpu_seconds / (self.seconds * (os.cpu_count() or 1))


def run_measured(
    command: Sequence[str],
    *,
    environ: Mapping[str, str],
    servers: Mapping[str, int],
    durable: Path | None,
    log: Path,
) -> Usage:
    """Run ``command`` in a session of its own, then wait until ``durable`` (a file or tree) is on disk.

    ``servers``: pids to watch, by name. What the command prints goes to the file ``log``.
    Raises SandboxFailed if the command ends badly: its figures then mean nothing.
    """
    before = {name: tree_cpu_seconds(pid) for name, pid in servers.items()}
    machine_before = machine_cpu_seconds()
    with log.open("wb") as output:
        started = time.monotonic()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=dict(environ),
            start_new_session=True,
        )  # fmt: skip
        watch = _MemoryWatch(process.pid)
        watch.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            os.killpg(process.pid, 9)
            process.wait()
            raise
        finally:
            watch.stop()
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SandboxFailed(f"{Path(command[0]).name} ended with {process.returncode}: {_last_words(log)}")
    if durable is not None:
        sync_tree(durable)
    seconds = time.monotonic() - started
    after = {name: tree_cpu_seconds(pid) - before[name] for name, pid in servers.items()}
    own = used.ru_utime + used.ru_stime
    others = machine_cpu_seconds() - machine_before - own - sum(after.values())
    return Usage(seconds, own, watch.peak_bytes, after, max(0.0, others))


def sync_tree(path: Path) -> None:
    """Wait until a file, or all files below a directory, are on disk with their names."""
    if path.is_dir():
        for directory, _, names in os.walk(path):
            for name in names:
                _sync(Path(directory) / name)
            _sync(Path(directory))
    else:
        _sync(path)
        _sync(path.parent)


def size_of_tree(path: Path) -> int:
    """Bytes in a file, or in all files below a directory."""
    if not path.is_dir():
        return path.stat().st_size if path.exists() else 0
    return sum((Path(folder) / name).lstat().st_size for folder, _, names in os.walk(path) for name in names)


def settle() -> bool:
    """Write back what is dirty and drop the page cache. False if the kernel does not let us drop it."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
    except OSError:
        return False
    return True


def tree_cpu_seconds(pid: int) -> float:
    """CPU seconds that a process, and all of its children that live or were waited for, used so far."""
    fields = _stat(pid)
    if not fields:
        return 0.0
    own = sum(int(ticks) for ticks in fields[11:15]) / _TICKS
    return own + sum(tree_cpu_seconds(child) for child in _children(pid))


def machine_cpu_seconds() -> float:
    """CPU seconds that anything used since the boot, with what the host took: all but idling."""
    fields = [int(ticks) for ticks in (_PROC / "stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(fields) - sum(fields[3:5])) / _TICKS


class _MemoryWatch(threading.Thread):
    """Looks at the memory of one session's processes ten times a second."""

    def __init__(self, session: int) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self._session = session
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(_SAMPLE_SECONDS):
            self.peak_bytes = max(self.peak_bytes, _session_bytes(self._session))

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def _session_bytes(session: int) -> int:
    pids = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
    return sum(_high_water(pid) for pid in pids if _session_of(pid) == session)


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return -1


def _high_water(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def _children(pid: int) -> list[int]:
    try:
        text = (_PROC / str(pid) / "task" / str(pid) / "children").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for child in text.split()]


def _stat(pid: int) -> list[str]:
    """Fields of ``/proc/<pid>/stat`` from the third on."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()


def _sync(path: Path) -> None:
    if path.is_symlink():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return " / ".join(lines[-3:]) or "it printed nothing"
