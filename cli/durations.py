"""Spans of time on the command line: ``90s``, ``30m``, ``1h``, ``2d``, ``1h30m``."""

from __future__ import annotations

import re

from fleet.errors import UsageError

_FORM = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)
_UNIT_SECONDS = (86400, 3600, 60, 1)
_LONGEST_SECONDS = 10 * 365 * 86400


def parse_duration_option(text: str, option: str) -> int:
    """Whole seconds. Raises UsageError."""
    found = _FORM.fullmatch(text.strip())
    if not text.strip() or found is None:
        raise UsageError(
            f"{option}: {text!r} is no span of time", hint="Write it like 90s, 30m, 1h or 1h30m."
        )
    seconds = sum(int(part or 0) * unit for part, unit in zip(found.groups(), _UNIT_SECONDS, strict=True))
    if seconds > _LONGEST_SECONDS:
        raise UsageError(f"{option}: {text!r} is longer than ten years")
    return seconds
