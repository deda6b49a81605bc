from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from benchmarks import grown, planning, retained
from benchmarks.changes import Change
from benchmarks.promised import lacking, packs_of
from benchmarks.retained import DayEnd, Taken
from benchmarks.steady import AT_BACKUP, AT_ONCE, BETWEEN, JUST_NOTED, LATEST, Moment, Pace
from fleet.clock import SystemClock
from fleet.config import load
from repository.catalog import Catalog
from repository.keys import FileSource, Keyring, create_key_file
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore
from restore.archived import ArchivedLine

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def end(day, backups, archive=1_000_000, **more):
    at = BEGAN + 24 * HOUR * day
    known = {
        "backups": 5,
        "expired": 1,
        "deleted": 7,
        "points": 4,
        "expire_seconds": 0.1,
        "prune_seconds": 0.2,
    }
    return DayEnd(
        day=day, at=at, since=at - 48 * HOUR, held=backups + archive, archive=archive, **(known | more)
    )


def taken(hours, kind, stored):
    return Taken(BEGAN + hours * HOUR, f"{hours}-{kind}", kind, stored, 1.0)


THREE_DAYS = [
    each
    for day in range(3)
    for each in (taken(24 * day + 1, "full", 100_000_000), taken(24 * day + 12, "incremental", 10_000_000))
]
ENDS = {
    "stored": [end(day, day * 110_000_000) for day in (1, 2, 3)],
    "referring": [end(day, 100_000_000 + day * 10_000_000) for day in (1, 2, 3)],
}


def test_what_fulls_that_refer_may_hold_is_one_full_and_the_windows_changes():
    assert [retained.allowed(THREE_DAYS, each) for each in ENDS["stored"]] == [
        112_500_000, 125_000_000, 125_000_000
    ]  # fmt: skip
    assert retained.allowed([], ENDS["stored"][0]) is None


def test_the_aim_is_asked_when_the_window_is_full_and_in_the_end():
    found = list(retained.aims(ENDS, {"stored": THREE_DAYS, "referring": []}, 2))
    assert [(aim.value, aim.limit) for aim in found] == [(120 / 125, 1.6), (130 / 125, 1.6)]
    assert [aim.value for aim in retained.aims({"stored": [], "referring": []}, {"stored": []}, 2)] == [None]


def test_a_day_is_told_with_both_repositories_and_binlogs_apart():
    rows = retained.day_sheet(ENDS).rows
    assert rows[2][:5] == ("day 3", "330", "130", "0.39", "1.0")
    assert rows[2][5:9] == ("5 / 5", "1 / 1", "7 / 7", "4 / 4")


def test_notes_tell_what_went_and_what_became_a_stored_full():
    refers = [*THREE_DAYS, Taken(BEGAN, "x", "full", 1, 1.0, "no base")]
    text = "\n".join(retained.notes(ENDS, {"stored": THREE_DAYS, "referring": refers}, 2))
    assert "stored: 330 MB at the end, 1.0 of binlogs; 3 backups marked, 21 objects deleted" in text
    assert "stored, full: 2 of 100 MB and 1.0 s in the mean" in text
    assert "referring: 1 became a stored full, because no base" in text
    assert "day 3: one full and the window's changes are 125 MB" in text


def test_a_day_is_as_long_as_most_before_it_and_one_that_was_held_up_changes_nothing():
    assert retained.next_day_seconds(7.0, []) == 7.0
    assert retained.next_day_seconds(7.0, [7.0, 31.0, 7.1]) == 7.1
    assert retained.next_day_seconds(7.0, [6.0]) == 7.0


def noted(days):
    kinds = (JUST_NOTED, AT_BACKUP, BETWEEN)
    moments = [
        Moment(day, BEGAN + (24 * day + hour) * HOUR, f"gtids-{day}-{hour}", {}, kind)
        for day in range(days)
        for hour, kind in enumerate(kinds)
    ]
    return [*moments, Moment(days, BEGAN + 24 * days * HOUR, "all", {}, LATEST)]


