"""What a history tells, and that one which is too short tells nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sealed_backups import facts, sample

from repository.archive.cover import ArchivedFile, Part, SegmentRef
from repository.layout import BinlogFile, SegmentName
from repository.manifest import Base, Manifest, Proof, Reference, Sizes, Timings
from repository.measured import FIGURES, complete, measure, past_of

NOW = datetime(2026, 3, 20, tzinfo=UTC)
UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
GB = 10**9


def taken(
    hours_ago: float, stored: int, *, on: Manifest | None = None, full: bool = True, data: int = 30 * GB
) -> Manifest:
    at = NOW - timedelta(hours=hours_ago)
    kind = "full" if full else "incremental"
    known = facts(sample().files).model_dump()
    if on is not None and full:
        known |= {"built_on": on.label, "refers_to": (Reference(shard="s1", label=on.label),)}
    elif on is not None:
        known["base"] = Base(label=on.label, checkpoint_lsn=2)
    return Manifest(
        **known
        | {
            "repository_id": "r",
            "shard": "s1",
            "label": f"{at:%Y%m%dT%H%M%SZ}-{kind}",
            "kind": kind,
            "created_by": "a test",
            "index": (),
            "timings": Timings(started_at=at, finished_at=at + timedelta(seconds=100)),
            "sizes": Sizes(files_bytes=data, received_bytes=data, stored_bytes=stored, packs=1, records=1),
        }
    )


def proof(label: str, fetch: float, *, proven: bool = True) -> Proof:
    return Proof(
        repository_id="r",
        shard="s1",
        label=label,
        proven=proven,
        gtid_executed="",
        server_version="9.7.4",
        seconds={"fetch": fetch, "recover": 5.0, "read": 1.0, "check": 4.0},
        finished_at=NOW,
        created_by="a test",
    )


def binlog(number: int, hours_ago: float, plain: int) -> ArchivedFile:
    name = BinlogFile(1, UUID, f"binlog.{number:06}", int((NOW - timedelta(hours=hours_ago)).timestamp()))
    segment = SegmentRef(SegmentName.of(name, 0, plain), plain // 4)
    return ArchivedFile(name, (Part(segment, 0, plain),))


def test_an_empty_history_tells_nothing_and_says_how_to_measure() -> None:
    assert measure([], [], [], NOW) == {}
    for name, figure in complete({}, {}).items():
        assert figure.value is None
        assert figure.note == f"not measured yet: {FIGURES[name]}"


def test_a_full_tells_size_compression_and_speed() -> None:
    told = measure([taken(5, 10 * GB)], [], [], NOW)
    assert told["size"].value == 30 * GB
    assert told["compression"].value == 3
    assert told["read"].value == pytest.approx(0.3 * GB)
    assert "change" not in told


def test_incrementals_and_fulls_that_refer_tell_what_changes() -> None:
    full = taken(24, 10 * GB)
    first = taken(18, GB // 10, on=full, full=False)
    second = taken(12, GB // 10, on=first)
    told = measure([full, first, second], [], [], NOW)
    # Two times one hundredth of a full, in twelve hours.
    assert told["change"].value == pytest.approx(4)
    assert told["compression"].value == 3
    assert [each.kind for each in past_of([full, first, second], [], NOW).taken] == [
        "stored",
        "incremental",
        "referring",
    ]


def test_a_few_minutes_say_nothing_of_a_day() -> None:
    full = taken(1, 10 * GB)
    assert "change" not in measure([full, taken(0.5, GB, on=full, full=False)], [], [], NOW)
    assert "archive" not in measure([], [], [binlog(1, 0.5, GB)], NOW)


def test_growth_is_told_by_a_week() -> None:
    week = [taken(24 * 10, 10 * GB, data=20 * GB), taken(0, 10 * GB, data=40 * GB)]
    assert measure(week, [], [], NOW)["growth"].value == pytest.approx(5)
    shrunk = [taken(24 * 10, 10 * GB, data=50 * GB), taken(0, 10 * GB, data=40 * GB)]
    assert measure(shrunk, [], [], NOW)["growth"].value == 0
    assert "growth" not in measure(week[1:], [], [], NOW)


def test_binlogs_are_told_by_those_that_are_complete() -> None:
    told = measure([], [], [binlog(1, 30, GB), binlog(2, 18, 3 * GB), binlog(3, 6, 999 * GB)], NOW)
    assert told["log"].value == pytest.approx(4 * GB)
    assert told["archive"].value == pytest.approx(GB)
    alone = measure([], [], [binlog(1, 12, 2 * GB)], NOW)
    assert alone["log"].value == pytest.approx(4 * GB)


def test_the_slowest_proven_restore_counts() -> None:
    full = taken(5, 10 * GB)
    told = measure(
        [full],
        [proof(full.label, 100), proof(full.label, 300), proof(full.label, 9000, proven=False)],
        [],
        NOW,
    )
    assert told["rate"].value == pytest.approx(0.1 * GB)
    assert told["start"].value == 10
    assert "2 restores" in told["rate"].note


def test_an_assumption_goes_before_what_was_measured() -> None:
    measured = measure([taken(5, 10 * GB)], [], [], NOW)
    figure = complete(measured, {"size": 20e12})["size"]
    assert (figure.value, figure.origin) == (20e12, "assumed")


def test_the_past_is_counted_in_days_before_now() -> None:
    past = past_of([taken(48, GB)], [binlog(1, 72, 4 * GB)], NOW)
    assert past.taken[0].day == pytest.approx(-2)
    assert (past.archive_bytes, past.archive_from) == (GB, pytest.approx(-3))
