"""Processes that are held: real ones, on this machine."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drills.status.service_state import PartSeen
from fleet.clock import SystemClock
from flows.service import leash
from flows.service.keeper import LONGEST_PAUSE_SECONDS, Keeper, Surroundings, pause_after
from flows.service.part_process import PartProcess, last_words
from flows.service.parts import Part
from tests.conftest import ManualClock

PATIENCE_SECONDS = 20.0
LONG = f"600.{os.getpid()}"
"""Seconds that no other process on this machine sleeps."""
FAMILY = f"(sleep {LONG} & exec sleep {LONG}) & setsid sleep {LONG} & exec sleep {LONG}"
"""A shell with children: one that it has lost, one in a session of its own."""


def part(script: str, *settings: object, **more: object) -> Part:
    return Part("archiver", ("sh", "-c", script), dict(os.environ), settings, **more)  # pyright: ignore[reportArgumentType]


def wait_until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return re.search(r"^State:\s+[ZX]", status, re.MULTILINE) is not None


def below(pid: int) -> set[int]:
    found = leash.children_of(pid)
    return found.union(*(below(child) for child in found))


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def family(tmp_path: Path, lock: int) -> Iterator[PartProcess]:
    process = PartProcess(part(FAMILY), tmp_path, lock=lock)
    wait_until(lambda: process.pid and len(below(process.leash_pid)) == 4, "all of them run")
    yield process
    process.kill()


def test_when_the_first_process_of_a_part_dies_none_of_it_is_left(family: PartProcess) -> None:
    others = below(family.leash_pid)
    assert family.pid in others
    os.kill(family.pid, signal.SIGKILL)
    wait_until(family.ended, "the leash ends")
    assert all(map(is_gone, others))
    assert family.how_it_ended() == "was killed by SIGKILL"


def test_a_part_that_is_killed_leaves_nothing(family: PartProcess) -> None:
    others = below(family.leash_pid)
    family.kill()
    assert family.ended()
    assert all(map(is_gone, others))


def test_when_the_leash_is_killed_its_part_dies(family: PartProcess) -> None:
    pid = family.pid
    assert pid is not None
    os.kill(family.leash_pid, signal.SIGKILL)
    wait_until(lambda: is_gone(pid), "the part's first process dies")
    for orphan in (each for each in map(int, filter(str.isdigit, os.listdir("/proc"))) if not is_gone(each)):
        # A service is their subreaper, and ends them; this process is none.
        if Path(f"/proc/{orphan}/cmdline").read_bytes() == f"sleep\0{LONG}\0".encode():
            os.kill(orphan, signal.SIGKILL)


def test_a_service_that_is_killed_takes_its_parts_with_it(tmp_path: Path) -> None:
    program = f"""
