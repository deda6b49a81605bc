from __future__ import annotations

import io
import json
import os
import random

import pytest
from rich.console import Console

from benchmarks import (
    chain_restore,
    incremental,
    mirroring,
    one_table,
    planning,
    referring,
    story_report,
    verifying,
)
from benchmarks.changes import A_QUARTER, EVERY_TABLE, append, update, usual_changes
from benchmarks.commands import printed_json
from benchmarks.measuring import Usage
from benchmarks.shelf import joined
from benchmarks.stories import STORIES, Story
from benchmarks.story import Aim, Sheet, Step, Told, megabytes, ratio, shown, step_named
from fleet.errors import UsageError
from repository.layout import BinlogFile, SegmentName


def step(part, name, seconds=1.0, added=0, error=None, title=None, **report):
    usages = () if error else (Usage(seconds, seconds / 2, 50_000_000, {"donor": 0.1}),)
    return Step(part, name, title or name, usages, added, report, error)


class Statements:
    """Notes what a cursor is asked to do."""

    def __init__(self):
        self.said = []
        self.inserted = 0

    def execute(self, sql, args=None):
        self.said.append((sql, args))

    def executemany(self, sql, rows):
        self.said.append((sql, rows))
        self.inserted += len(rows)

    def fetchone(self):
        return (100,)


def rendered(told):
    output = io.StringIO()
    story_report.show(told, Console(file=output, width=100, highlight=False))
    return output.getvalue()


def test_updates_are_spread_over_the_tables_evenly_and_in_transactions():
    cursor = Statements()
    update(cursor, random.Random(1), 1200, 1000, EVERY_TABLE)
    updates = [sql for sql, args in cursor.said if args]
    assert len(updates) == 1200
    assert {sum(f"sbtest{table} " in sql for sql in updates) for table in EVERY_TABLE} == {150}
    assert [sql for sql, args in cursor.said if not args] == [*["COMMIT", "BEGIN"] * 3, "COMMIT"]


def test_updates_are_the_same_ones_for_a_seed():
    one, two = Statements(), Statements()
    for cursor in (one, two):
        update(cursor, random.Random(7), 20, 1000, A_QUARTER)
    assert one.said == two.said
    assert not any("sbtest3" in sql for sql, _ in one.said)


def test_appended_rows_come_behind_all_that_are_there_in_the_index_too():
    cursor = Statements()
    append(cursor, random.Random(1), 1600, (1, 2))
    assert cursor.inserted == 1600
    keys = [row[0] for sql, rows in cursor.said if "INSERT INTO sbtest2" in sql for row in rows]
    assert keys == list(range(101, 901))


def test_the_usual_changes_are_some_for_all_tables_and_then_twice_the_same_for_few():
    changes = usual_changes(10_000)
    assert [change.updates for change in changes] == [200, 2_000, 20_000, 0, 2_000, 2_000]
    assert [change.appends for change in changes] == [0, 0, 0, 800, 0, 0]
    assert [len(change.tables) for change in changes] == [8, 8, 8, 8, 2, 2]
    assert len({change.name for change in changes}) == 6


@pytest.mark.parametrize(
    ("value", "reached"), [(0.5, True), (0.51, False), (None, False)], ids=["at", "above", "failed"]
)
def test_an_aim_is_reached_up_to_its_limit_and_missed_where_nothing_was_measured(value, reached):
    aim = Aim("bytes", value, 0.5)
    assert aim.reached is reached
    assert ("MISSED" in str(aim)) is not reached


def test_figures_are_short_and_what_is_unknown_is_a_dash():
    assert (shown(None), shown(3.14159, 2), shown(12345.6, 0)) == ("-", "3.14", "12,346")
    assert (megabytes(None), megabytes(1_234_567), megabytes(1_234_567_890)) == ("-", "1.2", "1,235")
    assert (ratio(1.0, 2.0), ratio(None, 2.0), ratio(1.0, None), ratio(1.0, 0.0)) == (0.5, None, None, None)


