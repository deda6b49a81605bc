"""How a restore tells how far it is."""

from __future__ import annotations

from typing import Protocol

GOES_ON_HINT = "Run the same command again: it goes on where it was."


class Progress(Protocol):
    """Told by several threads; must return at once."""

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        """A stage begins; ``total_bytes`` is how much data it has, ``None`` when nobody knows."""
        ...

    def advance(self, count_bytes: int) -> None:
        """So many more bytes of the stage are in place."""
        ...


class Silent:
    """Progress that nobody watches."""

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        pass

    def advance(self, count_bytes: int) -> None:
        pass
