"""The command line itself, as others call it: what it prints, and commands that run until they are ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.cases import ROOT, Workplace
from benchmarks.shelf import Shelf
from fleet.errors import SandboxFailed

PATIENCE_SECONDS = 60.0


def cli_words(config: Path, *words: str) -> tuple[str, ...]:
    """The command line ``backstay --json --config CONFIG WORDS``."""
    return (sys.executable, "-m", "cli.app", "--json", "--config", str(config), *words)


def printed_json(log: Path) -> dict[str, Any]:
    """The one object that such a command printed, among other lines; empty if there is none."""
    text = log.read_text(errors="replace")
    begin = 0 if text.startswith("{\n") else text.find("\n{\n") + 1
    if not text.startswith("{\n", begin):
        return {}
    return dict(json.JSONDecoder().raw_decode(text, begin)[0])


@contextmanager
def running_archiver(place: Workplace, shelf: Shelf) -> Generator[None]:
    """An archiver of the shelf's repository; it follows the donor until the end."""
    log = place.scratch(f"archiver-{shelf.name}.log")
    with running(cli_words(shelf.config, "archive", "run"), place.environ(), log):
        yield


@contextmanager
def running(command: Sequence[str], environ: Mapping[str, str], log: Path) -> Generator[None]:
    """A process that is ended by SIGTERM. Raises SandboxFailed if it ended before, or badly."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=dict(environ), cwd=ROOT
        )
    try:
        yield
        early = process.poll()
        if early is not None:
            raise SandboxFailed(f"{log.stem} ended with {early} too soon: {log.read_text()[-300:]}")
        process.send_signal(signal.SIGTERM)
        if code := process.wait(PATIENCE_SECONDS):
            raise SandboxFailed(f"{log.stem} ended with {code}: {log.read_text()[-300:]}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
