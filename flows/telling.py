"""What a run shows of itself in Prefect: log lines, a progress bar, and a table at its end.

All of it is an extra. A server that is away for a while must not end a backup that needs it for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.exceptions import MissingContextError, PrefectException
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from fleet import figures
from fleet.clock import Clock
from flows.running import HowFar

STEP_SECONDS = 5.0
"""The bar moves no more often: each step is a request, and a row in Prefect's database."""


class Teller:
    """Tells how far a story is: notes and stages as log lines, bytes as a bar. ``name`` is shown with it."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._name, self._clock = name, clock
        self._stage: str | None = None
        self._shown_at: float | None = None
        self._artifact: UUID | None = None

    def __call__(self, far: HowFar) -> None:
        for note in far.notes:
            log(note)
        if far.stage != self._stage:
            self._stage = far.stage
            log(f"{self._name}: {far.stage}")
        now = self._clock.monotonic()
        if self._shown_at is None or now - self._shown_at >= STEP_SECONDS:
            with unless_away():
                self._show(far)
            # From its end on: a server that answers slowly is not asked all the time.
            self._shown_at = self._clock.monotonic()

    def _show(self, far: HowFar) -> None:
        percent = min(100.0, 100.0 * far.done_bytes / far.total_bytes) if far.total_bytes else 0.0
        of = f" of {figures.size(far.total_bytes)}" if far.total_bytes else ""
        told = f"{self._name}: {far.stage}, {figures.size(far.done_bytes)}{of}"
        if self._artifact is None:
            made = create_progress_artifact(
                percent, key=artifact_key(self._name, "progress"), description=told
            )
            self._artifact = made if isinstance(made, UUID) else None
        else:
            update_progress_artifact(self._artifact, percent, description=told)


def show_table(name: str, rows: Iterable[tuple[str, str]]) -> None:
    """Facts of a run as a table; each run of the same ``name`` adds to its history."""
    lines = ["| | |", "|---|---|", *(f"| {key} | {_cell(value)} |" for key, value in rows if value)]
    with unless_away():
        create_markdown_artifact("\n".join(lines), key=artifact_key(name))


def log(text: str) -> None:
    """A line in the run's log; outside of a run nobody reads it."""
    try:
        get_run_logger().info(text)
    except MissingContextError:
        return


def artifact_key(*parts: str) -> str:
    """A key that Prefect takes: small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


@contextmanager
def unless_away() -> Generator[None]:
    """What needs the server is left out while there is none, and not asked for again and again: a backup that
    has ended is written down first of all.
    """
    try:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            yield
    except (httpx.HTTPError, PrefectException, OSError) as error:
        log(f"could not be shown: {type(error).__name__}")


def _cell(value: str) -> str:
    return value.replace("|", "\\|").replace("\n", " ")
