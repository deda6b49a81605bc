"""A backup that holds more than the archive is told; one of a branch is not."""

from __future__ import annotations

from fleet.gtid import GtidSet
from repository.archive.beyond import HeldBeyond, held_beyond

A = "3e11fa47-71ca-11e1-9e33-c80aa9429562"


def held(last: int) -> GtidSet:
    return GtidSet.parse(f"{A}:1-{last}")


def test_the_newest_backup_that_the_archive_does_not_reach_is_named_with_what_is_missing() -> None:
    backups = [("3-incremental", held(30)), ("1-full", held(10)), ("2-full", held(25))]
    assert held_beyond(backups, held(20)) == HeldBeyond("3-incremental", 10, f"{A}:21-30")
    assert held_beyond(backups, held(29)) == HeldBeyond("3-incremental", 1, f"{A}:30")
    assert held_beyond(backups, held(30)) is None
    assert held_beyond([], held(30)) is None


def test_a_backup_of_a_branch_is_no_way_to_more() -> None:
    astray = GtidSet.parse(f"{A}:19-22")
    assert held_beyond([("2-full", held(30)), ("1-full", held(10))], held(18), [astray]) is None
