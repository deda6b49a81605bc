"""Every command of RUNBOOK.md is run, chapter by chapter, on a sandbox in which the symptom was made.

What the page shows of the output must be there, in that order; ``...`` stands for lines that it leaves out,
and figures may differ. A line such as ``gtid=...`` is what the reader puts in; ``# exit code 41`` behind a
command is how it ends. ``BACKSTAY_SHOW=FILE`` writes what the commands really print.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest

from drills.status.report import Code
from tests.scenario.runbook_world import SYMPTOMS, Values, World
from tests.scenario.test_the_readme_session import without_figures

pytestmark = [pytest.mark.mysql, pytest.mark.s3, pytest.mark.slow, pytest.mark.timeout(290)]

RUNBOOK = Path(__file__).parents[2] / "RUNBOOK.md"
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
ENDING = re.compile(r"\s+# exit code (\d+)$")
SET = re.compile(r"(\w+)=\S+$")


@dataclass(frozen=True)
class Command:
    """A line to type, with its exit code, and what the page shows of its output."""

    line: str
    exit_code: int
    shown: str


def chapters() -> dict[str, list[list[Command]]]:
    """The blocks of commands of each chapter."""
    parts = re.split(r"^## (.+)$", RUNBOOK.read_text(), flags=re.MULTILINE)
    return {
        title: [commands(block[1]) for block in BLOCK.finditer(text)]
        for title, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def commands(block: str) -> list[Command]:
    found: list[Command] = []
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        line, _, shown = part.partition("\n")
        ending = ENDING.search(line)
        found.append(Command(ENDING.sub("", line), int(ending[1]) if ending else 0, shown))
    return found


@pytest.fixture(scope="module")
def world(mysql_distribution: object) -> Iterator[World]:
    folder = Path(tempfile.mkdtemp(prefix="r"))
    world = World(folder)
    try:
        world.begin()
        yield world
    finally:
        world.close()
        shutil.rmtree(folder, ignore_errors=True)


def test_every_finding_has_a_chapter_and_every_chapter_is_run() -> None:
    found = chapters()
    assert set(get_args(Code)) <= set(found)
    assert {title for title, blocks in found.items() if blocks} == set(SYMPTOMS)


@pytest.mark.parametrize("title", SYMPTOMS)
def test_what_the_runbook_tells_to_type_works(world: World, title: str) -> None:
    given: Values = {}
    variables: Values = {}
    with closing(SYMPTOMS[title](world)) as symptom:
        for block in chapters()[title]:
            given |= next(symptom) or {}
            for command in block:
                if (setting := SET.fullmatch(command.line)) is not None:
                    variables[setting[1]] = given[setting[1]]
                    continue
                check(command, run(command, world, variables))
        # What is left of the symptom is taken back; there is no block that was not expected.
        assert next(symptom, "over") == "over"


def run(command: Command, world: World, variables: Values) -> str:
    """What it prints on both streams; fails unless it ends as the page says."""
    finished = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command.line],
        cwd=world.folder,
        env=world.environment | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    if (show := os.environ.get("BACKSTAY_SHOW")) is not None:
        with Path(show).open("a") as file:
            file.write(f"$ {command.line}\n{finished.stdout}[{finished.returncode}]\n")
    assert finished.returncode == command.exit_code, f"{command.line}\n{finished.stdout}"
    said = finished.stdout
    for place, name in world.places.items():
        said = said.replace(place, name)
    return said


def check(command: Command, printed: str) -> None:
    """Each piece that the page shows is printed, one after the other."""
    rest = words(printed)
    for piece in re.split(r"^\.\.\.$", command.shown, flags=re.MULTILINE):
        if wanted := words(piece):
            before, found, rest = rest.partition(wanted)
            assert found, f"{command.line}\n{piece}\nis not printed behind\n{before}"


def words(text: str) -> str:
    """Without figures, lines, and what was drawn by lot."""
    return " ".join(without_figures(re.sub(r"-[0-9a-f]{8}\b", "-#", text)))
