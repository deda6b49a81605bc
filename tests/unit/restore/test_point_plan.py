"""Which backup a restore to a point begins with, and what is refused before anything is fetched."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.errors import NotFound, TargetUnreachable
from restore.point import Point, RecoveryTarget, resolve
from restore.point_plan import (
    Candidate,
    Life,
    check_covered,
    choose_base,
    estimate,
)
from restore.walk import Branch
from tests.unit.restore.made_lines import A, B, MadeLine, counted, gtid, gtids, removed, replaced

LINE = MadeLine(counted("a", 11, 40), gtids("a:1-10"))


def backup(name: int, low: str, high: str = "", *, donor: str = A) -> Candidate:
    """Taken on day ``name``; ``high`` is ``low`` unless it is given."""
    finished = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=name)
    return Candidate(f"2026030{name}T000000Z-full", gtids(low), gtids(high or low), donor, finished)


def before(number: int, line: MadeLine = LINE, *, skip: str = "") -> Point:
    return resolve(line, RecoveryTarget.before(gtid(f"a:{number}"), skip=gtids(skip)))


def refusal(candidates: list[Candidate], line: MadeLine, point: Point, *lives: Life) -> TargetUnreachable:
    with pytest.raises(TargetUnreachable) as caught:
        choose_base(candidates, line, point, lives)
    assert caught.value.hint
    return caught.value


def test_the_newest_backup_that_is_surely_before_the_point_is_taken() -> None:
    backups = [backup(1, "a:1-12", "a:1-14"), backup(2, "a:1-20", "a:1-24"), backup(3, "a:1-30")]
    assert choose_base(backups, LINE, before(40)) == backups[2]
    assert choose_base(backups, LINE, before(31)) == backups[2]
    assert choose_base(backups, LINE, before(30)) == backups[1]
    assert choose_base(backups, LINE, before(25)) == backups[1]
    # The second may hold transaction 24 already.
    assert choose_base(backups, LINE, before(24)) == backups[0]


def test_without_a_backup_there_is_nothing_to_begin_with() -> None:
    with pytest.raises(NotFound):
        choose_base([], LINE, before(20))


def test_a_point_before_the_first_backup_names_the_first_that_can_be_reached() -> None:
    error = refusal([backup(1, "a:1-12", "a:1-14")], LINE, before(14))
    assert "before the first backup" in error.message
    assert f"{A}:1-14" in (error.hint or "")


def test_a_backup_from_before_the_archive_leads_nowhere() -> None:
    error = refusal([backup(1, "a:1-7")], LINE, before(20))
    assert "the beginning of the archive" in error.message
    assert f"{A}:8-10" in error.message


def test_a_gap_between_backup_and_point_names_the_backup_behind_it() -> None:
    line = MadeLine([*counted("a", 11, 15), removed("a:16-17"), *counted("a", 18, 40)], gtids("a:1-10"))
    first, second = backup(1, "a:1-12"), backup(2, "a:1-30")
    assert choose_base([first, second], line, before(15, line)) == first
    error = refusal([first, second], line, before(25, line))
    assert "a gap" in error.message
    assert f"{A}:16-17" in error.message
    assert second.label in (error.hint or "")
    assert choose_base([first, second], line, before(35, line)) == second
    assert "taken now" in (refusal([first], line, before(25, line)).hint or "")


def test_a_backup_with_transactions_of_a_branch_is_never_taken() -> None:
    line = MadeLine([*counted("a", 1, 5), *counted("b", 1, 9)], branches=(Branch(2, gtids("a:6-7")),))
    point = resolve(line, RecoveryTarget.latest())
    clean, strayed = backup(1, "a:1-3"), backup(2, "a:1-7")
    assert choose_base([clean, strayed], line, point) == clean
    assert "branch" in refusal([strayed], line, point).message


def test_a_backup_that_holds_what_is_to_be_skipped_is_passed_over() -> None:
    old, new = backup(1, "a:1-12"), backup(2, "a:1-20")
    assert choose_base([old, new], LINE, before(40, skip="a:15")) == old
    assert choose_base([old, new], LINE, before(40, skip="a:25")) == new
    assert "to be skipped" in refusal([new], LINE, before(40, skip="a:15")).message


def test_a_backup_of_a_restored_server_holds_what_was_skipped_only_as_a_number() -> None:
    line = MadeLine([*counted("a", 1, 3), replaced("a:4"), *counted("a", 5, 6), *counted("b", 1, 5)])
    life = Life(B, gtids("a:1-6"), gtids("a:4"))
    point = resolve(line, RecoveryTarget.latest())
    old, with_it = backup(1, "a:1-2"), backup(2, "a:1-6")
    of_the_new = backup(3, "a:1-6", donor=B)
    assert choose_base([old, with_it], line, point, [life]) == old
    assert choose_base([old, with_it, of_the_new], line, point, [life]) == of_the_new
    later = backup(4, "a:1-6,b:1-2")
    assert choose_base([old, with_it, later], line, point, [life]) == later
    refusal([with_it], line, point, life)


def test_after_recovery_the_exact_set_is_checked_again() -> None:
    line = MadeLine([*counted("a", 11, 15), removed("a:16-17"), *counted("a", 18, 40)], gtids("a:1-10"))
    point = before(25, line)
    assert check_covered(gtids("a:1-17"), line, point) == gtids("a:18-24")
    with pytest.raises(TargetUnreachable, match="missing in"):
        check_covered(gtids("a:1-16"), line, point)


def test_the_time_that_it_takes_is_set_beside_the_promise() -> None:
    quick = estimate(1_000_000_000, 1000, 1_000_000, promised_seconds=3600)
    assert quick.keeps_the_promise
    assert quick.seconds < estimate(1_000_000_000, 10_000_000, 10**10, promised_seconds=3600).seconds
    assert not estimate(1_000_000_000, 10_000_000, 10**10, promised_seconds=3600).keeps_the_promise
    assert estimate(10**12, 0, 0, promised_seconds=1, goes_on=True).fetch_seconds == 0


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 5)), min_size=1, max_size=5),
    st.integers(11, 40),
    st.integers(12, 30),
    st.integers(0, 3),
)
def test_what_is_chosen_leads_to_the_point_and_nothing_newer_does(
    taken: list[tuple[int, int]], stop: int, hole: int, width: int
) -> None:
    line = LINE
    if width:
        steps = [*counted("a", 11, hole - 1), removed(f"a:{hole}-{hole + width - 1}")]
        line = MadeLine([*steps, *counted("a", hole + width, 40)], gtids("a:1-10"))
    if gtid(f"a:{stop}").as_set() & gtids(f"a:{hole}-{hole + width - 1}") and width:
        return
    point = before(stop, line)
    backups = [
        backup(day, f"a:1-{last}", f"a:1-{last + more}") for day, (last, more) in enumerate(sorted(taken), 1)
    ]

    def leads(candidate: Candidate) -> bool:
        replayed = point.gtids - candidate.low
        return candidate.high <= point.gtids and not replayed - line.gtids

    try:
        chosen = choose_base(backups, line, point)
    except TargetUnreachable:
        assert not any(map(leads, backups))
    else:
        assert leads(chosen)
        assert not any(leads(each) for each in backups if each.label > chosen.label)
        assert check_covered(chosen.low, line, point) == point.gtids - chosen.low
