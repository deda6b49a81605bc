"""Who is told, and when: with a real HTTP server on this machine, and a real command."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from drills.status.notify import Known, document_of, notify, plan_telling
from drills.status.notify_failures import (
    LONGEST_PAUSE,
    SHORTEST_PAUSE,
    Failure,
    Failures,
    failed_again,
    judge_blocks,
    judge_notify,
    news,
    read_blocks,
    read_failures,
    write_blocks,
)
from drills.status.report import FleetStatus, Health, Judged, RecoveryMap, ShardStatus
from drills.status.served import with_service
from fleet.model import Fleet
from fleet.service_config import Notify
from tests.inbox import Inbox, inbox
from tests.unit.flows.scheduled_fleets import described as fleet_described

NOW = datetime(2026, 3, 1, 2, 15, tzinfo=UTC)
LAG = Judged(
    Health.WARNING, "archive-lag", "shard s1", "the archive is 8 minutes behind", "See backstay check."
)
GAP = Judged(
    Health.CRITICAL, "archive-gap", "shard s1", "transactions 5-7 were never archived", "Take a backup now."
)
SECRET = "token-1234"


def shard(name: str, *findings: Judged, health: Health | None = None) -> ShardStatus:
    worst = max((each.health for each in findings), key=list(Health).index, default=Health.OK)
    return ShardStatus(
        shard=name,
        health=health or worst,
        backups=(),
        last_full=None,
        last_incremental=None,
        last_proof=None,
        proofs=(),
        archive_mode="async",
        archived_until=None,
        archive_lag_seconds=None,
        windows=(),
        gaps=(),
        runs=(),
        next_run=None,
        forecast_rto_seconds=None,
        forecast_by=None,
        mirror_lag_seconds=None,
        servers=(),
        recovery=RecoveryMap(NOW, ()),
        lag_history=(),
        findings=findings,
    )


def fleet(
    *shards: ShardStatus, hours: float = 0, findings: tuple[Judged, ...] = (), **also: Any
) -> FleetStatus:
    return FleetStatus(
        fleet="users",
        repository="s3://x",
        seen_at=NOW + timedelta(hours=hours),
        health=max((each.health for each in shards), key=list(Health).index, default=Health.OK),
        shards=shards,
        disks=(),
        findings=findings,
        what_to_do="See backstay check.",
        rto_target_seconds=3600,
        rpo_target_seconds=900,
        **also,
    )


def told(
    status: FleetStatus, known: Known, **settings: Any
) -> tuple[list[tuple[str | None, str, bool]], Known]:
    telling = plan_telling(status, known, Notify(**settings))
    return [(each.shard, str(each.health), each.again) for each in telling.changes], telling.known


def text_of(status: FleetStatus, known: Known | None = None, **settings: Any) -> list[str]:
    """The lines that a chat shows."""
    changes = plan_telling(status, known or {}, Notify(**settings)).changes
    return json.loads(document_of(status, changes))["text"].splitlines()


def test_what_is_well_is_not_told() -> None:
    assert told(fleet(shard("s1"), shard("s2")), {}) == ([], {})


def test_a_change_is_told_once_and_that_it_is_over_too() -> None:
    first, known = told(fleet(shard("s1", LAG), shard("s2")), {})
    assert first == [("s1", "warning", False)]
    assert told(fleet(shard("s1", LAG), shard("s2"), hours=1), known) == ([], known)
    worse, known = told(fleet(shard("s1", LAG, GAP), shard("s2"), hours=2), known)
    assert worse == [("s1", "critical", False)]
    better, known = told(fleet(shard("s1", LAG), shard("s2"), hours=3), known)
    assert better == [("s1", "warning", False)]
    over, known = told(fleet(shard("s1"), shard("s2"), hours=4), known)
    assert (over, known) == ([("s1", "ok", False)], {})


def test_something_else_that_is_as_bad_is_told_and_what_comes_and_goes_is_not() -> None:
    stale = Judged(Health.WARNING, "proof-overdue", "shard s1", "not proven for 40 days")
    _, known = told(fleet(shard("s1", LAG)), {})
    more, known = told(fleet(shard("s1", LAG, stale)), known)
    assert more == [("s1", "warning", False)]
    assert told(fleet(shard("s1", stale)), known)[0] == []
    assert told(fleet(shard("s1", LAG, stale)), known)[0] == []


def test_a_second_server_with_the_same_trouble_is_told() -> None:
    b, c = (
        Judged(Health.CRITICAL, "replication-lag", f"server s1-{name}", "does not receive") for name in "bc"
    )
    _, known = told(fleet(shard("s1", b)), {})
    changes, known = told(fleet(shard("s1", b, c)), known)
    assert changes == [("s1", "critical", False)]
    assert told(fleet(shard("s1", c)), known)[0] == []


def test_what_goes_on_is_told_again_after_a_day_or_never() -> None:
    _, known = told(fleet(shard("s1", LAG)), {})
    assert told(fleet(shard("s1", LAG), hours=23.9), known)[0] == []
    again, later = told(fleet(shard("s1", LAG), hours=24), known)
    assert again == [("s1", "warning", True)]
    assert told(fleet(shard("s1", LAG), hours=25), later)[0] == []
    assert told(fleet(shard("s1", LAG), hours=240), known, repeat_hours=0)[0] == []


def test_what_goes_on_while_nothing_can_be_asked_is_told_again_after_a_day(
    webhook: Inbox, both: Notify, tmp_path: Path
) -> None:
    """The last known status is as old as it was then."""
    state, known = tmp_path / "notified.json", fleet(shard("s1", GAP), unreachable="no answer")
    for hours in (0, 23.9, 24, 25):
        notify(known, both, state, at=NOW + timedelta(hours=hours))
    assert [body["changes"][0]["again"] for body in webhook.bodies] == [False, True]


def test_with_a_level_of_critical_a_warning_is_the_end_of_it() -> None:
    assert told(fleet(shard("s1", LAG)), {}, level="critical") == ([], {})
    first, known = told(fleet(shard("s1", LAG, GAP)), {}, level="critical")
    assert first == [("s1", "critical", False)]
    assert told(fleet(shard("s1", LAG)), known, level="critical") == ([("s1", "warning", False)], {})


def test_what_is_unknown_is_never_told_as_well() -> None:
    _, known = told(fleet(shard("s1", LAG)), {})
    assert told(fleet(shard("s1", health=Health.UNKNOWN)), known) == ([], known)


def test_findings_of_no_shard_are_told_of_the_fleet() -> None:
    away = Judged(Health.CRITICAL, "repository-unreachable", "s3://x", "no answer")
    first, known = told(fleet(shard("s1"), findings=(away,), unreachable="no answer"), {})
    assert first == [(None, "critical", False)]
    assert told(fleet(shard("s1")), known) == ([(None, "ok", False)], {})


def test_a_shard_that_has_left_is_forgotten() -> None:
    _, known = told(fleet(shard("s1", LAG), shard("s2")), {})
    assert told(fleet(shard("s2")), known) == ([], {})


@pytest.fixture
def webhook() -> Iterator[Inbox]:
    with inbox() as hook:
        yield hook


@pytest.fixture
def both(webhook: Inbox, tmp_path: Path) -> Notify:
    """The webhook, and a command that appends what it is given to a file."""
    return Notify.model_validate(
        {
            "webhook": {"inline": f"{webhook.url}/{SECRET}"},
            "command": ["sh", "-c", f"cat >> {tmp_path}/told; echo >> {tmp_path}/told"],
            "timeout_seconds": 5.0,
        }
    )


def lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / "told"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_both_ways_get_the_same_document(webhook: Inbox, both: Notify, tmp_path: Path) -> None:
    state = tmp_path / "state" / "notified.json"
    assert notify(fleet(shard("s1", LAG, GAP), shard("s2")), both, state) == ()
    assert webhook.bodies == lines(tmp_path)
    assert webhook.posts[0].path == f"/{SECRET}"
    (document,) = webhook.bodies
    assert document["text"].splitlines() == [
        "users, shard s1: critical: transactions 5-7 were never archived, and 1 other finding",
        "Take a backup now.",
    ]
    assert document["fleet"] == "users"
    assert document["at"] == "2026-03-01T02:15:00+00:00"
    (change,) = document["changes"]
    assert [change[key] for key in ("shard", "was", "health", "again")] == ["s1", "ok", "critical", False]
    assert [each["code"] for each in change["findings"]] == ["archive-gap", "archive-lag"]


def test_the_text_says_which_server_and_which_part_it_is_about() -> None:
    stands = Judged(Health.CRITICAL, "replication-lag", "server s1-b", "does not receive: it is stopped")
    down = Judged(Health.CRITICAL, "archive-stopped", "archiver", "it does not run: ended with exit code 1")
    assert text_of(fleet(shard("s1", stands), findings=(down,)))[:2] == [
        "users, shard s1: server s1-b: critical: does not receive: it is stopped",
        "users: archiver: critical: it does not run: ended with exit code 1",
    ]


def test_what_is_new_is_told_first_with_its_own_way_out() -> None:
    failed = Judged(Health.WARNING, "backup-failed", "shard s1", "the last full failed", "Take it again.")
    stale = Judged(Health.WARNING, "proof-overdue", "shard s1", "not proven for 40 days", "Prove it.")
    _, known = told(fleet(shard("s1", GAP)), {})
    more = fleet(shard("s1", GAP, failed))
    assert text_of(more, known) == [
        "users, shard s1: warning: the last full failed; "
        "still critical: transactions 5-7 were never archived",
        "Take it again.",
    ]
    _, known = told(more, known)
    all_three = fleet(shard("s1", GAP, failed, stale))
    assert text_of(all_three, known) == [
        "users, shard s1: warning: not proven for 40 days; "
        "still critical: transactions 5-7 were never archived, and 1 other finding",
        "Prove it.",
    ]
    _, known = told(all_three, known)
    goes_on = fleet(shard("s1", GAP, failed, stale), hours=24)
    assert text_of(goes_on, known) == [
        "users, shard s1: still critical: transactions 5-7 were never archived, and 2 other findings",
        "Take a backup now.",
    ]


def test_what_becomes_worse_is_new() -> None:
    worse = replace(LAG, health=Health.CRITICAL, message="the archive is 16 minutes behind")
    stale = Judged(Health.WARNING, "proof-overdue", "shard s1", "not proven for 40 days", "Prove it.")
    _, known = told(fleet(shard("s1", LAG)), {})
    assert text_of(fleet(shard("s1", worse, stale)), known)[0] == (
        "users, shard s1: critical: the archive is 16 minutes behind, and 1 other finding"
    )


def test_what_is_over_names_itself_and_what_is_not_over() -> None:
    wrong = Judged(Health.WARNING, "settings", "configuration", "a change of it does not count", "Mend it.")
    _, known = told(fleet(shard("s1", GAP), shard("s2"), findings=(wrong,)), {})
    assert text_of(fleet(shard("s1", GAP), shard("s2")), known) == [
        "users: configuration: well again, was warning; still critical: s1"
    ]
    assert text_of(fleet(shard("s1"), shard("s2"), findings=(wrong,)), known) == [
        "users, shard s1: well again, was critical; still warning: configuration"
    ]
    assert text_of(fleet(shard("s1"), shard("s2", health=Health.UNKNOWN), findings=(wrong,)), known) == [
        "users, shard s1: well again, was critical; still warning: configuration"
    ]


def test_a_way_out_stands_below_its_own_finding_and_never_below_what_is_over() -> None:
    wrong = Judged(Health.WARNING, "settings", "configuration", "a change of it does not count", "Mend it.")
    _, known = told(fleet(shard("s1", LAG), shard("s2", GAP)), {})
    assert text_of(fleet(shard("s1"), shard("s2", GAP), findings=(wrong,)), known) == [
        "users: configuration: warning: a change of it does not count",
        "Mend it.",
        "users, shard s1: well again, was warning; still critical: s2",
    ]


def test_what_was_told_is_known_to_who_comes_later(webhook: Inbox, both: Notify, tmp_path: Path) -> None:
    state = tmp_path / "notified.json"
    for _ in range(3):
        assert notify(fleet(shard("s1", LAG)), both, state) == ()
    assert len(webhook.bodies) == len(lines(tmp_path)) == 1
    assert notify(fleet(shard("s1")), both, state) == ()
    assert webhook.bodies[1]["text"] == "users, shard s1: well again, was warning"


def test_a_way_that_fails_is_tried_again_and_the_other_is_not_used_twice(
    webhook: Inbox, both: Notify, tmp_path: Path
) -> None:
    state = tmp_path / "notified.json"
    webhook.code = 500
    assert notify(fleet(shard("s1", LAG)), both, state) == ("the webhook answered 500",)
    webhook.code = 204
    assert notify(fleet(shard("s1", LAG), hours=1), both, state) == (
        "notifications by webhook work again, and failed since 2026-03-01 02:15:00 UTC",
    )
    assert (len(webhook.bodies), len(lines(tmp_path))) == (2, 1)


def test_a_way_that_fails_is_tried_after_a_pause_or_at_once_if_somebody_put_it_right(
    webhook: Inbox, both: Notify, tmp_path: Path
) -> None:
    state, seconds = tmp_path / "notified.json", SHORTEST_PAUSE.total_seconds()
    webhook.code = 500

    def tried(after: float, *, at_once: bool = False) -> int:
        webhook.posts.clear()
        notify(fleet(shard("s1", LAG), hours=after / 3600), both, state, at_once=at_once)
        return len(webhook.bodies)

    trials = [tried(after) for after in (0, seconds - 1, seconds, 3 * seconds - 1, 3 * seconds)]
    assert trials == [1, 0, 1, 0, 1]
    assert tried(3 * seconds + 1, at_once=True) == 1
    # The other way is not held off by it, and a clock that was put back holds nothing off.
    assert len(lines(tmp_path)) == 1
    assert tried(-86400) == 1


def test_the_pauses_grow_to_ten_minutes() -> None:
    failure: Failure | None = None
    pauses: list[timedelta] = []
    for _ in range(40):
        failure = failed_again("no answer", failure, NOW)
        assert failure.next_at is not None
        pauses.append(failure.next_at - NOW)
    assert pauses[:6] == [SHORTEST_PAUSE * factor for factor in (1, 2, 4, 8, 16, 20)]
    assert set(pauses[5:]) == {LONGEST_PAUSE}


def test_a_way_that_is_taken_out_of_the_configuration_is_forgotten_without_a_word(
    webhook: Inbox, both: Notify, tmp_path: Path
) -> None:
    state, without = tmp_path / "notified.json", both.model_copy(update={"webhook": None})
    webhook.code = 500
    notify(fleet(shard("s1", LAG)), both, state)
    failed = read_failures(tmp_path)
    assert notify(fleet(shard("s1", LAG), hours=1), without, state) == ()
    assert (read_failures(tmp_path), news(failed, {}, without)) == ({}, ())
    # It is told anew, as what it never heard of, and not since when nobody could be told.
    webhook.code = 200
    assert notify(fleet(shard("s1", LAG), hours=2), both, state) == ()
    assert "nobody could be told" not in webhook.bodies[-1]["text"]
    # Nor is it ever told that something is over of which it heard when it was in use before.
    assert notify(fleet(shard("s1"), hours=2.2), without, state) == ()
    webhook.posts.clear()
    assert notify(fleet(shard("s1"), hours=2.4), both, state) == ()
    assert webhook.posts == []
    webhook.code = 500
    notify(fleet(shard("s1", GAP), hours=3), both, state)
    assert notify(fleet(shard("s1", GAP), hours=4), Notify(), state) == ()
    assert read_failures(tmp_path) == {}


def test_a_way_that_fails_is_a_finding_until_it_works_told_by_the_other_and_logged_once(
    webhook: Inbox, both: Notify, tmp_path: Path
) -> None:
    state, described = tmp_path / "notified.json", fleet_described().model_copy(update={"notify": both})

    def seen(*findings: Judged, hours: float) -> FleetStatus:
        status = fleet(shard("s1", *findings), hours=hours)
        return with_service(status, described, tmp_path, status.seen_at)

    webhook.code = 500
    assert notify(seen(LAG, hours=0), both, state) == ("the webhook answered 500",)
    status = seen(hours=1)
    (found,) = status.findings
    assert (found.code, found.health, found.message) == (
        "notify-failed",
        Health.WARNING,
        "the webhook answered 500",
    )
    assert (found.since, status.health) == (NOW, Health.WARNING)
    assert notify(status, both, state) == ()
    assert "notifications by webhook: warning: the webhook answered 500" in lines(tmp_path)[-1]["text"]
    webhook.code = 200
    # What it could not tell is over; that it works must be tried all the same.
    assert notify(seen(hours=2), both, state) == (
        "notifications by webhook work again, and failed since 2026-03-01 02:15:00 UTC",
    )
    assert webhook.bodies[-1]["text"] == (
        "users: nobody could be told this way since 2026-03-01 02:15:00 UTC: the webhook answered 500"
    )
    assert seen(hours=3).findings == ()


def test_a_way_that_is_not_wanted_any_more_is_no_finding() -> None:
    failures: Failures = {"webhook": Failure(problem="the webhook answered 500", since=NOW)}
    assert list(judge_notify(failures, Notify())) == []


def test_a_block_that_is_not_there_is_a_finding_until_it_is_or_is_not_wanted(tmp_path: Path) -> None:
    wanted = fleet_described(notify={"prefect_blocks": ["slack-webhook/operations"]})
    problems = {"slack-webhook/operations": "the Prefect server has no such block"}

    def found(described: Fleet) -> list[tuple[str, str]]:
        status = with_service(fleet(shard("s1")), described, tmp_path, NOW)
        return [(each.subject, each.message) for each in status.findings]

    assert write_blocks(tmp_path, problems, NOW) == (
        "Prefect block slack-webhook/operations: the Prefect server has no such block",
    )
    assert write_blocks(tmp_path, problems, NOW + timedelta(hours=1)) == ()
    assert found(wanted) == [
        ("Prefect block slack-webhook/operations", "the Prefect server has no such block")
    ]
    assert found(fleet_described()) == []
    assert [each.since for each in judge_blocks(read_blocks(tmp_path), wanted.notify)] == [NOW]
    # Where `deploy` puts automations, it says so itself.
    elsewhere = fleet_described(scheduler={"api_url": "http://prefect/api"}, notify=wanted.notify)
    assert found(elsewhere) == []
    assert write_blocks(tmp_path, {}, NOW) == ("Prefect block slack-webhook/operations is used",)
    assert found(wanted) == []


@pytest.mark.parametrize("name", ["operations", "slack-webhook/", "/x", "Slack Webhook/x", "a/b/c", "a/b_c"])
def test_a_block_is_named_by_type_and_name(name: str) -> None:
    with pytest.raises(ValidationError, match="is not type/name, such as slack-webhook/operations"):
        Notify(prefect_blocks=(name,))


def test_whoever_is_slow_or_not_there_is_told_of_without_the_secret(
    webhook: Inbox, both: Notify, tmp_path: Path
) -> None:
    state = tmp_path / "notified.json"
    webhook.pause = 1.0
    slow = both.model_copy(update={"timeout_seconds": 0.2, "command": ("sh", "-c", "sleep 60 & sleep 60")})
    begun = time.monotonic()
    problems = notify(fleet(shard("s1", LAG)), slow, state)
    assert time.monotonic() - begun < 5
    assert problems == (
        "the webhook gave no answer in time",
        "the command sh took longer than 0.2 s",
    )
    gone = Notify.model_validate(
        {"webhook": {"inline": f"http://127.0.0.1:1/{SECRET}"}, "command": ["/nowhere/program", SECRET]}
    )
    problems = notify(fleet(shard("s1", LAG)), gone, tmp_path / "gone" / "notified.json")
    assert problems == (
        "the webhook cannot be reached: connection refused",
        "the command /nowhere/program cannot be run: no such file or directory",
    )
    failing = Notify.model_validate({"webhook": {"inline": SECRET}, "command": ["false"]})
    problems = notify(fleet(shard("s1", LAG)), failing, tmp_path / "failing" / "notified.json")
    assert problems == (
        "the webhook is no http:// or https:// address",
        "the command false ended with status 1",
    )


def test_a_state_that_is_torn_is_begun_anew(webhook: Inbox, both: Notify, tmp_path: Path) -> None:
    state = tmp_path / "notified.json"
    state.write_text('{"webhook": {"s1"')
    assert notify(fleet(shard("s1", LAG)), both, state) == ()
    assert notify(fleet(shard("s1", LAG)), both, state) == ()
    assert len(webhook.bodies) == 1


def test_nobody_to_tell_needs_no_state(tmp_path: Path) -> None:
    assert notify(fleet(shard("s1", LAG)), Notify(), tmp_path / "notified.json") == ()
    assert not list(tmp_path.iterdir())
