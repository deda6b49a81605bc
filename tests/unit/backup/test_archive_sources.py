"""Whom the archiver follows, and when it opens an epoch."""

from __future__ import annotations

import pytest

from backup.archive.settings import judge_writers
from backup.archive.sources import (
    Link,
    Receiving,
    SourceChoice,
    SourceFacts,
    Standing,
    Unseen,
    choose_source,
    decide_epoch,
    diverged,
)
from fleet.errors import ServerRefused, ServerUnreachable
from fleet.finding import Level
from fleet.gtid import GtidSet
from fleet.model import Server

A, B, C = (f"{digit * 8}-0000-0000-0000-000000000000" for digit in "abc")
NAMES = {A: "s1-a", B: "s1-b", C: "s1-c"}


def facts(
    uuid: str,
    executed: str = "",
    *,
    follows: str | None = None,
    receiving: Receiving = "yes",
    lag: int | None = 0,
    writable: bool | None = None,
    binlog: bool = True,
    primary: bool = False,
    applying: bool = True,
) -> SourceFacts:
    role = "primary" if primary else "replica"
    return SourceFacts(
        server=Server(name=NAMES[uuid], host="db", port=3306, region="here", role=role),
        uuid=uuid,
        version="9.7.4",
        is_writable=follows is None if writable is None else writable,
        has_binlog=binlog,
        links=(Link(follows, receiving, applying, lag),) if follows else (),
        executed=GtidSet.parse(executed),
        purged=GtidSet(),
    )


def standing(line: str = A, archived: str = f"{A}:1-10", branches: str = "") -> Standing:
    return Standing(line, GtidSet.parse(archived), GtidSet.parse(branches))


def unseen(uuid: str) -> Unseen:
    server = Server(name=NAMES[uuid], host="db", port=3306, region="here")
    return Unseen(server, ServerUnreachable(f"cannot log in to {NAMES[uuid]}"))


def choose(*seen: SourceFacts, missing: tuple[Unseen, ...] = (), known: Standing | None = None) -> str:
    return choose_source("s1", seen, missing, prefer="primary", standing=known).source.name


OLD, NEW = f"{A}:1-10", f"{A}:1-10,{B}:1"
NEWER = f"{NEW},{C}:1"
SECOND = standing(B, NEW, branches=f"{A}:11-12")
"""After a failover from A to B, which left two transactions of A behind."""


@pytest.mark.parametrize(
    ("seen", "missing", "known", "chosen"),
    [
        pytest.param([facts(A), facts(B, follows=A)], [], None, "s1-a", id="the one that is followed"),
        pytest.param(
            [facts(A, primary=True), facts(B)], [], None, "s1-a", id="of two that stand alone, the hinted one"
        ),
        pytest.param([facts(A, writable=False)], [], None, "s1-a", id="the only one, though it is read-only"),
        pytest.param([facts(B, NEW)], [unseen(A)], standing(), "s1-b", id="a promoted one, after a failover"),
        pytest.param(
            [facts(A, OLD), facts(B, NEW)], [], standing(), "s1-a", id="of two alone, the one of the line"
        ),
        pytest.param(
            [facts(A, OLD, primary=True), facts(B, NEW), facts(C, NEW, follows=B)],
            [],
            standing(),
            "s1-b",
            id="an old primary that came back has no followers",
        ),
        pytest.param(
            [facts(A, OLD, writable=False), facts(B, NEW)],
            [],
            standing(),
            "s1-b",
            id="an old primary that was made read-only",
        ),
        pytest.param(
            [facts(A, OLD, writable=False), facts(B, OLD, follows=A)],
            [],
            standing(),
            "s1-a",
            id="a primary that is read-only for now",
        ),
        pytest.param(
            [facts(B, NEW, follows=A, receiving="no", writable=True)],
            [unseen(A)],
            standing(),
            "s1-b",
            id="a promoted one whose replication was only stopped, once it has written",
        ),
        pytest.param(
            [
                facts(A, OLD, follows=B, writable=True, primary=True),
                facts(B, OLD, follows=A, writable=True),
            ],
            [],
            None,
            "s1-a",
            id="in a ring, the hinted one",
        ),
    ],
)
def test_the_primary_is_found(
    seen: list[SourceFacts], missing: list[Unseen], known: Standing | None, chosen: str
) -> None:
    assert choose(*seen, missing=tuple(missing), known=known) == chosen


