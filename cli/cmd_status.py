"""``backstay status``: whether every shard can be recovered, and what to do if not."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live

from cli.backups import Shards
from cli.configured import open_fleet
from cli.invocation import invocation_of
from cli.render import console, show
from cli.text_status import watched
from drills.status.look import Looker
from drills.status.report import FleetStatus, Health
from drills.status.served import with_service
from fleet.clock import SystemClock
from fleet.errors import UsageError
from fleet.state_place import state_directory

WARNING, CRITICAL = 60, 61

_CODES = {Health.OK: 0, Health.UNKNOWN: WARNING, Health.WARNING: WARNING, Health.CRITICAL: CRITICAL}

_WATCH_SECONDS = 5.0


def status(
    context: typer.Context,
    shards: Shards = None,
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every few seconds, until Ctrl-C.")
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write it as a page, too, that needs nothing else."),
    ] = None,
) -> None:
    """Say whether every shard can be recovered, and what to do.

    Backups, proofs, archive, servers and the schedule, judged by the targets and the alerts of the
    configuration; of one shard all that is known. The last line says what to do. While the repository does
    not answer, the last known state is shown with its age. It ends with exit code 0 if all is well, 60 for a
    warning or for what could not be asked, 61 if it is critical.
    """
    if watch and html is not None:
        raise UsageError(
            "--html writes one page, and --watch looks on", hint="backstay serve shows one that follows."
        )
    if watch and invocation_of(context).as_json:
        raise UsageError("--watch shows text, and --json is for programs", hint="Call it again and again.")
    fleet, clock = open_fleet(context), SystemClock()
    looker = Looker(fleet, clock=clock, keeps=not invocation_of(context).at_mirror)

    def look() -> FleetStatus:
        return with_service(looker.look(shards or []), fleet, state_directory(fleet), clock.now())

    seen = look()
    if html is not None:
        write_page(html, seen)
    if watch:
        seen = _watch(context, look, seen)
    else:
        show(context, seen)
    if code := _CODES[seen.health]:
        raise typer.Exit(code)


def write_page(path: Path, seen: FleetStatus) -> None:
    """The page in the place of ``path``, all or nothing. Raises ``UsageError`` where it cannot be written."""
    # Templates take a while to load: who asks for no page does not wait for them.
    from drills.status.page import render_page  # noqa: PLC0415

    page = render_page(seen, SystemClock().now())
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_text(page, encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        reason = f"{path} cannot be written: {error.strerror}"
        raise UsageError(reason, hint="Name a file in a directory that is there.") from error


def _watch(context: typer.Context, look: Callable[[], FleetStatus], seen: FleetStatus) -> FleetStatus:
    """On a terminal the text stays in its place; in a pipe one follows the other."""
    with invocation_of(context).interruption.orderly() as cancelled:
        if not sys.stdout.isatty():
            show(context, seen)
            while not cancelled.wait(_WATCH_SECONDS):
                show(context, seen := look())
            return seen
        with Live(watched(seen), console=console(), auto_refresh=False, screen=True) as live:
            while not cancelled.wait(_WATCH_SECONDS):
                live.update(watched(seen := look()), refresh=True)
        show(context, seen)
    return seen
