"""``backstay init``."""

from __future__ import annotations

import stat
from pathlib import Path

from door import Backstay


def test_it_makes_the_key_and_the_repository(backstay: Backstay, home: Path) -> None:
    answer = backstay("init", "--new-key", "k1.key")
    assert answer.exit_code == 0
    assert answer.out.startswith(f"The repository is ready.\n\nrepository     file://{home}/repository\n")
    assert "\nnew key        k1.key\n" in answer.out
    assert "Keep a copy of every key in another place" in answer.out
    assert stat.S_IMODE((home / "k1.key").stat().st_mode) == 0o600
    assert (home / "repository/backstay.json").exists()
    assert (home / "repository/RESCUE.md").exists()


def test_programs_are_told_the_same(backstay: Backstay, home: Path) -> None:
    created = backstay("init", "--new-key", "k1.key", "--json").json
    assert len(created.pop("repository_id")) == 32
    assert created == {"url": f"file://{home}/repository", "keys": ["k1"], "new_key": "k1.key"}


def test_a_second_time_is_an_error_of_its_own_and_keeps_the_key(backstay: Backstay, home: Path) -> None:
    backstay("init", "--new-key", "k1.key")
    key = (home / "k1.key").read_bytes()
    answer = backstay("init", "--new-key", "k1.key")
    assert answer.exit_code == 28
    assert (home / "k1.key").read_bytes() == key


def test_without_a_key_it_tells_how_to_make_one(backstay: Backstay, home: Path) -> None:
    answer = backstay("init")
    assert answer.exit_code == 11
    assert answer.err == (
        f"error: key k1: there is no file {home}/k1.key\n"
        f"hint: Put the key there, or have one made: backstay init --new-key {home}/k1.key\n"
    )
    assert not (home / "repository").exists()


def test_a_key_file_that_the_configuration_does_not_name_is_refused(backstay: Backstay, home: Path) -> None:
    answer = backstay("init", "--new-key", "other.key")
    assert answer.exit_code == 2
    assert "[[keys]]" in answer.err
    assert not (home / "other.key").exists()
