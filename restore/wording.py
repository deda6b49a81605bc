"""Sets and moments as messages and plans say them, and what every interrupted step says."""

from __future__ import annotations

from fleet.gtid import GtidSet
from fleet.moments import from_microseconds, precise

GOES_ON_HINT = "Run the same command again: it goes on where it was."

_LONGEST_SET = 200


def moment_text(count_us: int) -> str:
    """For messages, always UTC and to the microsecond."""
    return f"{precise(from_microseconds(count_us))} UTC"


def short(gtids: GtidSet) -> str:
    """For messages: on one line, and cut off where it is long."""
    text = gtids.one_line() or "nothing"
    return text if len(text) <= _LONGEST_SET else f"{text[:_LONGEST_SET]}..."