import os, sys, time
from pathlib import Path
from flows.service.part_process import PartProcess
from flows.service.parts import Part
part = Part("archiver", ("sh", "-c", {FAMILY!r}), dict(os.environ), ())
process = PartProcess(part, Path({str(tmp_path)!r}), lock=2)
print(process.leash_pid, flush=True)
time.sleep(600)
"""
    service = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert service.stdout is not None
    held = int(service.stdout.readline())
    wait_until(lambda: len(below(held)) == 4, "all of them run")
    others = below(held)
    service.kill()
    service.communicate()
    wait_until(lambda: all(map(is_gone, {held, *others})), "nothing is left")


def test_a_part_that_is_asked_ends_in_its_own_way(tmp_path: Path, lock: int) -> None:
    process = PartProcess(
        part("trap 'echo bye; exit 3' TERM; trap 'echo again' HUP; echo up; while :; do sleep 0.01; done"),
        tmp_path,
        lock=lock,
    )
    wait_until(lambda: last_words(process.log) == "up", "it runs")
    process.follow()
    wait_until(lambda: last_words(process.log) == "again", "it reads again")
    process.ask()
    wait_until(process.ended, "it ends")
    assert process.how_it_ended() == "ended with exit code 3: bye"
    process.close()


def test_the_error_is_told_and_not_the_hint_behind_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("error: an old one\nnews\nerror: no such key\nhint: Put it back.\n\n")
    assert last_words(log) == "no such key"
    assert not last_words(tmp_path / "none")


def test_a_log_is_bounded_and_a_full_disk_stops_nobody(tmp_path: Path) -> None:
    log = leash.Log(tmp_path / "log", 100)
    for number in range(50):
        log.write(b"line %05d\n" % number)
    newer, older = (tmp_path / "log").read_text(), (tmp_path / "log.1").read_text()
    assert len(newer) <= 100 >= len(older)
    assert (older + newer).endswith("line 00048\nline 00049\n")
    assert (tmp_path / "log").stat().st_mode & 0o077 == 0
    leash.Log(tmp_path / "nowhere" / "log", 100).write(b"lost\n")


def test_pauses_grow_to_a_minute() -> None:
    assert [pause_after(failures) for failures in (1, 2, 3, 4)] == [1, 2, 4, 8]
    assert pause_after(7) == pause_after(1000) == LONGEST_PAUSE_SECONDS


class Kept:
    """A keeper of a real process that is looked at until something holds."""

    def __init__(self, first: Part, directory: Path, lock: int) -> None:
        self.told: list[str] = []
        around = Surroundings(directory, SystemClock(), self.told.append, lock, lambda _: None)
        self.keeper = Keeper(first, around)

    def until(self, holds: Callable[[PartSeen], object]) -> PartSeen:
        def look() -> object:
            self.keeper.look(may_start=True)
            return holds(self.keeper.seen())

        wait_until(look, f"{self.keeper.seen()} {self.told}")
        return self.keeper.seen()


@pytest.fixture
def kept(tmp_path: Path, lock: int) -> Iterator[Callable[[Part], Kept]]:
    made: list[Kept] = []

    def keep(first: Part) -> Kept:
        made.append(Kept(first, tmp_path, lock))
        return made[-1]

    yield keep
    for each in made:
        each.keeper.kill()


def test_what_ends_is_started_again_and_told(kept: Callable[[Part], Kept]) -> None:
    one = kept(part("echo 'error: no room'; exit 31"))
    seen = one.until(lambda seen: seen.starts == 2)
    assert one.told == ["archiver ended with exit code 31: no room; it is started again in 1 s"]
    assert (seen.failures, seen.ended) == (1, "ended with exit code 31: no room")
    assert seen.down_since is not None


def test_one_whose_work_another_took_over_leaves_it_alone_for_a_while(kept: Callable[[Part], Kept]) -> None:
    one = kept(part("echo 'error: another archiver took over'; exit 42", gave_way=42))
    one.until(lambda seen: seen.state == "failing")
    assert one.told == [
        "archiver ended with exit code 42: another archiver took over; it is started again in 600 s"
    ]


def test_a_program_that_is_not_there_is_told(kept: Callable[[Part], Kept]) -> None:
    one = kept(Part("archiver", ("/nowhere/program",), dict(os.environ), ()))
    seen = one.until(lambda seen: seen.state == "failing")
    assert "/nowhere/program cannot be started: No such file or directory" in (seen.ended or "")


def test_what_runs_is_said_to_run_after_a_moment(kept: Callable[[Part], Kept]) -> None:
    one = kept(part("exec sleep 600"))
    assert one.until(lambda seen: seen.pid).state == "starting"
    assert one.until(lambda seen: seen.state == "running").down_since is None
    assert not one.told


def test_only_other_settings_start_it_anew(kept: Callable[[Part], Kept]) -> None:
    one = kept(part("exec sleep 600", "a"))
    first = one.until(lambda seen: seen.pid).pid
    one.keeper.replace(part("exec sleep 600", "a"))
    one.keeper.look(may_start=True)
    assert one.keeper.pid == first
    one.keeper.replace(part("exec sleep 600", "b"))
    seen = one.until(lambda seen: seen.pid not in (None, first))
    assert (seen.starts, seen.failures) == (2, 0)
    assert not one.told


def test_one_that_could_not_run_is_started_at_once_with_other_settings(
    tmp_path: Path, lock: int, clock: ManualClock
) -> None:
    told: list[str] = []
    keeper = Keeper(part("exit 1", "a"), Surroundings(tmp_path, clock, told.append, lock, lambda _: None))

    def failed() -> bool:
        keeper.look(may_start=True)
        return keeper.seen().state == "failing"

    wait_until(failed, "it fails")
    keeper.look(may_start=True)
    assert keeper.seen().starts == 1
    keeper.replace(part("exec sleep 600", "b"))
    keeper.look(may_start=True)
    assert (keeper.seen().starts, keeper.seen().state) == (2, "starting")
    keeper.kill()


def test_one_that_is_at_work_is_only_replaced_when_its_work_is_done(
    kept: Callable[[Part], Kept], tmp_path: Path
) -> None:
    work = f"until test -e {tmp_path}/done; do sleep 0.01; done"
    one = kept(part(f"({work}) & wait; exec sleep 600", "a", when_idle=True))
    first = one.until(lambda seen: seen.pid and leash.children_of(seen.pid)).pid
    one.keeper.replace(part("exec sleep 600", "b", when_idle=True))
    assert one.told == ["archiver: takes the new configuration when its runs have ended"]
    for _ in range(5):
        one.keeper.look(may_start=True)
    assert (one.keeper.pid, one.keeper.seen().state) == (first, "starting")
    (tmp_path / "done").touch()
    one.until(lambda seen: seen.pid not in (None, first))


def test_what_is_followed_is_only_told(kept: Callable[[Part], Kept], tmp_path: Path) -> None:
    script = f"trap 'touch {tmp_path}/again' HUP; touch {tmp_path}/up; while :; do sleep 0.01; done"
    one = kept(part(script, "a", followed=(1,)))
    one.until(lambda _: (tmp_path / "up").exists())
    first = one.keeper.pid
    one.keeper.replace(part(script, "a", followed=(2,)))
    one.until(lambda _: (tmp_path / "again").exists())
    assert one.keeper.pid == first


def test_who_does_not_end_in_time_is_killed(kept: Callable[[Part], Kept], tmp_path: Path) -> None:
    script = f"trap '' TERM; touch {tmp_path}/up; while :; do sleep 0.01; done"
    one = kept(part(script, patience_seconds=0.2))
    one.until(lambda _: (tmp_path / "up").exists())
    one.keeper.end()
    one.until(lambda _: one.keeper.is_gone)