def test_rounds_of_a_step_become_one_with_all_usages_and_the_last_report():
    one = joined([step("a", "x", 1.0, 5, n=1), step("a", "x", error="no luck"), step("a", "x", 3.0, 7, n=2)])
    assert one.seconds == 2.0
    assert (one.added_bytes, one.report, one.error) == (7, {"n": 2}, "no luck")
    assert joined([step("a", "x", error="no luck")]).seconds is None


def test_a_step_that_failed_is_no_measure_for_others():
    steps = [step("a", "x", error="no luck"), step("b", "x", 2.0)]
    assert step_named(steps, "a", "x") is None
    assert step_named(steps, "b", "x") is steps[1]


CHANGED = [
    step("2,000 updates", "full", 10.0, 700_000_000, title="full, stored", received_bytes=2_000_000_000),
    step("2,000 updates", "incremental", 8.0, 30_000_000, received_bytes=2_000_000_000, saving="off"),
    step("2,000 updates", "saving", 9.0, 30_000_000, received_bytes=9, skipped_bytes=0, saving="no list"),
    step("2,000 updates", "restic", 20.0, 120_000_000),
]


def test_a_change_is_told_beside_a_full_and_beside_restic():
    rows = incremental.sheet("2,000 updates", CHANGED).rows
    assert rows[1] == ("incremental", "8.0", "0.80", "4.0", "0.1", "2,000", "30.0", "0.25", "50")
    assert rows[3][5:8] == ("-", "120", "1.00")


def test_the_aims_of_incrementals_are_bytes_beside_restic_and_time_where_few_tables_changed():
    changes = usual_changes(1000)
    few = changes[-1].name
    steps = [*CHANGED, step(few, "full", 10.0), step(few, "saving", 4.0, skipped_bytes=1)]
    assert [(aim.value, aim.limit) for aim in incremental.aims(steps, changes)] == [(0.25, 0.5), (0.4, 0.5)]


def test_without_restic_there_is_no_aim_beside_it_and_a_dash_in_its_column():
    assert [aim.limit for aim in incremental.aims(CHANGED[:3], usual_changes(1000)[:3])] == []
    assert incremental.sheet("2,000 updates", CHANGED[:3]).rows[0][7] == "-"


def test_that_nothing_was_skipped_or_that_a_full_was_taken_is_noted():
    steps = [*CHANGED, step("x", "incremental", became_full_because="no base", damaged_pages=2)]
    assert list(incremental.notes(steps)) == [
        "2,000 updates, saving: nothing was skipped (no list)",
        "x, incremental: became a full, because no base",
        "x, incremental: 2 damaged pages",
    ]


def test_a_chain_is_told_beside_its_full():
    steps = [
        step(chain_restore.ALONE, "fetch", 4.0, read_bytes=700_000_000),
        step(chain_restore.CHAIN, "fetch", 5.0, read_bytes=760_000_000),
        step(chain_restore.ALONE, "restore", 10.0),
    ]
    rows = chain_restore.restore_sheet(steps).rows
    assert rows[1][:3] == (f"{chain_restore.CHAIN}, files alone", "5.0", "1.25")
    assert [aim.value for aim in chain_restore.aims(steps)] == [1.25, None]


SINGLE = [
    step(one_table.AT_BACKUP, "table", 2.0, read_bytes=5_000_000, log_bytes=0, transactions=0, checksum=7),
    step(one_table.AT_BACKUP, "shard", 20.0, read_bytes=50_000_000),
    step(
        one_table.AT_END, "table", 3.0, read_bytes=5_000_000, log_bytes=1_000_000, transactions=9, checksum=8
    ),
    step(one_table.AT_END, "shard", 30.0, log_bytes=2_000_000, transactions=20),
]


def test_a_table_is_told_beside_the_shard_at_both_points():
    rows = one_table.sheet(SINGLE).rows
    assert [row[2] for row in rows] == ["0.10", "1.00", "0.10", "1.00"]
    assert [row[5] for row in rows] == ["0.10", "1.00", "0.10", "1.00"]
    assert rows[2][6:8] == ("1.0", "9")
    assert [aim.value for aim in one_table.aims(SINGLE)] == [0.1, 0.1]
    assert [aim.value for aim in one_table.aims(SINGLE[:1])] == [None, None]


