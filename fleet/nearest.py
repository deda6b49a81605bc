"""The known name nearest to a mistyped one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str], *, likeness: float = 0.5) -> str | None:
    """The known name most like ``name``, whatever the case; None if none reaches ``likeness`` (0 to 1)."""
    folded = {candidate.casefold(): candidate for candidate in known}
    matches = get_close_matches(name.casefold(), folded, n=1, cutoff=likeness)
    return folded[matches[0]] if matches else None


def or_nearest(name: str, known: Iterable[str], *, likeness: float = 0.5) -> str:
    """The end of an error message: the nearest known name, or nothing."""
    found = nearest(name, known, likeness=likeness)
    return f", the nearest known is {found!r}" if found else ""
