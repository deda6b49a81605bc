"""``python -m benchmarks serve``: what ``backstay serve`` takes on a sandbox of two shards.

The service is started twice: with no state, when the scheduler makes its database, and with what the first
start left. Both are measured until its page says that every part runs and every shard can be recovered. Then
it is left alone: memory is the proportional set size of all its processes, CPU what they use in half a minute
in which no run is due.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks.cases import ROOT
from benchmarks.measuring import machine_cpu_seconds, tree_cpu_seconds
from benchmarks.story import Aim, Sheet, Told, megabytes, shown
from drills.status.service_state import read_service
from fleet.config import load
from fleet.errors import SandboxFailed
from flows.service.leash import children_of
from infra.sandbox.fleet import SandboxFleet

SHARDS = 2
START_SECONDS, MEMORY_MB, REST_PERCENT = 20.0, 900.0, 5.0
REST_SECONDS = 30.0
LONGEST_START_SECONDS = 300.0
_CYCLE_SECONDS = 300.0
_QUIET_AFTER = ((40.0, 80.0), (165.0, 260.0))
"""In each five minutes there are two runs, at 0:00 and 2:00; between these seconds half a minute has none."""
_FIRST_RUN_SECONDS = 15.0
"""So long the run may take that every start begins."""

Say = Callable[[str], None]


class Resting(NamedTuple):
    """One part at rest: bytes of memory, the part of a core that it uses."""

    part: str
    processes: int
    pss_bytes: int
    core: float


def play(directory: Path, say: Say) -> Told:
    """Start it twice, let it rest, end it. Raises SandboxFailed."""
    with ExitStack() as stack:
        say(f"starting {SHARDS} shards")
        fleet = SandboxFleet.up(directory / "fleet", shards=SHARDS, progress=say)
        stack.callback(fleet.down)
        for words in (["init"], ["backup", "full", "--all"]):
            _run(fleet.config_path, *words)
        say("the first start")
        first, service = _started(fleet.config_path, directory)
        stack.callback(_kill, service)
        _end(service)
        say("the second start")
        second, service = _started(fleet.config_path, directory)
        stack.callback(_kill, service)
        state = load(fleet.config_path).service.directory or directory
        _wait_for_quiet(say)
        say(f"at rest for {REST_SECONDS:.0f} s")
        resting, others = _at_rest(service.pid, _parts(state))
        _end(service)
    return told(first, second, resting, others)


def told(first: float, second: float, resting: tuple[Resting, ...], others: float) -> Told:
    """The tables and the aims. ``others``: the part of the machine that others used meanwhile."""
    rows = tuple(
        (each.part, str(each.processes), megabytes(each.pss_bytes), shown(each.core * 100))
        for each in resting
    )
    memory, core = sum(each.pss_bytes for each in resting), sum(each.core for each in resting)
    total = ("all", str(sum(each.processes for each in resting)), megabytes(memory), shown(core * 100))
    starts = (("with no state", shown(first)), ("with what that one left", shown(second)))
    return Told(
        "serve",
        {"shards": str(SHARDS)},
        (),
        (
            Sheet("from its start until all is well", ("", "s"), starts),
            Sheet("at rest", ("", "processes", "PSS MB", "% of a core"), (*rows, total)),
        ),
        (
            Aim("first start until all is well, seconds", first, START_SECONDS),
            Aim("memory at rest, MB", memory / 1e6, MEMORY_MB),
            Aim("% of a core at rest", core * 100, REST_PERCENT),
        ),
        (f"others used {others:.0%} of the machine while it was at rest",),
    )


def _started(config: Path, directory: Path) -> tuple[float, subprocess.Popen[bytes]]:
    """Seconds until all is well, and the service."""
    service = load(config).service
    began = time.monotonic()
    with (directory / "serve.log").open("ab") as log:
        process = subprocess.Popen(_words(config, "serve"), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        while not _is_well(service.host, service.port):
            if process.poll() is not None or time.monotonic() - began > LONGEST_START_SECONDS:
                said = (directory / "serve.log").read_text()[-600:]
                raise SandboxFailed(f"the service is not well: {said}")
            time.sleep(0.1)
    except BaseException:
        _kill(process)
        raise
    return time.monotonic() - began, process


def _is_well(host: str, port: int) -> bool:
    with suppress(OSError, http.client.HTTPException):
        if _asked(host, port, "/healthz") is None:
            return False
        status = _asked(host, port, "/status.json")
        return status is not None and json.loads(status)["health"] == "ok"
    return False


def _asked(host: str, port: int, path: str) -> bytes | None:
    link = http.client.HTTPConnection(host, port, timeout=10)
    try:
        link.request("GET", path)
        answer = link.getresponse()
        return answer.read() if answer.status == 200 else None
    finally:
        link.close()


def _wait_for_quiet(say: Say) -> None:
    say("waiting until no run is due")
    time.sleep(_FIRST_RUN_SECONDS)
    while not any(first <= time.time() % _CYCLE_SECONDS <= last for first, last in _QUIET_AFTER):
        time.sleep(0.5)


def _at_rest(service: int, parts: Mapping[str, int]) -> tuple[tuple[Resting, ...], float]:
    """Every part, and the part of the machine that others used."""
    # A part's leash is counted with it.
    trees = {name: _parent(pid) for name, pid in parts.items()}
    before = {name: tree_cpu_seconds(pid) for name, pid in {**trees, "": service}.items()}
    machine, began = machine_cpu_seconds(), time.monotonic()
    time.sleep(REST_SECONDS)
    seconds = time.monotonic() - began
    used = {name: tree_cpu_seconds(pid) - before[name] for name, pid in {**trees, "": service}.items()}
    others = machine_cpu_seconds() - machine - used[""]
    used["supervisor"] = used.pop("") - sum(used[name] for name in trees)
    pids = {name: list(_tree(pid)) for name, pid in trees.items()} | {"supervisor": [service]}
    resting = tuple(
        Resting(name, len(found), sum(map(_pss, found)), max(0.0, used[name] / seconds))
        for name, found in pids.items()
    )
    return resting, max(0.0, others / seconds / (os.cpu_count() or 1))


def _parts(state: Path) -> dict[str, int]:
    seen = read_service(state)
    if seen is None:
        raise SandboxFailed(f"no service tells of itself in {state}")
    return {part.name: part.pid for part in seen.parts if part.pid is not None}


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for child in children_of(pid):
        yield from _tree(child)


def _pss(pid: int) -> int:
    """Bytes: memory that processes share is divided among them (proc(5), smaps_rollup)."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _words(config: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "cli.app", *words, "--config", str(config)]


def _run(config: Path, *words: str) -> None:
    done = subprocess.run(_words(config, *words), capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode != 0:
        raise SandboxFailed(f"{' '.join(words)} ended with {done.returncode}: {done.stderr[-600:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    if process.wait(120) != 0:
        raise SandboxFailed(f"the service ended with {process.returncode}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()
