"""Which backups may be reduced: those that others refer to, and that nobody restores or continues."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from repository.layout import BackupName
from repository.reach import Known, reach
from repository.reducing import reducible

NOW = datetime(2026, 3, 10, tzinfo=UTC)
GRACE = timedelta(days=1)


def full(day: int) -> BackupName:
    return BackupName("s1", f"202603{day:02d}T020000Z-full")


def incremental(day: int) -> BackupName:
    return BackupName("s1", f"202603{day:02d}T080000Z-incremental")


def found(
    *,
    base: BackupName | None = None,
    kept: BackupName | None = None,
    marked_for: timedelta = timedelta(days=2),
    unreadable: tuple[BackupName, ...] = (),
) -> dict[BackupName, tuple[BackupName, ...]]:
    """The full of day 1 is marked; those of day 2 and 3 refer to it; perhaps an incremental continues one."""
    needs: dict[BackupName, list[BackupName]] = {full(1): [], full(2): [full(1)], full(3): [full(1), full(2)]}
    bases: dict[BackupName, BackupName | None] = dict.fromkeys(needs)
    if base:
        needs[incremental(3)], bases[incremental(3)] = [base], base
    known = Known(
        needs,
        NOW,
        GRACE,
        unreadable=unreadable,
        marks={full(1): NOW - marked_for},
        kept={kept: ("held",)} if kept else {},
    )
    return reducible(known, reach(known), bases)


def test_what_is_marked_and_referred_to_may_be_reduced_to_what_all_who_refer_need() -> None:
    assert found() == {full(1): (full(2), full(3))}
    assert found(base=full(2)) == {full(1): (full(2), full(3))}


def test_what_an_incremental_continues_is_needed_whole() -> None:
    assert found(base=full(1)) == {}


def test_what_an_expired_incremental_continues_is_not_needed_whole_for_its_sake() -> None:
    needs = {full(1): [], incremental(3): [full(1)], full(4): [full(1), incremental(3)]}
    bases = {full(1): None, incremental(3): full(1), full(4): None}
    marks = dict.fromkeys((full(1), incremental(3)), NOW - 2 * GRACE)
    known = Known(needs, NOW, GRACE, marks=marks)
    assert reducible(known, reach(known), bases) == {
        full(1): (full(4),),
        incremental(3): (full(4),),
    }


def test_what_is_held_or_can_still_be_taken_back_is_needed_whole() -> None:
    assert found(kept=full(1)) == {}
    assert found(marked_for=timedelta(hours=23)) == {}


def test_nothing_is_reduced_while_somebody_cannot_be_asked_what_it_needs() -> None:
    assert found(unreadable=(full(9),)) == {}
