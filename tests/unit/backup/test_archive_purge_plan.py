"""Which binlogs may go from a source."""

from __future__ import annotations

import pytest

from backup.archive.purge_plan import FileFacts, ReplicaFacts, plan_files
from fleet.gtid import GtidSet

A = "aaaaaaaa-0000-0000-0000-000000000000"


def upto(last: int) -> GtidSet:
    return GtidSet.parse(f"{A}:1-{last}")


def file(
    number: int, *, size: int = 1000, archived: int = 1000, encrypted: bool = False, known: bool = True
) -> FileFacts:
    return FileFacts(
        f"binlog.{number:06d}", size, encrypted, archived, after=upto(number * 10) if known else None
    )


def going(files: list[FileFacts], *replicas: ReplicaFacts) -> list[str]:
    return [one.name[-1] for one in plan_files("s1", "s1-a", files, replicas).going]


def test_what_is_archived_and_applied_goes_but_never_the_two_newest() -> None:
    files = [file(n) for n in (1, 2, 3, 4)]
    assert going(files, ReplicaFacts("s1-b", upto(40))) == ["1", "2"]


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (file(2, archived=999), "999 of its 1000 bytes are archived"),
        (file(2, archived=0), "0 of its 1000 bytes are archived"),
        (file(2, archived=1001), "the archive holds 1001 bytes of it, and the source has 1000"),
        (file(2, known=False), "the archive does not say which transactions it holds"),
    ],
)
def test_a_file_that_is_not_safe_keeps_itself_and_all_after_it(second: FileFacts, reason: str) -> None:
    plan = plan_files("s1", "s1-a", [file(1), second, file(3), file(4), file(5)], [])
    assert [one.name for one in plan.going] == ["binlog.000001"]
    assert plan.keep_from == "binlog.000002"
    assert plan.files[1].reason == reason
    assert plan.files[2].reason == "binlog.000002, which is older, must stay"


def test_an_encrypted_file_is_longer_than_its_plain_bytes_by_its_own_header() -> None:
    files = [file(1, size=1512, encrypted=True), file(2), file(3)]
    assert going(files) == ["1"]


def test_the_slowest_replica_decides() -> None:
    files = [file(n) for n in (1, 2, 3, 4, 5)]
    assert going(files, ReplicaFacts("s1-b", upto(99)), ReplicaFacts("s1-c", upto(19))) == ["1"]


def test_a_replica_that_cannot_be_asked_keeps_everything() -> None:
    plan = plan_files("s1", "s1-a", [file(n) for n in (1, 2, 3)], [ReplicaFacts("s1-b", None)])
    assert not plan.going
    assert plan.files[0].reason == "replica s1-b could not be asked what it has applied"
    assert [finding.subject for finding in plan.findings] == ["server s1-b"]


def test_the_plan_says_how_much_becomes_free() -> None:
    plan = plan_files("s1", "s1-a", [file(1, size=7, archived=7), file(2), file(3)], [])
    assert (plan.bytes, plan.keep_from) == (7, "binlog.000002")
