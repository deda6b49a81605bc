"""The part that looks at the fleet and shows it. It is ``python -m flows.service.page``, with a listening
socket as its standard input.
"""

from __future__ import annotations

import signal
import socket
import sys
import threading
from types import FrameType

from fleet.clock import SystemClock
from fleet.config import load
from fleet.state_place import state_directory
from flows.service.sight import Sight
from flows.service.web import PageServer


def main() -> int:
    """Look and show until SIGTERM. The configuration is the one of the environment."""
    fleet = load()
    cancelled = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        cancelled.set()

    signal.signal(signal.SIGTERM, end)
    directory = state_directory(fleet)
    sight = Sight(fleet, directory, SystemClock(), _say)
    server = PageServer(socket.socket(fileno=0), sight.latest, directory, _say)
    threading.Thread(target=server.serve_forever, name="web", daemon=True).start()
    sight.run(cancelled)
    return 0


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
