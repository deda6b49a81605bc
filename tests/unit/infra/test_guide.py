"""The page for those who run it: its commands exist, its figures are the defaults, its units are there."""

from __future__ import annotations

import re
import shlex

import pytest

from fleet.config import load
from tests.unit.infra.command_lines import refusal_of
from tests.unit.infra.unit_files import INFRA

GUIDE = (INFRA / "README.md").read_text()
BLOCKS = re.findall(r"```console\n(.*?)```", GUIDE, re.DOTALL)
TYPED = [line[2:] for block in BLOCKS for line in block.splitlines()]
TOLD = re.findall(r"`(backstay [a-z][^`]*)`", GUIDE)


def test_commands_that_do_not_exist_are_found() -> None:
    assert refusal_of(["deploy", "--dry-run"]) is None
    assert refusal_of(["archive", "run", "s1", "--config", "/etc/backstay/backstay.toml"]) is None
    assert all(
        refusal_of(line.split()) is not None
        for line in ("deploy --wet-run", "archive", "archive walk", "status --config", "serve s1")
    )


@pytest.mark.parametrize("line", [each for each in TYPED if each.startswith("backstay")] + TOLD)
def test_every_command_exists_with_its_options(line: str) -> None:
    assert refusal_of(shlex.split(line)[1:]) is None


def test_every_file_that_is_copied_or_linked_is_there() -> None:
    copied = re.findall(r"/opt/backstay/(infra/\S+)", "\n".join(TYPED))
    assert copied and all(list(INFRA.parent.glob(path)) for path in copied)
    linked = re.findall(r"\]\(([^)#]+)\)", GUIDE)
    assert [path for path in linked if not (INFRA / path).exists()] == []


def test_units_and_alerts_that_are_told_of_exist() -> None:
    units = {path.name.removesuffix(".service") for path in INFRA.glob("*/*.service")}
    told = re.findall(r"`((?:backstay|prefect)-(?:worker|archive|mirror|server)@?)", GUIDE)
    assert {*told} | {"backstay"} == units
    rules = (INFRA / "prometheus/rules.yml").read_text()
    assert all(f"alert: {name}\n" in rules for name in re.findall(r"`(Backstay[A-Z]\w+)`", GUIDE))


def test_the_settings_that_it_names_exist_and_have_the_figures_that_it_tells() -> None:
    defaults = load(INFRA / "examples/backstay.toml")
    for section, key, figure in re.findall(r"`(\w+)\.(\w+)`(?: \((\w+(?: GiB)?)\))?", GUIDE):
        if section in ("backstay", "requirements", "prefect"):
            continue
        value = getattr(getattr(defaults, section), key)
        if figure:
            number, _, unit = figure.partition(" ")
            assert value == int(number) * (1 << 30 if unit else 1), (section, key)
