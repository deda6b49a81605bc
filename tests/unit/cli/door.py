"""What a test sees of a run of the command line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Answer:
    """What one run gave."""

    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        return json.loads(self.out)


class Backstay(Protocol):
    """Run one command line in this process."""

    def __call__(self, *arguments: str) -> Answer: ...