@pytest.mark.parametrize(
    ("seen", "known", "chosen"),
    [
        pytest.param(
            [facts(A, f"{A}:1-12", primary=True), facts(C, NEWER)],
            SECOND,
            "s1-c",
            id="an old primary, the hinted one, with the branch",
        ),
        pytest.param(
            [facts(A, OLD, primary=True), facts(C, NEWER)],
            SECOND,
            "s1-c",
            id="an old primary, the hinted one, without a branch",
        ),
        pytest.param(
            [facts(A, f"{NEW},{A}:11-12", primary=True), facts(C, NEW)],
            SECOND,
            "s1-c",
            id="one that has it all, and a branch too",
        ),
        pytest.param(
            [facts(A, f"{A}:1-9", primary=True), facts(C, f"{A}:1-10,{B}:1-2,{C}:1")],
            standing(B, f"{A}:1-10,{B}:1-3"),
            "s1-c",
            id="none has it all: the one that lacks less",
        ),
        pytest.param(
            [facts(A, f"{A}:1-12", primary=True), facts(C, f"{A}:1-9,{C}:1")],
            SECOND,
            "s1-c",
            id="none has it all: the one without a branch",
        ),
    ],
)
def test_of_several_that_take_writes_one_that_lacks_archived_transactions_never_wins(
    seen: list[SourceFacts], known: Standing, chosen: str
) -> None:
    assert choose(*seen, missing=(unseen(B),), known=known) == chosen
    assert choose(*reversed(seen), missing=(unseen(B),), known=known) == chosen


def test_the_only_one_that_takes_writes_is_taken_and_it_is_said_what_it_lacks() -> None:
    back = facts(A, f"{A}:1-12", primary=True)
    choice = choose_source("s1", [back], [unseen(B)], prefer="primary", standing=SECOND)
    assert choice.source.name == "s1-a"
    assert "it lacks 1 archived transaction" in choice.reason
    change = decide_epoch(SECOND, choice, restored=False, skipped=GtidSet())
    assert change is not None
    assert change.branch == GtidSet.parse(f"{B}:1")


@pytest.mark.parametrize("known", [None, SECOND, standing(B, f"{B}:1-9,{A}:1")])
def test_of_two_that_nothing_tells_apart_none_is_taken(known: Standing | None) -> None:
    two = [facts(A, NEW), facts(C, NEW)]
    with pytest.raises(ServerUnreachable, match=r"^s1-a and s1-c both take writes, and nothing") as raised:
        choose(*two, missing=(unseen(B),), known=known)
    assert raised.value.retryable


def test_a_replica_of_the_wrong_one_is_not_followed() -> None:
    seen = [facts(A, f"{A}:1-12"), facts(B, NEW), facts(C, f"{A}:1-12", follows=A)]
    choice = choose_source("s1", seen, [], prefer="replica", standing=SECOND)
    assert (choice.source.name, choice.line_uuid) == ("s1-b", B)


def test_two_that_take_writes_are_a_failure_and_a_stopped_replica_that_does_is_a_warning() -> None:
    (found,) = judge_writers("s1", [facts(A), facts(B), facts(C, follows=B, writable=True)])
    assert (found.level, found.subject) == (Level.FAIL, "shard s1")
    assert found.message == "s1-a and s1-b both take writes: one of them only can be archived"
    (stopped,) = judge_writers("s1", [facts(A), facts(B, follows=A, receiving="no", writable=True)])
    assert stopped.level is Level.WARN
    (three,) = judge_writers("s1", [facts(A), facts(B), facts(C)])
    assert three.message.startswith("s1-a, s1-b and s1-c all take writes")