def test_restores_are_of_every_kind_spread_over_the_window_and_from_both_repositories():
    asked = retained.to_restore(noted(30), 22)
    kinds = Counter(each.moment.kind for each in asked)
    assert kinds == {AT_BACKUP: 10, BETWEEN: 10, LATEST: 2}
    assert [(each.side, each.to) for each in asked[-2:]] == [("stored", "latest"), ("referring", "latest")]
    for kind in (AT_BACKUP, BETWEEN):
        of_kind = [each for each in asked if each.moment.kind == kind]
        days = [each.moment.day for each in of_kind]
        assert (days[0], days[-1], len(set(days))) == (0, 29, 10)
        assert {each.side for each in of_kind} == {"stored", "referring"}
        assert {each.to == each.moment.gtids for each in of_kind} == {True, False}
    assert retained.restored_note(asked).startswith(
        "22 restores compared by checksum (10 at a backup, 10 between two backups, 2 the latest)"
    )


def test_of_few_days_all_moments_with_checksums_are_restored():
    assert len(retained.to_restore(noted(2), 22)) == 2 * 2 + 2


def test_other_checksums_than_a_moment_had_are_told_table_by_table():
    assert retained.unlike("x", {"a.b": 1}, {"a.b": 1}) == []
    assert retained.unlike("x", {"a.b": 1}, {}) == ["x: table a.b has checksum None, not 1"]


def test_moments_of_the_window_are_those_from_its_begin_on():
    moments = [Moment(1, BEGAN + number * HOUR, "") for number in range(3)]
    assert retained.moments_since(moments, BEGAN + HOUR) == moments[1:]


def test_what_is_left_of_a_days_changes_is_spread_over_what_is_left_of_its_seconds():
    pace = Pace(Change("a day", updates=80 * AT_ONCE, appends=400))
    assert pace.batches == 80
    assert (pace.pause(80, 8.0), pace.pause(20, 1.0)) == (0.1, 0.05)
    assert 0 < pace.pause(20, -1.0) < 0.01
    assert sum(pace.appends(batch) for batch in range(pace.batches)) == 400
    assert Pace(Change("nothing")).batches == 1


GROWTH = grown.Growth(shards=1, days=2, incrementals=1, files=5, segments=2, transactions=3, rebase_every=2)


@pytest.fixture
def grown_repository(tmp_path):
    key = tmp_path / "key"
    create_key_file(key)
    keyring = Keyring([FileSource(grown.KEY_ID, key)])
    Repository.create(FilesystemStore(tmp_path / "repository"), keyring, SystemClock())
    grown.grow_shard(tmp_path / "repository", key, GROWTH, BEGAN, "shard-1")
    return Repository.open(FilesystemStore(tmp_path / "repository"), keyring)


def test_a_repository_that_was_grown_is_whole_and_leads_to_its_last_transaction(grown_repository):
    survey = Catalog(grown_repository).survey()
    assert [(each.kind, each.refers, each.broken) for each in survey.backups] == [
        ("full", False, None),
        ("incremental", False, None),
        ("full", True, None),
        ("incremental", False, None),
    ]
    assert {each.files for each in survey.backups} == {GROWTH.files}
    line = ArchivedLine.read(grown_repository, "shard-1")
    assert (line.gtids.count(), line.holes) == (12, ())


def test_a_backup_whose_pack_or_base_is_gone_lacks_it(grown_repository):
    manifests = {each.label: each for each in Catalog(grown_repository).manifests("shard-1")}
    names = [info.key for info in grown_repository.store.list("data/shard-1/")]
    packs = packs_of(names)
    first, _, _, last = manifests
    assert lacking(last, manifests, packs) is None
    assert "of whose 1 packs 0 are there" in (lacking(last, manifests, packs | {first: 0}) or "")
    del manifests[first]
    assert lacking(last, manifests, packs) == f"{last} rests on {first}, which is gone"


def test_what_is_left_of_a_pack_counts_as_the_pack_once():
    names = ["data/s/l/p00000000", "data/s/l/r00000001-01", "data/s/l/r00000001-02", "data/s/l/i000000"]
    assert packs_of(names) == {"l": 2}


def test_the_config_of_planning_can_be_read(tmp_path):
    (tmp_path / "c.toml").write_text(
        planning.fleet_text(["a", "b"], folder=tmp_path / "r", key=tmp_path / "k", secret=tmp_path / "s")
    )
    fleet = load(tmp_path / "c.toml")
    assert [shard.name for shard in fleet.shards] == ["a", "b"]
    assert fleet.retention.days == planning.WINDOW_DAYS