def test_a_table_with_other_rows_than_the_donors_is_a_failure():
    right = {one_table.AT_BACKUP: 7, one_table.AT_END: 8}
    assert list(one_table.other_rows(SINGLE, right)) == []
    wrong = list(one_table.other_rows(SINGLE, right | {one_table.AT_END: 9}))
    assert wrong == [f"sbtest.small {one_table.AT_END} has checksum 8, not 9"]


def ten_days():
    for day in range(1, referring.DAYS + 1):
        for number in range(referring.A_DAY):
            kind = "incremental" if number else "full"
            yield step(f"day {day}", "stored", 2.0, 10_000_000 if number else 100_000_000, kind=kind)
            yield step(f"day {day}", "referring", 1.0, 10_000_000, kind=kind)


def test_what_repositories_hold_is_summed_up_day_by_day():
    sheet = referring.day_sheet(list(ten_days()))
    assert sheet.rows[0] == ("day 1", "130", "40.0", "0.31", "130", "40.0")
    assert sheet.rows[9] == ("day 10", "1,300", "400", "0.31", "130", "40.0")


def test_backups_are_told_by_kind_from_the_second_day_on():
    rows = referring.kind_sheet([*ten_days(), step("end", "consolidate", 0.5, 1_000_000)]).rows
    assert rows[0] == ("full, in the repository of stored fulls", "9", "2.0", "1.0", "100", "50")
    assert [row[1] for row in rows] == ["9", "27", "9", "27", "1"]
    assert "stored: 130 MB a day from the second day on" in list(referring.notes(list(ten_days())))


def test_what_became_a_stored_full_is_counted_by_reason():
    steps = [*ten_days(), *(step("day 1", "stored", became_full_because="no base") for _ in range(2))]
    assert list(referring.notes(steps))[2:] == ["2 of 82 backups became a stored full, because no base"]


TOLD = Told(
    "incremental",
    {"data": "2,055 MB"},
    (*CHANGED, step("200 updates", "saving", error="no luck", title="incremental, with saving")),
    (incremental.sheet("2,000 updates", CHANGED), Sheet("other", ("", "n"), (("row", "1"),))),
    aims=(Aim("bytes", 0.25, 0.5),),
    failures=("saving: table a.b has checksum 1, not 2",),
)


def test_a_story_fits_in_a_hundred_columns_and_tells_aims_and_failures():
    text = rendered(TOLD)
    assert max(map(len, text.splitlines())) <= 100
    assert "bytes: 0.25, aim 0.50: reached" in text
    assert "failed: 200 updates, incremental, with saving: no luck" in text
    assert "failed: saving: table a.b has checksum 1, not 2" in text


def test_a_machine_that_was_not_alone_during_a_story_is_told():
    assert "not alone" not in rendered(TOLD)
    busy = Step("a", "b", "c", (Usage(10.0, 1.0, 1, {}, 10.0 * (os.cpu_count() or 1) / 4),))
    told = Told("x", {}, (busy,), ())
    assert "not alone: others used up to 25% of the machine in 1 of 1 steps" in rendered(told)


def test_the_json_of_a_story_holds_every_step_with_its_report():
    document = json.loads(json.dumps(story_report.as_json(TOLD)))
    assert document["steps"][1]["report"]["saving"] == "off"
    assert document["steps"][1]["rounds"][0]["seconds"] == 8.0
    assert document["aims"][0]["reached"] is True
    assert len(document["failed"]) == 2


def test_every_story_has_a_size_and_room_for_its_repositories():
    assert all(story.size_mb * story.room >= 1500 and story.room >= 3 for story in STORIES.values())


def test_days_are_lived_by_retention_alone():
    with pytest.raises(UsageError, match="lives none"):
        STORIES["referring"].told(None, 1, 1, print, 4)
    lived = Story(lambda *words, **named: (words, named), 100, 4, days=True)
    assert lived.told("place", 1, 2, print, 4) == (("place", 1, 2, print), {"days": 4})
    assert lived.told("place", 1, 2, print, None) == (("place", 1, 2, print), {})


