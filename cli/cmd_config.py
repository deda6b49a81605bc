"""``backstay config``: what the configuration says, what it may say, and whether it can be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import typer
from rich.console import RenderableType

from cli.configured import open_fleet
from cli.render import render_text, show, show_json
from cli.tables import facts, lines, listing
from cli.toml import to_toml
from fleet.clock import SystemClock
from fleet.config import effective, schema
from fleet.figures import plural
from fleet.schedule import Firings, coming_firings

_SHOWN_FIRINGS = 3


@dataclass(frozen=True, slots=True)
class ConfigChecked:
    """A configuration that can be read, in one glance. ``schedule``: what each cron line asks for next."""

    fleet: str
    shards: int
    servers: int
    repository: str
    keys: tuple[str, ...]
    schedule: tuple[Firings, ...]


def show_config(context: typer.Context) -> None:
    """Print every setting as it counts, secrets left out.

    As TOML, defaults included: what it prints could be a backstay.toml.
    """
    show(context, effective(open_fleet(context)))


def print_schema() -> None:
    """Print the JSON schema of backstay.toml.

    It describes every setting; editors that know JSON schemas complete and check the file with it.
    """
    show_json(schema())


def check_config(context: typer.Context) -> None:
    """Read the configuration and say what it holds.

    Of each cron line the next three times are shown, by the clocks of its time zone and in UTC, so that a
    wrong one is seen before it matters. Nothing else is touched: no secret is read, no server and no store
    is asked.
    """
    fleet = open_fleet(context)
    checked = ConfigChecked(
        fleet=fleet.name,
        shards=len(fleet.shards),
        servers=sum(len(shard.servers) for shard in fleet.shards),
        repository=fleet.repository.url,
        keys=tuple(key.id for key in fleet.keys),
        schedule=tuple(coming_firings(fleet, SystemClock().now(), _SHOWN_FIRINGS)),
    )
    show(context, checked)


@render_text.register
def _(config: dict) -> RenderableType:  # pyright: ignore[reportMissingTypeArgument, reportUnknownParameterType]
    settings: dict[str, Any] = config
    return to_toml(settings)


@render_text.register
def _(checked: ConfigChecked) -> RenderableType:
    held = facts(
        [
            ("fleet", checked.fleet),
            ("servers", f"{plural(checked.servers, 'server')} in {plural(checked.shards, 'shard')}"),
            ("repository", checked.repository),
            ("keys", ", ".join(checked.keys)),
        ]
    )
    rows = [row for each in checked.schedule for row in _rows(each)]
    return lines(held, "", listing(("shard", "next", "by its time zone", "UTC"), rows))


def _rows(line: Firings) -> Iterator[tuple[str, str, str, str]]:
    """The name stands beside the first of them."""
    shard, kind = line.shard or "all", line.kind
    for firing in line.next:
        local = datetime.fromisoformat(firing.local)
        yield shard, kind, f"{local:%a %Y-%m-%d %H:%M %z}", f"{firing.at:%a %Y-%m-%d %H:%M}"
        shard, kind = "", ""
