"""What an archiver tells while it runs: one line for an operator, one kind for a program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

NewsKind: TypeAlias = Literal[
    "following",
    "waiting",
    "began",
    "epoch",
    "branch",
    "writers",
    "stalled",
    "gap",
    "purged",
    "diverged",
    "torn-tail",
    "fell-to-async",
    "recovered",
    "spool-full",
    "store",
    "locked",
    "warning",
    "replaced",
    "stopped",
    "failed",
]

ALARMS: frozenset[NewsKind] = frozenset(
    {
        "branch",
        "diverged",
        "failed",
        "fell-to-async",
        "gap",
        "replaced",
        "spool-full",
        "stalled",
        "store",
        "writers",
    }
)
"""Kinds that somebody should look at: a promise is broken, or soon will be."""


@dataclass(frozen=True, slots=True)
class News:
    """Something happened to the archive of ``shard``."""

    shard: str
    kind: NewsKind
    text: str
    at: datetime

    @property
    def is_alarm(self) -> bool:
        return self.kind in ALARMS


Tell: TypeAlias = Callable[[News], None]
"""Told by several threads; must return at once."""


def tell_nobody(news: News) -> None:
    """For callers that do not listen."""
