"""Is the recovery window as it was? Asked of chains and of the archive, and not of the policy."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from backup.expire import expire, plan_expire
from backup.promise import Promise, leading, why_promise_breaks
from fleet.gtid import GtidSet
from fleet.policy import Retention
from repository.archive.archive import ShardArchive
from repository.archive.line import Line
from repository.catalog import BackupSummary, Catalog
from repository.layout import BackupName
from tests.unit.backup.test_expire import TODAY, Place
from tests.unit.repository.archive.archived_binlogs import OTHER, SOURCE, MadeFile, binlog, open_first

FIRST = TODAY - timedelta(days=60)
"""Transaction n was committed n days later."""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Its archive has 60 transactions, one a day, the last of them today."""
    made = Place(tmp_path)
    archive = ShardArchive(made.repository, "s1", level=1)
    open_first(archive)
    for number in range(3):
        before = GtidSet.parse(f"{SOURCE}:1-{20 * number}") if number else GtidSet()
        file = MadeFile(binlog(number + 1), before)
        for one in range(20 * number + 1, 20 * number + 21):
            at = FIRST + timedelta(days=one)
            file.commit(f"{SOURCE}:{one}", at_us=round(at.timestamp() * 10**6))
        file.rotate().put(archive, [0, len(file.data)], "rotate")
    return made


def take(place: Place, day: int, *, astray: bool = False) -> BackupSummary:
    """A full that holds the first ``day`` transactions, and one of a branch if it is ``astray``."""
    held = f"{SOURCE}:1-{day}" + (f",{OTHER}:1" if astray else "")
    label = place.take(60 - day - 0.01, gtids=held).label
    return next(each for each in Catalog(place.repository).backups("s1") if each.label == label)


def promise(place: Place, start: datetime) -> Promise:
    return Promise(start, TODAY, Line.of(ShardArchive(place.repository, "s1")))


def test_without_the_newest_before_it_the_window_would_be_another(place: Place) -> None:
    backups = [take(place, day) for day in (10, 20, 40)]
    start = promise(place, FIRST + timedelta(days=30))
    assert why_promise_breaks(start, backups, ()) is None
    assert why_promise_breaks(start, backups, {backups[0].name}) is None
    assert "would be the newest at" in str(why_promise_breaks(start, backups, {backups[1].name}))
    assert "would be the newest at" in str(why_promise_breaks(start, backups, {backups[2].name}))
    told = why_promise_breaks(start, backups, {each.name for each in backups})
    assert told == "no backup of shard s1 would be left that is whole"


def test_what_another_one_continues_must_not_go(place: Place) -> None:
    full, newer = take(place, 10), take(place, 20)
    newer = replace(newer, kind="incremental", base=full.label)
    told = why_promise_breaks(promise(place, TODAY), [full, newer], {full.name})
    assert told == f"{newer.label} stays, and {full.label}, which it continues, would go"


def test_a_backup_of_a_branch_leads_nowhere_however_well_its_date_fits(place: Place) -> None:
    backups = [take(place, 10), take(place, 20), take(place, 25, astray=True), take(place, 40)]
    start = promise(place, FIRST + timedelta(days=30))
    assert leading(start, backups) == {backups[1].name}
    told = why_promise_breaks(start, backups, {backups[0].name, backups[1].name})
    assert told is not None
    assert told.startswith("what was recoverable from 2026-03-01 12:00:00 UTC on would not be")


def test_where_nothing_was_written_for_long_the_end_of_the_archive_is_promised(place: Place) -> None:
    backups = [take(place, 20), take(place, 50, astray=True)]
    late = Promise(TODAY + timedelta(days=5), TODAY + timedelta(days=9), promise(place, TODAY).line)
    assert leading(late, backups) == {backups[0].name}
    assert "recoverable" in str(why_promise_breaks(late, backups, {backups[0].name}))


def test_without_an_archive_the_ends_of_backups_are_the_points(place: Place) -> None:
    backups = [take(place, day) for day in (10, 20, 40)]
    start = Promise(FIRST + timedelta(days=30), TODAY, None)
    assert leading(start, backups) == frozenset()
    assert why_promise_breaks(start, backups, {backups[0].name}) is None
    assert why_promise_breaks(start, backups, {backups[1].name}) is not None


def test_expire_keeps_what_the_archive_needs_where_dates_alone_would_end_it(place: Place) -> None:
    backups = [take(place, 10), take(place, 20), take(place, 25, astray=True), take(place, 40)]
    policy = Retention(days=30.0, minimum_fulls=1)
    plan = plan_expire(place.repository, policy, clock=place.clock, may_shrink=True)
    (shard,) = plan.shards
    assert shard.refused is None
    assert [each.label for each in shard.expires] == [backups[0].label]
    kept = {each.label: each.reasons for each in shard.kept}
    assert kept[backups[1].label] == kept[backups[2].label] == ("leads to the first points of the window",)
    expire(place.repository, plan)
    assert place.marked() == [backups[0].label]


def test_an_archive_that_cannot_be_read_shows_nothing_so_nothing_is_marked(place: Place) -> None:
    backups = [take(place, day) for day in (10, 20, 25, 40)]
    name = next(info.key for info in place.store.list("archive/s1/000001/binlogs/"))
    place.store.put(name, b"scratched", if_absent=False)
    opened = "archive/s1/000001/opened"
    place.store.put(opened, b"scratched", if_absent=False)
    plan = plan_expire(place.repository, Retention(days=30.0), clock=place.clock, may_shrink=True)
    refused = plan.shards[0].refused
    assert refused is not None
    assert refused.message.startswith("it cannot be shown that the recovery window stays as it is")
    expire(place.repository, plan)
    assert place.marked() == []
    assert BackupName("s1", backups[0].label) in {each.name for each in Catalog(place.repository).backups()}
