"""Sizes on the command line: ``500``, ``10k``, ``1.5MB``, ``2GiB``."""

from __future__ import annotations

import re

from fleet.errors import UsageError

_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?)b?|b)?", re.IGNORECASE | re.ASCII)
_UNITS = " kmgt"


def parse_size_option(text: str, option: str) -> int:
    """Bytes. ``k``, ``M``, ``G`` and ``T`` are powers of 1000, with an ``i`` of 1024. Raises UsageError."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{option}: {text!r} is no size", hint="Write it like 500k, 10MB or 1GiB.")
    number, unit, binary = found.groups()
    return round(float(number) * (1024 if binary else 1000) ** _UNITS.index((unit or " ").lower()))
