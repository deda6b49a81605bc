"""``backstay`` as a user starts it: in a process of its own, with its answer read as text or as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROGRAM = Path(sys.executable).with_name("backstay")


class Door:
    """Runs ``backstay`` with one configuration, in a process of its own and a directory of its own."""

    def __init__(self, config: Path, directory: Path) -> None:
        self.config = config
        self.directory = directory

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [PROGRAM, *arguments],
            env=os.environ | {"BACKSTAY_CONFIG": str(self.config), "COLUMNS": "80"},
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, expect: int = 0) -> str:
        """What it prints on stdout; fails unless it ends with the exit code ``expect``."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=240)
        assert process.returncode == expect, (
            f"backstay {' '.join(arguments)}: {process.returncode}\n{out}\n{err}"
        )
        if "--json" not in arguments:
            # A line to be copied is never broken.
            copied = ("  export ", "  backstay ")
            assert all(len(line) <= 80 or line.startswith(copied) for line in out.splitlines()), out
        return out

    def json(self, *arguments: str, expect: int = 0) -> dict[str, Any]:
        return json.loads(self.run(*arguments, "--json", expect=expect))


def wait_for(what: str, seconds: float, is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"{what}: not in {seconds} s"
        time.sleep(0.05)
