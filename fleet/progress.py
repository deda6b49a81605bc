"""How long work tells how far it is: to a terminal's bars, or to nobody."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told by several threads; must return at once."""

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        """A stage begins; ``total_bytes`` is how much data it has, an estimate at times, or ``None``."""
        ...

    def advance(self, count_bytes: int) -> None:
        """So many more bytes of the stage are done."""
        ...

    def note(self, text: str) -> None:
        """Something worth knowing, which changes nothing: lower case, no full stop."""
        ...


class Silent:
    """Progress that nobody watches."""

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        pass

    def advance(self, count_bytes: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass
