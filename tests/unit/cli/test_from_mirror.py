"""``--from mirror`` and ``--on mirror``: the repository itself is not asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from door import Backstay

from cli.groups import Group, Late
from cli.tree import Root


def with_mirror(home: Path) -> None:
    config = home / "backstay.toml"
    config.write_text(config.read_text() + f'\n[mirror]\nurl = "file://{home}/mirror"\n')


def test_without_a_mirror_in_the_configuration_there_is_none_to_read(home: Path, backstay: Backstay) -> None:
    answer = backstay("backup", "list", "--from", "mirror")
    assert answer.exit_code == 10
    assert "there is no mirror in the configuration" in answer.err


def test_a_command_that_reads_the_mirror_never_asks_the_repository(home: Path, backstay: Backstay) -> None:
    assert backstay("init", "--new-key", "k1.key").exit_code == 0
    (home / "repository").rename(home / "mirror")
    with_mirror(home)
    assert backstay("backup", "list").exit_code == 27
    assert backstay("backup", "list", "--from", "mirror", "--json").json["backups"] == []
    assert backstay("keys", "list", "--from", "mirror").exit_code == 0


def test_only_the_mirror_can_be_named(home: Path, backstay: Backstay) -> None:
    assert backstay("backup", "list", "--from", "elsewhere").exit_code == 2


@pytest.mark.parametrize("name", ["full", "incremental", "consolidate"])
def test_nothing_writes_backups_into_the_mirror(name: str, backstay: Backstay) -> None:
    assert backstay("backup", name, "--on", "mirror").exit_code == 2


def test_every_command_of_the_mirror_takes_one_of_two_options() -> None:
    def lates(group: type[Group]) -> list[Late]:
        members = group.members.values()
        return [one for each in members for one in ([each] if isinstance(each, Late) else lates(each))]

    assert {each.mirror for each in lates(Root)} == {None, "--from", "--on"}
