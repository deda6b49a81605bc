"""What ``backstay verify`` wrote down of damage, for the next backups."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from fleet import figures
from repository.findings import Noted


def noted_rows(noted: Noted) -> Iterator[tuple[str, RenderableType]]:
    """What it means for the next backups."""
    told: list[str] = []
    if count := len(noted.recorded):
        told.append(f"{figures.plural(count, 'damaged object')} written down: nothing more is built on that")
    if count := len(noted.taken_away):
        told.append(f"{figures.plural(count, 'object')} whole again, and may be built on")
    if noted.incomplete_because:
        told.append(f"not all could be written down or taken away: {noted.incomplete_because}")
    if told:
        yield "findings", "\n".join(told)
