"""``backstay config``: what the configuration says, what it may say, and whether it can be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import typer
from rich.console import RenderableType

from cli.configured import open_fleet
from cli.render import render_text, show, show_json
from cli.tables import facts
from cli.toml import to_toml
from fleet.config import effective, schema
from fleet.figures import plural


@dataclass(frozen=True, slots=True)
class ConfigChecked:
    """A configuration that can be read, in one glance."""

    fleet: str
    shards: int
    servers: int
    repository: str
    keys: tuple[str, ...]


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

    Nothing else is touched: no secret is read, no server and no store is asked.
    """
    fleet = open_fleet(context)
    checked = ConfigChecked(
        fleet=fleet.name,
        shards=len(fleet.shards),
        servers=sum(len(shard.servers) for shard in fleet.shards),
        repository=fleet.repository.url,
        keys=tuple(key.id for key in fleet.keys),
    )
    show(context, checked)


@render_text.register
def _(config: dict) -> RenderableType:  # pyright: ignore[reportMissingTypeArgument, reportUnknownParameterType]
    settings: dict[str, Any] = config
    return to_toml(settings)


@render_text.register
def _(checked: ConfigChecked) -> RenderableType:
    return facts(
        [
            ("fleet", checked.fleet),
            ("servers", f"{plural(checked.servers, 'server')} in {plural(checked.shards, 'shard')}"),
            ("repository", checked.repository),
            ("keys", ", ".join(checked.keys)),
        ]
    )
