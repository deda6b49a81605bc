"""Sets, moments and sizes as messages and plans say them, and what every interrupted step says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fleet.gtid import GtidSet

GOES_ON_HINT = "Run the same command again: it goes on where it was."

_LONGEST_SET = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(at: datetime) -> int:
    """Microseconds since 1970 UTC."""
    return (at - _EPOCH) // _MICROSECOND


def moment(count_us: int) -> datetime:
    """The moment ``count_us`` microseconds after 1970 UTC."""
    return _EPOCH + count_us * _MICROSECOND


def moment_text(count_us: int) -> str:
    """For messages, always UTC and to the microsecond."""
    return f"{moment(count_us):%Y-%m-%d %H:%M:%S.%f} UTC"


def short(gtids: GtidSet) -> str:
    """For messages: on one line, and cut off where it is long."""
    text = gtids.one_line() or "nothing"
    return text if len(text) <= _LONGEST_SET else f"{text[:_LONGEST_SET]}..."


def iso(count_us: int) -> str:
    """As the command line takes it."""
    return f"{moment(count_us):%Y-%m-%dT%H:%M:%S.%f}Z"


def amount(count_bytes: float) -> str:
    """``12.3 MB``."""
    left = float(count_bytes)
    for unit in ("bytes", "kB", "MB", "GB"):
        if left < 1000:
            return f"{left:.3g} {unit}" if unit != "bytes" else f"{count_bytes:.0f} bytes"
        left /= 1000
    return f"{left:.3g} TB"


def time_span(seconds: float) -> str:
    """``42 s``, ``3 min``, ``2 h 05 min``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
