"""Which process is it, among all of all machines, and is it still there?"""

from __future__ import annotations

import os
import re
import socket
from contextlib import suppress
from pathlib import Path

_PARTS = 4
_ENDED = "ended"


def host_and_pid() -> str:
    """This process for people to read, in printable ASCII and at most 220 characters."""
    return f"{host_name()}:{os.getpid()}"


def host_name() -> str:
    """This machine for people to read, in printable ASCII and at most 200 characters."""
    return re.sub(r"[^!-~]", "?", socket.gethostname())[:200]


def this_process() -> str | None:
    """A mark of this process that no other ever has: boot, process namespace, pid and start, with ``/``.

    ``None`` where the kernel does not tell them.
    """
    seen = _here()
    start = _start_of(os.getpid())
    return f"{seen}/{os.getpid()}/{start}" if seen is not None and start is not None else None


def is_here(mark: str | None) -> bool:
    """Does the process that ``mark`` is of run here and now? False where that cannot be told."""
    parts = mark.split("/") if mark is not None else []
    if len(parts) != _PARTS or "/".join(parts[:2]) != _here() or not re.fullmatch("[0-9]{1,7}", parts[2]):
        return False
    return _start_of(int(parts[2])) == parts[3] != _ENDED


def is_gone(mark: str | None) -> bool:
    """Did the process that ``mark`` is of end? False where that cannot be told, as from another machine."""
    parts = mark.split("/") if mark is not None else []
    if len(parts) != _PARTS or "/".join(parts[:2]) != _here():
        return False
    if not (parts[2].isascii() and parts[2].isdigit()) or int(parts[2]) > 2**22:
        return False
    pid = int(parts[2])
    try:
        # /proc may hide the processes of others; this tells that they are there all the same.
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    start = _start_of(pid)
    return start is not None and start != parts[3]


def _here() -> str | None:
    """This boot of this machine, and what its processes are numbered in: containers share the one alone."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = Path("/proc/self/ns/pid").stat().st_ino
        return f"{boot}/{space}"
    return None


def _start_of(pid: int) -> str | None:
    """When a process began, in ticks since boot; ``ended`` for one that only its parent still knows of."""
    with suppress(OSError, IndexError):
        # The name, in brackets, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return _ENDED if fields[0] in "ZX" else fields[19]
    return None
