"""Free TCP ports on the loopback interface."""

from __future__ import annotations

import random
import socket
from pathlib import Path

from fleet.errors import SandboxFailed

_LOWEST = 10_000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_ports(count: int, *, lowest: int = _LOWEST, highest: int | None = None) -> list[int]:
    """``count`` different ports that nobody listens on now.

    They lie below the range from which the kernel takes ports for outgoing connections: a stopped server
    would else find its port taken by somebody's client when it starts again.
    Raises SandboxFailed if there are not enough.
    """
    highest = _first_ephemeral() - 1 if highest is None else highest
    candidates = random.sample(range(lowest, highest + 1), highest + 1 - lowest)
    found: list[int] = []
    for port in candidates:
        if len(found) == count:
            return found
        if _is_free(port):
            found.append(port)
    if len(found) == count:
        return found
    raise SandboxFailed(f"found {len(found)} free ports between {lowest} and {highest}, needed {count}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: connections of an ended server, waiting to be forgotten, must not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _first_ephemeral() -> int:
    try:
        first = int(_RANGE.read_text().split()[0])
    except (OSError, ValueError):
        return 32768
    return first if first > _LOWEST + 1000 else 32768
