"""When a restore to a point may go on, and when it is proven."""

from __future__ import annotations

import pytest

from fleet.errors import ProofFailed, TargetRefused
from fleet.gtid import GtidSet
from restore.growing import NOTHING
from restore.journal import ReplayBegun
from restore.point import Point
from restore.point_proof import check_goes_on, point_checks, require_all
from restore.replay import Replayed
from tests.unit.restore.made_lines import gtids


def point(planned: str, skipped: str = "") -> Point:
    return Point(gtids(planned), None, (), (), gtids(skipped))


def begun(skipped: str = "") -> ReplayBegun:
    return ReplayBegun(gtids(skipped).one_line(), standby=False)


def replayed(before: str, after: str, *, injected: str = "", sent: int) -> Replayed:
    return Replayed(gtids(before), gtids(after), gtids(injected), sent, 1.0)


def proven(exact: GtidSet, planned: Point, run: Replayed) -> bool:
    return all(check.passed for check in point_checks(exact, planned, run))


def test_a_run_goes_on_from_any_part_of_what_was_planned() -> None:
    for exact in (NOTHING, gtids("a:1-5"), gtids("a:1-9")):
        check_goes_on(exact, None, point("a:1-9"), "/data")
        check_goes_on(exact, begun(), point("a:1-9"), "/data")


def test_a_server_that_is_beyond_the_point_never_comes_back_to_it() -> None:
    with pytest.raises(TargetRefused, match="beyond the point") as caught:
        check_goes_on(gtids("a:1-10"), begun(), point("a:1-9"), "/data")
    assert "--delta" in (caught.value.hint or "")


def test_what_was_skipped_stays_skipped_and_what_was_applied_cannot_be() -> None:
    check_goes_on(gtids("a:1-9"), begun("a:5"), point("a:1-9", "a:5"), "/data")
    # Not there yet, so either will do.
    check_goes_on(gtids("a:1-4"), begun("a:5"), point("a:1-9"), "/data")
    check_goes_on(gtids("a:1-4"), begun(), point("a:1-9", "a:5"), "/data")
    with pytest.raises(TargetRefused, match="an empty transaction"):
        check_goes_on(gtids("a:1-9"), begun("a:5"), point("a:1-9"), "/data")
    with pytest.raises(TargetRefused, match="is to be skipped"):
        check_goes_on(gtids("a:1-9"), begun(), point("a:1-9", "a:5"), "/data")


def test_the_exact_set_and_a_replay_that_happened_are_proof() -> None:
    assert proven(gtids("a:1-9"), point("a:1-9"), replayed("a:1-4", "a:1-9", sent=5))
    assert proven(gtids("a:1-9"), point("a:1-9"), replayed("a:1-9", "a:1-9", sent=0))
    skipping = replayed("a:1-4", "a:1-9", injected="a:7", sent=4)
    assert proven(gtids("a:1-9"), point("a:1-9", "a:7"), skipping)


def test_what_an_earlier_run_skipped_is_counted_with_the_rest() -> None:
    _set, replay = point_checks(gtids("a:1-9"), point("a:1-9", "a:7"), replayed("a:1-8", "a:1-9", sent=1))
    assert replay.passed
    assert replay.detail == "1 transactions replayed, 1 skipped"


@pytest.mark.parametrize(
    ("exact", "run"),
    [
        ("a:1-8", replayed("a:1-4", "a:1-8", sent=4)),
        ("a:1-10", replayed("a:1-4", "a:1-10", sent=6)),
        # The set is right, and nothing was sent: somebody only told the server that it had executed this.
        ("a:1-9", replayed("a:1-4", "a:1-9", sent=0)),
        ("a:1-9", replayed("a:1-4", "a:1-4", sent=5)),
    ],
)
def test_anything_less_is_none(exact: str, run: Replayed) -> None:
    checks = point_checks(gtids(exact), point("a:1-9"), run)
    assert not all(check.passed for check in checks)
    with pytest.raises(ProofFailed, match="s1 is not where it should be"):
        require_all("s1", checks)
