"""Whom the archiver follows, and when it opens an epoch."""

from __future__ import annotations

import pytest

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


def standing(line: str = A, archived: str = f"{A}:1-10") -> Standing:
    return Standing(line, GtidSet.parse(archived))


def unseen(uuid: str) -> Unseen:
    server = Server(name=NAMES[uuid], host="db", port=3306, region="here")
    return Unseen(server, ServerUnreachable(f"cannot log in to {NAMES[uuid]}"))


def choose(*seen: SourceFacts, missing: tuple[Unseen, ...] = (), known: Standing | None = None) -> str:
    return choose_source("s1", seen, missing, prefer="primary", standing=known).source.name


OLD, NEW = f"{A}:1-10", f"{A}:1-10,{B}:1"


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
