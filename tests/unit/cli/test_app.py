"""The door: help, version, exit codes, signals, pipes, completion and how soon it answers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from door import Backstay

from cli.groups import Group, Late, _command  # pyright: ignore[reportPrivateUsage]
from cli.tree import Root

PROGRAM = Path(sys.executable).with_name("backstay")
SOON_SECONDS = 0.5


def leaves(group: type[Group], *path: str) -> Iterator[tuple[tuple[str, ...], Late]]:
    for name, member in group.members.items():
        if isinstance(member, Late):
            yield (*path, name), member
        else:
            yield from leaves(member, *path, name)


LEAVES = list(leaves(Root))


def test_help_ends_with_every_exit_code(backstay: Backstay) -> None:
    answer = backstay("--help")
    assert answer.exit_code == 0
    tail = answer.out.partition("\nExit codes:\n")[2]
    assert tail.startswith("    0  All went well.\n")
    assert tail.endswith("  143  Stopped by SIGTERM; nothing half done stays behind.\n")
    assert "   28  There already is a repository at the URL.\n" in tail


def test_no_command_prints_the_help(backstay: Backstay) -> None:
    assert backstay() == backstay("--help")
    assert backstay("backup") == backstay("backup", "--help")


@pytest.mark.parametrize(("path", "late"), LEAVES, ids=[" ".join(path) for path, _ in LEAVES])
def test_every_command_has_help_that_fits_80_columns(
    backstay: Backstay, path: tuple[str, ...], late: Late
) -> None:
    answer = backstay(*path, "--help")
    assert answer.exit_code == 0
    assert answer.out.startswith(f"Usage: backstay {' '.join(path)} ")
    assert f"\n  {late.text}\n" in answer.out
    assert "--json" in answer.out
    assert "--config FILE" in answer.out
    assert max(map(len, answer.out.splitlines())) <= 80


def test_the_version_is_printed_for_people_and_for_programs(backstay: Backstay) -> None:
    assert backstay("--version").out.startswith("backstay 0.")
    assert set(backstay("--version", "--json").json) == {"version"}
    assert backstay("--json", "--version") == backstay("--version", "--json")


@pytest.mark.parametrize("path", [[], ["backup"], ["config"], ["sandbox"]])
def test_a_program_that_names_no_command_is_told_so_in_json(backstay: Backstay, path: list[str]) -> None:
    answer = backstay(*path, "--json")
    assert answer.exit_code == 2
    assert answer.json["error"]["message"] == "no command is given"
    assert answer.json["error"]["hint"] == f"Try: {' '.join(['backstay', *path])} --help"


def test_a_mistyped_command_is_a_usage_error_with_the_nearest_name(backstay: Backstay) -> None:
    answer = backstay("backup", "ful")
    assert (answer.exit_code, answer.out) == (2, "")
    assert answer.err == (
        "error: no such command 'ful'. Did you mean 'full'?\nhint: Try: backstay backup --help\n"
    )


def test_an_unknown_option_is_a_usage_error(backstay: Backstay) -> None:
    answer = backstay("config", "check", "--jsn")
    assert answer.exit_code == 2
    assert answer.err.startswith("error: no such option: --jsn")


def test_a_choice_that_there_is_not_is_a_usage_error_that_names_the_others(backstay: Backstay) -> None:
    answer = backstay("restore", "s1", "--into", "x", "--check", "most")
    assert answer.exit_code == 2
    assert answer.err.splitlines()[0].endswith("'--check': 'most' is not one of 'none', 'sample', 'all'")


def test_a_usage_error_is_json_when_json_was_asked_for(backstay: Backstay) -> None:
    answer = backstay("nonsense", "--json")
    assert answer.exit_code == 2
    assert answer.json["error"]["kind"] == "UsageError"


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["backup", "--help"]])
def test_it_answers_in_less_than_half_a_second(arguments: list[str]) -> None:
    def seconds() -> float:
        start = time.monotonic()
        subprocess.run([PROGRAM, *arguments], check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - start

    # The best of a few: other tests may run beside this one.
    assert min(seconds() for _ in range(5)) < SOON_SECONDS


def test_help_imports_no_room_but_the_errors() -> None:
    code = "import sys, cli.app; cli.app.run(['--help']); print(*sorted(sys.modules), file=sys.stderr)"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = {name.partition(".")[0] for name in ran.stderr.split()}
    assert not loaded & {"boto3", "pymysql", "cryptography", "pydantic", "rich", "repository", "wire"}


def test_no_command_but_serve_and_deploy_needs_the_scheduler() -> None:
    """A restore must work on the day on which the scheduler is what was lost."""
    modules = sorted({late.place.partition(":")[0] for _, late in LEAVES})
    code = f"import sys\nfor name in {modules}: __import__(name)\nprint(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "prefect" not in ran.stdout.split()


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = "import sys; from cli.app import run; sys.exit(run(['--help']))"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None and child.stderr is not None
    child.stdout.close()
    assert child.wait(30) == 141
    assert child.stderr.read() == b""
    child.stderr.close()


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_an_output_that_cannot_be_written_is_told_with_a_code_of_its_own(
    option: str, unbuffered: str
) -> None:
    command, environment = [PROGRAM, option], os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            command, check=False, stdout=full, stderr=subprocess.PIPE, text=True, env=environment
        )
    assert ran.returncode == 31
    assert "the output could not be written: no space left on device" in ran.stderr
    assert "Traceback" not in ran.stderr and "Exception ignored" not in ran.stderr


def test_a_closed_output_is_no_error() -> None:
    ran = subprocess.run(
        ["sh", "-c", f"{PROGRAM} --version >&-"], check=False, stderr=subprocess.PIPE, text=True
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_signal_after_the_work_was_told_does_not_turn_success_into_a_death() -> None:
    code = (
        "import atexit, os, signal, sys; sys.argv = ['backstay', '--version'];"
        "atexit.register(lambda: [os.kill(os.getpid(), n) for n in (signal.SIGINT, signal.SIGTERM)]);"
        "from cli.app import main; main()"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_completion_knows_commands_and_shards(home: Path) -> None:
    def complete(*words: str) -> list[str]:
        line = " ".join(["backstay", *words])
        environment = os.environ | {
            "_BACKSTAY_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words)),
        }
        ran = subprocess.run([PROGRAM], env=environment, capture_output=True, text=True, check=True)
        return ran.stdout.split()

    assert complete("ba") == ["backup"]
    assert complete("backup", "l") == ["list"]
    assert complete("restore", "s") == ["s1", "s2"]
    assert complete("backup", "full", "s1", "--donor", "s1-") == ["s1-a", "s1-b"]
    (home / "backstay.toml").write_text("nonsense")
    assert complete("restore", "s") == []


@pytest.mark.parametrize(
    "line",
    [
        ("restore", "s1", "--into", ""),
        ("restore", "s1", "--into="),
        ("restore", "s1", "--into", "data", "--table", "a.b", "--latest", "--sql", ""),
        ("restore", "s1", "--into", "data", "--table", "a.b", "--latest", "--export", ""),
        ("diff", "s1", "--table", "a.b", "--latest", "--sql", ""),
        ("diff", "s1", "--table", "a.b", "--latest", "--work", ""),
        ("standby", "s1", "--into", ""),
        ("standby", "promote", ""),
        ("sandbox", "up", "--dir", ""),
        ("init", "--new-key", ""),
        ("backup", "show", ""),
        ("backup", "list", "--config", ""),
        ("-c", "", "backup", "list"),
    ],
    ids=" ".join,
)
def test_an_empty_path_or_name_is_a_usage_error_and_never_the_working_directory(
    backstay: Backstay, home: Path, line: tuple[str, ...]
) -> None:
    before = sorted(home.iterdir())
    answer = backstay(*line)
    assert answer.exit_code == 2
    assert "empty" in answer.err
    assert sorted(home.iterdir()) == before


def test_every_option_that_takes_a_path_is_known_as_one() -> None:
    for _, late in LEAVES:
        command = _command("it", late)
        for one in command.params:
            is_path = one.param_type_name == "option" and "Path" in str(one.type_descriptor.annotation)
            assert not is_path or one.metavar in {"DIR", "FILE"}, one.name
