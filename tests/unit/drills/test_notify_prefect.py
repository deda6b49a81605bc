"""What a Prefect server is sent, and what becomes of it if it does not take it."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path
from typing import Any

from drills.status.notify import forget_told, notify
from drills.status.notify_prefect import EventsApi
from drills.status.service_state import PartSeen, PartState, ServiceSeen
from fleet.errors import ConfigError
from fleet.service_config import Notify
from tests.inbox import Inbox, inbox
from tests.unit.drills.test_notify import GAP, LAG, NOW, fleet, shard

EVENTS = Notify(prefect_events=True, timeout_seconds=5.0)


def api_of(received: Inbox) -> EventsApi:
    return EventsApi(f"{received.url}/api", lambda: "backstay:a:b")


def events(received: Inbox) -> list[dict[str, Any]]:
    """All events that arrived, whichever were sent together."""
    return [event for body in received.bodies for event in body]


def test_each_change_is_an_event_with_the_document_of_that_change(tmp_path: Path) -> None:
    with inbox() as received:
        notify(
            fleet(shard("s1", GAP), shard("s2", LAG)),
            EVENTS,
            tmp_path / "notified.json",
            prefect=api_of(received),
        )
    first, second = events(received)
    assert [each["event"] for each in events(received)] == [
        "backstay.health.critical",
        "backstay.health.warning",
    ]
    assert first["resource"] == {
        "prefect.resource.id": "backstay.shard.users.s1",
        "prefect.resource.name": "users, shard s1",
        "backstay.fleet": "users",
        "backstay.shard": "s1",
    }
    assert first["payload"]["text"].splitlines() == [
        "users, shard s1: critical: transactions 5-7 were never archived",
        "Take a backup now.",
    ]
    assert [change["shard"] for change in second["payload"]["changes"]] == ["s2"]
    assert first["occurred"] == NOW.isoformat()
    assert first["id"] != second["id"]
    (post,) = received.posts
    assert post.path == "/api/events"
    assert post.auth == f"Basic {base64.b64encode(b'backstay:a:b').decode()}"


def test_a_server_that_is_away_is_a_way_that_fails_and_later_learns_what_it_missed(tmp_path: Path) -> None:
    state = tmp_path / "notified.json"
    with inbox() as received:
        received.code = 503
        said = notify(fleet(shard("s1", GAP)), EVENTS, state, prefect=api_of(received))
        assert said == ("the Prefect server answered 503",)
        received.code = 204
        received.posts.clear()
        gone = api_of(received)
        said = notify(fleet(shard("s1", GAP), hours=1), EVENTS, state, prefect=api_of(received))
    assert said == ("notifications by prefect work again, and failed since 2026-03-01 02:15:00 UTC",)
    assert [each["event"] for each in events(received)] == [
        "backstay.health.critical",
        "backstay.notify.again",
    ]
    assert events(received)[1]["resource"]["prefect.resource.id"] == "backstay.fleet.users"
    assert events(received)[1]["payload"]["text"] == (
        "users: nobody could be told this way since 2026-03-01 02:15:00 UTC: the Prefect server answered 503"
    )
    said = notify(fleet(shard("s1"), hours=2), EVENTS, state, prefect=gone)
    assert said == ("the Prefect server cannot be reached: connection refused",)


def test_what_cannot_be_told_yet_is_no_failure_and_is_told_later(tmp_path: Path) -> None:
    state = tmp_path / "notified.json"
    assert notify(fleet(shard("s1", GAP)), EVENTS, state) == ()
    with inbox() as received:
        assert notify(fleet(shard("s1", GAP)), EVENTS, state, prefect=api_of(received)) == ()
        assert notify(fleet(shard("s1", GAP)), EVENTS, state) == ()
        assert notify(fleet(shard("s1", GAP)), EVENTS, state, prefect=api_of(received)) == ()
    assert len(received.posts) == 1


def test_a_server_is_told_nothing_unless_the_configuration_says_so(tmp_path: Path) -> None:
    with inbox() as received:
        command = Notify(command=("true",))
        assert (
            notify(fleet(shard("s1", GAP)), command, tmp_path / "told.json", prefect=api_of(received)) == ()
        )
    assert received.posts == []


def test_who_hears_of_it_for_the_first_time_is_told_what_is_not_well(tmp_path: Path) -> None:
    state = tmp_path / "notified.json"
    with inbox() as received:
        for _ in range(2):
            notify(fleet(shard("s1", GAP)), EVENTS, state, prefect=api_of(received))
        forget_told(state, "prefect")
        notify(fleet(shard("s1", GAP)), EVENTS, state, prefect=api_of(received))
    assert [event["event"] for event in events(received)] == ["backstay.health.critical"] * 2


def test_a_password_that_cannot_be_read_is_told_as_a_failure(tmp_path: Path) -> None:
    def unreadable() -> str:
        raise ConfigError("the scheduler's password cannot be read")

    api = EventsApi("http://127.0.0.1:1/api", unreadable)
    said = notify(fleet(shard("s1", GAP)), EVENTS, tmp_path / "notified.json", prefect=api)
    assert said == ("the scheduler's password cannot be read",)


def test_a_scheduler_is_only_starting_until_it_has_failed() -> None:
    def seen(state: PartState, failures: int = 0) -> ServiceSeen:
        part = PartSeen(name="scheduler", state=state, since=NOW, failures=failures)
        return ServiceSeen(pid=1, started_at=NOW - timedelta(hours=1), parts=(part,))

    assert seen("starting").is_only_starting("scheduler")
    assert not seen("starting", failures=1).is_only_starting("scheduler")
    assert not seen("running").is_only_starting("scheduler")
    assert not seen("starting").is_only_starting("runner")
