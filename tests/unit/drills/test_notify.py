"""Who is told, and when: with a real HTTP server on this machine, and a real command."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from drills.status.notify import Known, document_of, notify, plan_telling
from drills.status.notify_failures import Failure, Failures, judge_notify
from drills.status.report import FleetStatus, Health, Judged, RecoveryMap, ShardStatus
from drills.status.served import with_service
from fleet.service_config import Notify
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


class Webhook:
    """A server that keeps what it is sent, and answers with ``code``."""

    def __init__(self, port: int, bodies: list[dict[str, Any]]) -> None:
        self.port, self.bodies = port, bodies
        self.code, self.pause = 200, 0.0


@contextmanager
def listening() -> Generator[Webhook]:
    class Visit(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            assert self.headers["Content-Type"] == "application/json"
            assert self.path == f"/{SECRET}"
            hook.bodies.append(json.loads(self.rfile.read(length)))
            time.sleep(hook.pause)
            self.send_response(hook.code)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Visit) as server:
        hook = Webhook(server.server_port, [])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hook
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with listening() as hook:
        yield hook


@pytest.fixture
def both(webhook: Webhook, tmp_path: Path) -> Notify:
    """The webhook, and a command that appends what it is given to a file."""
    return Notify.model_validate(
        {
            "webhook": {"inline": f"http://127.0.0.1:{webhook.port}/{SECRET}"},
            "command": ["sh", "-c", f"cat >> {tmp_path}/told; echo >> {tmp_path}/told"],
            "timeout_seconds": 5.0,
        }
    )


def lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / "told"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_both_ways_get_the_same_document(webhook: Webhook, both: Notify, tmp_path: Path) -> None:
    state = tmp_path / "state" / "notified.json"
    assert notify(fleet(shard("s1", LAG, GAP), shard("s2")), both, state) == ()
    assert webhook.bodies == lines(tmp_path)
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


def test_what_was_told_is_known_to_who_comes_later(webhook: Webhook, both: Notify, tmp_path: Path) -> None:
    state = tmp_path / "notified.json"
    for _ in range(3):
        assert notify(fleet(shard("s1", LAG)), both, state) == ()
    assert len(webhook.bodies) == len(lines(tmp_path)) == 1
    assert notify(fleet(shard("s1")), both, state) == ()
    assert webhook.bodies[1]["text"] == "users, shard s1: well again, was warning"


def test_a_way_that_fails_is_tried_again_and_the_other_is_not_used_twice(
    webhook: Webhook, both: Notify, tmp_path: Path
) -> None:
    state = tmp_path / "notified.json"
    webhook.code = 500
    assert notify(fleet(shard("s1", LAG)), both, state) == ("the webhook answered 500",)
    webhook.code = 204
    assert notify(fleet(shard("s1", LAG)), both, state) == (
        "notifications by webhook work again, and failed since 2026-03-01 02:15:00 UTC",
    )
    assert (len(webhook.bodies), len(lines(tmp_path))) == (2, 1)


def test_a_way_that_fails_is_a_finding_until_it_works_told_by_the_other_and_logged_once(
    webhook: Webhook, both: Notify, tmp_path: Path
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


def test_whoever_is_slow_or_not_there_is_told_of_without_the_secret(
    webhook: Webhook, both: Notify, tmp_path: Path
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


def test_a_state_that_is_torn_is_begun_anew(webhook: Webhook, both: Notify, tmp_path: Path) -> None:
    state = tmp_path / "notified.json"
    state.write_text('{"webhook": {"s1"')
    assert notify(fleet(shard("s1", LAG)), both, state) == ()
    assert notify(fleet(shard("s1", LAG)), both, state) == ()
    assert len(webhook.bodies) == 1


def test_nobody_to_tell_needs_no_state(tmp_path: Path) -> None:
    assert notify(fleet(shard("s1", LAG)), Notify(), tmp_path / "notified.json") == ()
    assert not list(tmp_path.iterdir())
