"""The policy with damaged backups: whatever the history and the damage, it only keeps more."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from test_retention import NOW, backup

from fleet.policy import Retention
from repository.catalog import BackupSummary
from repository.retention import apply_policy


@st.composite
def histories(draw: st.DrawFn) -> list[BackupSummary]:
    made: list[BackupSummary] = []
    for number, age in enumerate(sorted(draw(st.sets(st.integers(0, 60), max_size=9)), reverse=True)):
        base = draw(st.sampled_from([None, *(each.label for each in made)]))
        made.append(backup(age, "incremental" if base else "full", base=base, number=number))
    return made


POLICIES = st.builds(
    Retention,
    days=st.sampled_from([1.0, 10.0, 30.0]),
    minimum_fulls=st.integers(1, 3),
    keep_weekly=st.integers(0, 2),
)


@settings(max_examples=300, deadline=None)
@given(histories(), POLICIES, st.data())
def test_a_finding_ends_nothing_and_takes_no_undamaged_one_its_place(
    backups: list[BackupSummary], policy: Retention, data: st.DataObject
) -> None:
    some = st.lists(st.sampled_from(backups), unique=True) if backups else st.just([])
    harmed = {each.name for each in data.draw(some)}
    marked = {each.name for each in data.draw(some)}
    without = apply_policy(backups, policy, NOW, marked=marked)
    found = apply_policy(backups, policy, NOW, marked=marked, harmed=harmed)
    assert found.keep.keys() >= without.keep.keys()
    assert found.expire.keys() <= without.expire.keys()
    unharmed = [each for each in backups if each.name not in harmed]
    alone = apply_policy(unharmed, policy, NOW, marked=marked & {each.name for each in unharmed})
    assert found.keep.keys() >= alone.keep.keys()
