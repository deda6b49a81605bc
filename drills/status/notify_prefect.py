"""Telling a Prefect server: each change is an event, which automations there may wait for.

By plain HTTP, since who looks at the fleet carries no Prefect. The form is that of Prefect 3's
``POST /events``: a list of events, each with an id, a time, a name, a resource and a payload.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias
from uuid import uuid4

from drills.status.posting import post_json

HEALTH_EVENTS = "backstay.health."
"""What follows is the health that the change is to: ``backstay.health.critical``."""
AGAIN_EVENT = "backstay.notify.again"
"""Nothing has changed, but until now nobody could be told by events."""
FLEET_LABEL = "backstay.fleet"
"""The label of every resource of ours that says whose it is."""

Event: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EventsApi:
    """The API of a Prefect server, without a slash at its end. ``auth`` gives what it asks for, as
    `user:password`, when it is needed, or None; it may raise ``ToolError``.
    """

    url: str
    auth: Callable[[], str | None] = field(repr=False)


def event_of(
    name: str,
    fleet: str,
    shard: str | None,
    at: datetime,
    *,
    payload: Mapping[str, Any] | None = None,
) -> Event:
    """An event of a shard, or of the fleet itself. Its resource is ``backstay.shard.<fleet>.<shard>`` or
    ``backstay.fleet.<fleet>``; it carries both names as labels, too, since names may have dots.
    """
    labels = {FLEET_LABEL: fleet}
    if shard is None:
        labels |= {"prefect.resource.id": f"{FLEET_LABEL}.{fleet}", "prefect.resource.name": fleet}
    else:
        labels |= {
            "prefect.resource.id": f"backstay.shard.{fleet}.{shard}",
            "prefect.resource.name": f"{fleet}, shard {shard}",
            "backstay.shard": shard,
        }
    return {
        "id": str(uuid4()),
        "occurred": at.isoformat(),
        "event": name,
        "resource": labels,
        "related": [],
        "payload": dict(payload or {}),
    }


def post_events(api: EventsApi, events: Iterable[Event], timeout_seconds: float) -> None:
    """All at once. Raises ``ToolError``."""
    auth = api.auth()
    headers = {"Authorization": f"Basic {base64.b64encode(auth.encode()).decode()}"} if auth else {}
    post_json(
        "the Prefect server",
        f"{api.url}/events",
        json.dumps(list(events)).encode(),
        timeout_seconds=timeout_seconds,
        headers=headers,
        # As all else that asks this server: it may be on loopback, where no proxy is of use.
        is_anywhere=False,
    )
