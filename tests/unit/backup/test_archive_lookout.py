"""When a source that still sends must be left."""

from __future__ import annotations

from backup.archive.lookout import Sight, lost, why_leave
from backup.archive.sources import SourceChoice
from backup.archive.spool import Tail
from fleet.gtid import GtidSet
from repository.layout import BinlogFile
from tests.unit.backup.test_archive_sources import A, B, facts

TAIL = Tail(BinlogFile(1, A, "binlog.000003", 7), 1000, None)
NOTHING = GtidSet()


def choice(uuid: str, line: str | None = None, executed: str = f"{A}:1-9") -> SourceChoice:
    source = facts(uuid, executed)
    return SourceChoice(source, line or uuid, source.name, "")


def sight(now: SourceChoice, size: int | None = 1000, archived: str = f"{A}:1-9") -> Sight:
    sizes = {} if size is None else {TAIL.file.file: size}
    return Sight(now, TAIL, sizes, GtidSet.parse(archived))


def test_a_source_that_is_still_the_right_one_is_kept() -> None:
    assert why_leave(choice(A), sight(choice(A), size=5000), NOTHING) is None


def test_another_primary_is_followed() -> None:
    assert why_leave(choice(A), sight(choice(B)), NOTHING) == "the primary is s1-b now"


def test_another_replica_of_the_same_primary_is_no_reason() -> None:
    assert why_leave(choice(B, line=A), sight(choice("c" * 8 + A[8:], line=A)), NOTHING) is None


def test_a_file_that_is_gone_or_shorter_than_what_came_of_it_is_a_reason() -> None:
    assert why_leave(choice(A), sight(choice(A), size=None), NOTHING) == "s1-a no longer has binlog.000003"
    shorter = why_leave(choice(A), sight(choice(A), size=157), NOTHING)
    assert shorter == "binlog.000003 of s1-a has 157 bytes, and 1000 were received"


def test_what_is_lacking_at_two_looks_is_a_reason_and_a_commit_on_its_way_is_none() -> None:
    first = sight(choice(A), archived=f"{A}:1-10")
    assert why_leave(choice(A), first, NOTHING) is None
    later = sight(choice(A, executed=f"{A}:1-10"), archived=f"{A}:1-11")
    assert why_leave(choice(A), later, lost(first)) is None
    assert why_leave(choice(A), first, lost(first)) == "s1-a lacks transactions that it sent before"


def test_a_replica_may_be_behind_what_another_one_sent() -> None:
    behind = sight(choice(B, line=A, executed=f"{A}:1-5"))
    assert why_leave(choice(B, line=A), behind, lost(behind)) is None
