"""``backstay sandbox``: a fleet of real servers on this machine."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import RenderableType

from cli.invocation import invocation_of
from cli.progress import Display
from cli.render import render_text, show
from cli.tables import copyable, facts, lines, listing
from fleet.config import find
from fleet.errors import ConfigError
from infra.sandbox.fleet import SandboxFleet
from infra.sandbox.state import FILE as STATE_FILE
from infra.sandbox.status import SandboxStatus, ServerStatus

Directory = Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where the sandbox lives.")]
HERE = Path("sandbox")
REVIVE = "`backstay sandbox status` says what runs; `backstay sandbox up` starts what is dead, with its data."
Found = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        metavar="DIR",
        help="Where the sandbox lives. [default: beside the config file that is in use, else sandbox]",
    ),
]


def open_sandbox(context: typer.Context, directory: Path | None) -> SandboxFleet:
    """The sandbox in ``directory``; without one, that of the config file in use. Raises SandboxFailed."""
    if directory is None:
        directory = HERE
        with suppress(ConfigError):
            beside = find(invocation_of(context).config).absolute().parent
            if (beside / STATE_FILE).exists():
                directory = beside
    return SandboxFleet.load(directory)


@dataclass(frozen=True, slots=True)
class SandboxGone:
    """What was stopped and deleted. ``left`` are names in it that the sandbox did not make."""

    directory: Path
    left: tuple[str, ...]


def up(
    context: typer.Context,
    *,
    directory: Directory = HERE,
    shards: Annotated[int, typer.Option("--shards", metavar="N", help="How many shards, 1 to 8.")] = 1,
    replicas: Annotated[int, typer.Option("--replicas", metavar="N", help="Replicas of each primary.")] = 2,
    regions: Annotated[
        int, typer.Option("--regions", metavar="N", help="1, or 2 with a replica in both.")
    ] = 1,
    store: Annotated[
        Literal["s3", "file"],
        typer.Option("--store", metavar="s3|file", help="An S3 server of its own, or a folder."),
    ] = "s3",
) -> None:
    """Start a fleet of MySQL servers and a store.

    Each shard is a primary and its replicas, set up as in production: GTIDs, TLS, and the accounts that we
    document. Where there is no MySQL on PATH, one is unpacked into the cache first. A ready backstay.toml and
    its key lie in the directory. If a fleet runs there in part, what is dead of it is started again.
    """
    with Display() as display:
        fleet = SandboxFleet.up(
            directory, shards=shards, replicas=replicas, regions=regions, store=store, progress=display.stage
        )
    show(context, fleet.status())


def down(context: typer.Context, directory: Found = None) -> None:
    """Stop the fleet and delete all that it wrote.

    Its repository and the key of its backups are deleted, too; what else lies in the directory stays.
    """
    with Display() as display:
        fleet = open_sandbox(context, directory)
        left = fleet.down(progress=display.stage)
    show(context, SandboxGone(fleet.directory, left))


def status(context: typer.Context, directory: Found = None) -> None:
    """Say what of the fleet is running."""
    show(context, open_sandbox(context, directory).status())


@render_text.register
def _(gone: SandboxGone) -> RenderableType:
    text = f"The sandbox in {gone.directory} is stopped and deleted."
    return f"{text}\nWhat it did not make stays there: {', '.join(gone.left)}" if gone.left else text


@render_text.register
def _(state: SandboxStatus) -> RenderableType:
    place = f"{state.store} at {state.endpoint}" if state.endpoint else "a folder"
    running = "" if state.store == "file" else ", running" if state.store_running else ", not running"
    rows = [
        (server.shard, server.name, server.role, server.region, str(server.port), _condition(server))
        for server in state.servers
    ]
    return lines(
        facts([("sandbox", str(state.directory)), ("store", place + running)]),
        "",
        listing(("shard", "server", "role", "region", ">port", "state"), rows),
        "",
        "To use it:",
        copyable(f"  export BACKSTAY_CONFIG={state.config}"),
    )


def _condition(server: ServerStatus) -> str:
    if server.pid is None:
        return "not running"
    if not server.answers:
        return "does not answer"
    if server.replication is None:
        return "running"
    if server.replication.error:
        return f"replication fails: {server.replication.error}"
    if not (server.replication.receiving and server.replication.applying):
        return "running, replication stopped"
    return f"running, lag {server.replication.lag_seconds} s"
