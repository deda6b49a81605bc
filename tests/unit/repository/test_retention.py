"""What retention keeps and ends: the rules by example, and what holds whatever the history was."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.policy import Retention
from repository.catalog import BackupSummary
from repository.layout import BackupName
from repository.retention import Decision, apply_policy, overdue, window_start

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
MONTH = Retention(days=30.0, minimum_fulls=1)


def backup(
    age_days: float,
    kind: str = "full",
    *,
    base: str | None = None,
    broken: str | None = None,
    shard: str = "s1",
    number: int | None = None,
) -> BackupSummary:
    """One that ended so many days before ``NOW``; its label is made of that, or of its ``number``."""
    ended = NOW - timedelta(days=age_days)
    label = f"{ended:%Y%m%dT%H%M%SZ}-{kind}" if number is None else f"b{number}"
    return BackupSummary(
        shard=shard,
        label=label,
        kind=kind,
        started_at=ended - timedelta(minutes=5),
        finished_at=ended,
        proven=False,
        files=1,
        files_bytes=1,
        stored_bytes=1,
        donor="s1-b",
        server_version="9.7.4",
        gtid_high="",
        base=base,
        broken=broken,
    )


def chain(*ages: float) -> list[BackupSummary]:
    """A full, and incrementals each on the one before."""
    links = [backup(ages[0])]
    for age in ages[1:]:
        links.append(backup(age, "incremental", base=links[-1].label))
    return links


def ages(decision: Decision, backups: list[BackupSummary]) -> list[float]:
    """Of what expires, in days."""
    by_name = {each.name: each for each in backups}
    return sorted((NOW - by_name[name].finished_at) / timedelta(days=1) for name in decision.expire)


def reasons(decision: Decision, one: BackupSummary) -> tuple[str, ...]:
    return decision.keep[one.name]


def test_no_backups_no_decision() -> None:
    assert apply_policy([], MONTH, NOW) == Decision({}, {}, ())


def test_the_window_keeps_what_ended_in_it_and_the_newest_before_it() -> None:
    backups = [backup(age) for age in (1, 29.9, 30, 30.1, 31, 60)]
    decision = apply_policy(backups, MONTH, NOW)
    assert ages(decision, backups) == [31, 60]
    assert reasons(decision, backups[0]) == (
        "in the window of 30 days",
        "the newest that is whole",
        "the newest full",
    )
    assert reasons(decision, backups[3]) == ("leads to the first points of the window",)
    assert decision.expire[backups[5].name] == "60 days old, and the window is 30 days"


def test_what_leads_into_the_window_keeps_its_whole_chain() -> None:
    old, new = chain(50, 45, 40, 35), chain(20, 10)
    unrelated = backup(36)
    decision = apply_policy([*old, unrelated, *new], MONTH, NOW)
    assert list(decision.expire) == [unrelated.name]
    assert reasons(decision, old[0]) == (f"base of {old[3].label}",)


def test_a_chain_longer_than_the_retention_stays_as_long_as_anything_needs_it() -> None:
    links = chain(9, 8, 7, 6, 5, 4, 3, 2, 1, 0.5)
    decision = apply_policy(links, Retention(days=1.0, minimum_fulls=1), NOW)
    assert not decision.expire


def test_the_newest_fulls_stay_whatever_their_age() -> None:
    backups = [backup(age) for age in (100, 200, 300, 400)]
    decision = apply_policy(backups, Retention(days=3.0, minimum_fulls=3), NOW)
    assert ages(decision, backups) == [400]
    assert reasons(decision, backups[2]) == ("one of the newest 3 fulls",)


def test_days_weeks_and_months_are_counted_where_there_is_a_full() -> None:
    # 2026-03-31 is a Tuesday.
    backups = [backup(age) for age in (0, 10, 10.2, 12, 40, 41, 100, 130, 400)]
    days = apply_policy(backups, Retention(days=5.0, minimum_fulls=1, keep_daily=3), NOW)
    assert ages(days, backups) == [10.2, 41, 100, 130, 400]
    months = apply_policy(backups, Retention(days=5.0, minimum_fulls=1, keep_monthly=3), NOW)
    # The month that the window begins in has its newest full in the window, so it is none beyond it.
    assert ages(months, backups) == [10.2, 12, 41, 400]
    assert reasons(months, backups[4]) == ("the newest full of its month",)


def test_a_week_begins_on_monday_utc() -> None:
    sunday = replace(backup(0), label="sun", finished_at=datetime(2026, 3, 1, 23, 59, tzinfo=UTC))
    monday = replace(backup(0), label="mon", finished_at=datetime(2026, 3, 2, 0, 1, tzinfo=UTC))
    tuesday = replace(backup(0), label="tue", finished_at=datetime(2026, 3, 3, 0, 1, tzinfo=UTC))
    newest = backup(1)
    policy = Retention(days=5.0, minimum_fulls=1, keep_weekly=2)
    decision = apply_policy([sunday, monday, tuesday, newest], policy, NOW)
    assert list(decision.expire) == [monday.name]
    assert reasons(decision, sunday) == ("the newest full of its week",)


def test_held_ones_and_those_in_use_stay_with_all_that_they_rest_on() -> None:
    old = chain(90, 80, 70)
    new = [backup(1), backup(31)]
    decision = apply_policy([*old, *new], MONTH, NOW, held=[old[1].name])
    assert list(decision.expire) == [old[2].name]
    assert reasons(decision, old[1]) == ("held",)
    assert reasons(decision, old[0]) == (f"base of {old[1].label}",)
    decision = apply_policy([*old, *new], MONTH, NOW, in_use=[old[2].name])
    assert not decision.expire
    assert reasons(decision, old[2]) == ("in use",)


def test_what_the_archive_needs_stays_though_its_date_says_something_else() -> None:
    backups = [backup(age) for age in (1, 31, 60)]
    decision = apply_policy(backups, MONTH, NOW, leads=[backups[2].name])
    assert reasons(decision, backups[2]) == ("leads to the first points of the window",)


def test_a_broken_backup_in_the_window_stays_and_counts_for_nothing() -> None:
    backups = [
        backup(1, broken="gone"),
        backup(31, broken="gone"),
        backup(50),
        backup(60),
    ]
    decision = apply_policy(backups, MONTH, NOW)
    assert ages(decision, backups) == [31, 60]
    assert reasons(decision, backups[0]) == ("in the window of 30 days, though it is broken",)
    assert decision.expire[backups[1].name].endswith("; broken: gone")


def test_where_nothing_is_whole_nothing_expires() -> None:
    backups = [backup(age, broken="gone") for age in (40, 50, 60)]
    decision = apply_policy(backups, MONTH, NOW)
    assert not decision.expire
    assert reasons(decision, backups[2]) == ("no backup of the shard is whole",)


def test_a_backup_from_the_future_stays_and_takes_nobodys_place() -> None:
    backups = [backup(-4000), backup(40), backup(50)]
    decision = apply_policy(backups, MONTH, NOW)
    assert ages(decision, backups) == [50]
    assert reasons(decision, backups[1]) == ("leads to the first points of the window", "the newest full")


def test_a_marked_backup_that_the_policy_does_not_keep_is_not_ended_again() -> None:
    backups = [backup(age) for age in (31, 40, 50)]
    decision = apply_policy(backups, MONTH, NOW, marked=[backups[1].name])
    assert ages(decision, backups) == [50]
    assert backups[1].name not in decision.keep
    assert not decision.unmark


def test_a_policy_that_was_made_larger_again_takes_marks_back() -> None:
    backups = [*chain(20, 15, 10), backup(3), backup(1), backup(70)]
    short = apply_policy(backups, Retention(days=0.001, minimum_fulls=1), NOW)
    assert len(short.expire) == 5
    decision = apply_policy(backups, MONTH, NOW, marked=short.expire)
    assert set(decision.unmark) == short.expire.keys()
    assert reasons(decision, backups[5]) == ("leads to the first points of the window",)
    assert reasons(decision, backups[0])[0] == "in the window of 30 days"
    assert not decision.expire


def test_until_its_mark_is_gone_nobody_counts_on_a_backup() -> None:
    backups = [backup(age) for age in (1, 31, 40, 50)]
    decision = apply_policy(backups, MONTH, NOW, marked=[backups[1].name])
    assert decision.unmark == (backups[1].name,)
    assert ages(decision, backups) == [50]
    assert ages(apply_policy(backups, MONTH, NOW), backups) == [40, 50]


def test_what_lacks_parts_is_not_taken_back_and_what_rests_on_it_neither() -> None:
    links = chain(20, 15, 10)
    whole = [backup(21), backup(1)]
    marked = [each.name for each in (*links, whole[0])]
    decision = apply_policy(
        [*links, *whole], MONTH, NOW, marked=marked, held=marked, reduced=[links[1].name, whole[1].name]
    )
    assert decision.unmark == (whole[0].name, links[0].name)
    assert links[2].name not in decision.keep
    # What says so beside no mark says nothing.
    assert whole[1].name in decision.keep


def test_the_mark_of_what_a_kept_backup_rests_on_is_taken_back() -> None:
    links = chain(40, 35, 20)
    decision = apply_policy(links, MONTH, NOW, marked=[links[0].name, links[1].name])
    assert decision.unmark == (links[0].name, links[1].name)
    held = apply_policy(links, MONTH, NOW, held=[links[2].name], marked=[each.name for each in links])
    assert set(held.unmark) == {each.name for each in links}


def test_a_chain_that_bites_its_tail_comes_to_an_end() -> None:
    one = backup(1, "incremental", base="b2", number=1)
    two = backup(2, "incremental", base="b1", number=2)
    assert len(apply_policy([one, two], MONTH, NOW).keep) == 2


def test_each_shard_is_decided_by_itself_and_a_name_twice_is_one() -> None:
    backups = [backup(50), backup(60), backup(50, shard="s2"), backup(50)]
    decision = apply_policy(backups, MONTH, NOW)
    assert ages(decision, backups) == [60]
    assert set(decision.keep) == {backups[0].name, backups[2].name}


def test_a_window_longer_than_history_itself_begins_with_it() -> None:
    assert window_start(Retention(days=36500.0), datetime(5, 1, 1, tzinfo=UTC)).year == 1


def test_what_was_due_two_days_ago_is_overdue() -> None:
    backups = [backup(age / 2) for age in range(120)]
    steady = overdue(backups[:66], MONTH, NOW)
    assert not steady
    typed_three = overdue(backups, Retention(days=3.0, minimum_fulls=2), NOW)
    assert len(typed_three) > 100


@st.composite
def histories(draw: st.DrawFn) -> list[BackupSummary]:
    made: list[BackupSummary] = []
    for number in range(draw(st.integers(0, 12))):
        # Ages in any order: a clock that runs backwards, and now and then one from the future.
        age = draw(st.floats(-3, 120, allow_nan=False))
        base = draw(st.sampled_from([None, *made])) if made else None
        made.append(
            backup(
                age,
                "incremental" if base else "full",
                base=base.label if base else None,
                broken=(base.broken if base else None) or draw(st.sampled_from([None, None, None, "gone"])),
                number=number,
            )
        )
    return made


NUMBERS = ("days", "minimum_fulls", "keep_daily", "keep_weekly", "keep_monthly")
policies = st.builds(
    Retention,
    days=st.floats(0.1, 90, allow_nan=False),
    minimum_fulls=st.integers(1, 5),
    keep_daily=st.integers(0, 5),
    keep_weekly=st.integers(0, 5),
    keep_monthly=st.integers(0, 5),
)
some = st.sets(st.integers(0, 12).map(lambda number: BackupName("s1", f"b{number}")))


def newest(backups: list[BackupSummary], moment: datetime) -> datetime | None:
    return max((each.finished_at for each in backups if each.finished_at <= moment), default=None)


@settings(max_examples=100, deadline=None)
@given(histories(), policies, some, some, some)
def test_whatever_the_history_the_window_stays_as_it_was(
    backups: list[BackupSummary],
    policy: Retention,
    held: set[BackupName],
    marked: set[BackupName],
    reduced: set[BackupName],
) -> None:
    decision = apply_policy(backups, policy, NOW, held, marked, reduced=reduced)
    before = [each for each in backups if each.broken is None and each.name not in marked]
    after = [each for each in before if each.name not in decision.expire]
    start = window_start(policy, NOW)
    for moment in [start, NOW, *(each.finished_at for each in backups if each.finished_at >= start)]:
        assert newest(before, moment) == newest(after, moment)
    if before:
        assert max(before, key=lambda each: (each.finished_at, each.label)) in after
    assert not decision.expire.keys() & (marked | decision.keep.keys())
    assert {each.name for each in backups} - marked <= decision.keep.keys() | decision.expire.keys()
    by_name = {each.name: each for each in backups}
    lost = marked & reduced
    assert not decision.keep.keys() & lost
    for name in decision.keep:
        below = BackupName("s1", by_name[name].base or "")
        assert below not in by_name or below in decision.keep or name not in marked
        assert below not in marked or below in decision.unmark or name not in marked


@settings(max_examples=100, deadline=None)
@given(histories(), policies, some, some)
def test_what_the_policy_would_keep_without_any_marks_is_taken_back(
    backups: list[BackupSummary], policy: Retention, held: set[BackupName], marked: set[BackupName]
) -> None:
    there = {each.name for each in backups}
    decision = apply_policy(backups, policy, NOW, held, marked)
    kept = apply_policy(backups, policy, NOW, held).keep.keys()
    assert set(decision.unmark) >= kept & marked
    assert kept & there <= decision.keep.keys()


@settings(max_examples=100, deadline=None)
@given(histories(), policies, some, some, some, st.data())
def test_more_holds_and_larger_numbers_never_expire_more(
    backups: list[BackupSummary],
    policy: Retention,
    held: set[BackupName],
    more: set[BackupName],
    marked: set[BackupName],
    data: st.DataObject,
) -> None:
    larger = policy.model_copy(
        update={name: getattr(policy, name) + data.draw(st.integers(0, 4)) for name in NUMBERS}
    )
    less = apply_policy(backups, larger, NOW, held | more, marked)
    other = apply_policy(backups, policy, NOW, held, marked)
    assert less.expire.keys() <= other.expire.keys()
    assert set(less.unmark) >= set(other.unmark)


@settings(max_examples=100, deadline=None)
@given(histories(), policies, some, some, some)
def test_what_is_decided_once_stays_decided(
    backups: list[BackupSummary],
    policy: Retention,
    held: set[BackupName],
    marked: set[BackupName],
    named: set[BackupName],
) -> None:
    reduced = named & marked
    first = apply_policy(backups, policy, NOW, held, marked, reduced=reduced)
    now_marked = (marked | first.expire.keys()) - set(first.unmark)
    second = apply_policy(backups, policy, NOW, held, now_marked, reduced=reduced)
    assert not second.unmark
    # What was taken back counts from the next time on: until then nothing rests on that it stays.
    assert not second.expire or first.unmark
    then = now_marked | second.expire.keys()
    assert not apply_policy(backups, policy, NOW, held, then, reduced=reduced).expire