def test_an_aim_may_be_the_least_that_is_asked():
    assert Aim("MB/s", 300.0, 300.0, at_least=True).reached
    assert str(Aim("MB/s", 299.0, 300.0, at_least=True)) == "MB/s: 299.00, aim at least 300.00: MISSED"
    assert not Aim("MB/s", None, 300.0, at_least=True).reached


VERIFIED = [
    step(verifying.FILES, "backup", 5.0, stored_bytes=700_000_000),
    step(verifying.FILES, "full", 2.0, title="verify --full, from files"),
    step(verifying.FILES, "quick", 0.5, title="verify --quick, from files", damages=["p1"]),
    step(verifying.S3, "backup", 5.0, stored_bytes=700_000_000),
]


def test_verify_is_told_by_the_rate_of_what_is_stored():
    rows = verifying.sheet(VERIFIED).rows
    assert rows[0] == ("verify --full, from files", "700", "2.00", "350", "1.00", "-", "50")
    assert rows[1][3] == "-"
    assert [aim.value for aim in verifying.aims(VERIFIED)] == [350.0, None]
    assert list(verifying.unsound(VERIFIED)) == ["verify --quick, from files: ['p1']"]


PLANNED = [
    step("planning", planning.EXPIRE, 3.0, title=planning.EXPIRE),
    step("planning", planning.PRUNE, error="no luck"),
]


def test_planning_is_measured_by_its_time_and_memory():
    assert planning.sheet(PLANNED).rows == ((planning.EXPIRE, "3.00", "1.50", "50"),)
    found = [(aim.value, aim.limit) for aim in planning.aims(PLANNED)]
    assert found == [(3.0, 5.0), (50.0, 200.0), (None, 5.0), (None, 200.0)]


COPIED = [
    step("backup", "backup", 5.0, title="the backup itself"),
    step(mirroring.FOLDER, mirroring.MIRROR, 4.0, title="mirror"),
    step(mirroring.FOLDER, mirroring.PLAIN, 2.0, title="cp"),
]


def test_a_mirror_is_told_beside_a_plain_copy_and_the_backup():
    rows = mirroring.copy_sheet(COPIED, 700_000_000).rows
    assert [row[1:4] for row in rows] == [
        ("5.00", "140", "-"),
        ("4.00", "175", "0.50"),
        ("2.00", "350", "1.00"),
    ]
    assert [aim.value for aim in mirroring.aims(COPIED)] == [0.8, None]


def test_a_commit_is_in_the_mirror_when_the_first_segment_that_holds_it_is():
    file, other = BinlogFile(1, "u", "b.1", 0), BinlogFile(1, "u", "b.2", 0)
    seen = {
        SegmentName.of(file, 0, 100): 12.0,
        SegmentName.of(file, 100, 200): 13.0,
        SegmentName.of(file, 0, 200): 11.5,
    }
    ends = ((file, 100), (file, 200), (other, 50))
    lag = mirroring.lag_of(5.0, [mirroring.Commit(*each, at=11.0) for each in ends], seen)
    assert lag == mirroring.Lag(5.0, 3, 1, 0.5, 0.5, 0.5)
    assert mirroring.lag_sheet([lag]).rows == (("poll_seconds = 5", "3", "0.50", "0.50", "0.50", "1"),)
    assert list(mirroring.missed([lag])) == ["1 of 3 commits never came to the mirror (5 s)"]


def test_what_a_command_printed_as_json_is_found_among_other_lines(tmp_path):
    log = tmp_path / "log"
    log.write_text('warning: x\n{\n  "sound": true\n}\nnote: y\n')
    assert printed_json(log) == {"sound": True}
    log.write_text('{\n  "sound": false\n}\n')
    assert printed_json(log) == {"sound": False}
    log.write_text("error: no luck\n")
    assert printed_json(log) == {}