def test_one_that_takes_writes_is_as_it_should_be() -> None:
    assert judge_writers("s1", [facts(A), facts(B, writable=False), facts(C, follows=A)]) == []


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(
            [facts(B, OLD, follows=A, receiving="connecting")], id="a replica that still looks for it"
        ),
        pytest.param(
            [facts(B, OLD, follows=A, receiving="connecting", writable=True)], id="also when it is writable"
        ),
        pytest.param(
            [facts(B, OLD, follows=A, receiving="no", writable=True)],
            id="replication stopped, nothing written",
        ),
        pytest.param([facts(B)], id="a server that was just set up"),
        pytest.param([facts(B, OLD, writable=False)], id="a server that takes no writes yet"),
        pytest.param([], id="nobody answers"),
    ],
)
def test_without_the_primary_a_server_that_is_not_promoted_is_never_taken_for_it(
    seen: list[SourceFacts],
) -> None:
    with pytest.raises(ServerUnreachable) as raised:
        choose(*seen, missing=(unseen(A), unseen(C)), known=standing())
    assert raised.value.retryable
    assert "s1-a: cannot log in" in raised.value.message


def test_the_error_of_the_only_server_is_told_as_it_is() -> None:
    with pytest.raises(ServerUnreachable, match=r"^cannot log in to s1-a$"):
        choose(missing=(unseen(A),))


def test_a_primary_without_a_binlog_is_refused() -> None:
    with pytest.raises(ServerRefused, match="writes no binlog"):
        choose(facts(A, binlog=False))


def test_a_replica_is_followed_where_that_is_wished_and_its_transactions_are_the_primarys() -> None:
    seen = [facts(A, OLD), facts(B, OLD, follows=A, lag=9), facts(C, OLD, follows=A, lag=2)]
    choice = choose_source("s1", seen, [], prefer="replica", standing=standing())
    assert (choice.source.name, choice.line_uuid, choice.line_name) == ("s1-c", A, "s1-a")
    assert decide_epoch(standing(), choice, restored=False, skipped=GtidSet()) is None


def test_without_a_fit_replica_the_primary_is_followed() -> None:
    seen = [facts(A, OLD), facts(B, OLD, follows=A, applying=False), facts(C, OLD, follows=A, binlog=False)]
    assert choose_source("s1", seen, [], prefer="replica", standing=None).source.name == "s1-a"


def chosen(source: SourceFacts) -> SourceChoice:
    return SourceChoice(source, source.uuid, source.name, "")


def test_the_first_source_opens_the_first_epoch() -> None:
    change = decide_epoch(None, chosen(facts(A)), restored=False, skipped=GtidSet())
    assert change is not None
    assert (change.reason, change.inherited, change.branch) == ("first", GtidSet(), GtidSet())


def test_the_same_source_goes_on_although_its_set_lacks_a_commit_that_waits_for_us() -> None:
    assert decide_epoch(standing(), chosen(facts(A, f"{A}:1-9")), restored=False, skipped=GtidSet()) is None


def test_a_promotion_leaves_what_the_new_primary_never_had_on_a_branch() -> None:
    change = decide_epoch(standing(), chosen(facts(B, f"{A}:1-8,{B}:1-3")), restored=False, skipped=GtidSet())
    assert change is not None
    assert change.reason == "promotion"
    assert change.inherited == GtidSet.parse(f"{A}:1-8")
    assert change.branch == GtidSet.parse(f"{A}:9-10")


def test_a_restored_server_brings_what_its_restore_left_out() -> None:
    left_out = GtidSet.parse(f"{A}:5")
    change = decide_epoch(standing(), chosen(facts(B, f"{A}:1-8")), restored=True, skipped=left_out)
    assert change is not None
    assert (change.reason, change.skipped) == ("restore", left_out)
    assert change.branch == GtidSet.parse(f"{A}:9-10")


def test_after_a_reset_nothing_is_inherited_since_numbers_are_given_again() -> None:
    change = diverged(GtidSet.parse(OLD), GtidSet())
    assert (change.inherited, change.branch) == (GtidSet(), GtidSet.parse(OLD))


def test_after_a_lost_tail_what_comes_before_the_new_file_is_inherited() -> None:
    change = diverged(GtidSet.parse(OLD), GtidSet.parse(f"{A}:1-7"))
    assert (change.inherited, change.branch) == (GtidSet.parse(f"{A}:1-7"), GtidSet.parse(f"{A}:8-10"))
