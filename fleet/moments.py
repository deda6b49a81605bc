"""Moments as the archive counts them, in microseconds since 1970 UTC: exactly, which a float cannot."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(at: datetime) -> int:
    """Microseconds since 1970 UTC."""
    return (at - _EPOCH) // _MICROSECOND


def from_microseconds(count: int) -> datetime:
    """The moment ``count`` microseconds after 1970 UTC."""
    return _EPOCH + count * _MICROSECOND


def rfc3339(count: int) -> str:
    """The moment ``count`` microseconds after 1970, as programs and the command line read it:
    ``2026-03-01T02:15:00.123456Z``.
    """
    return f"{from_microseconds(count):%Y-%m-%dT%H:%M:%S.%f}Z"


def precise(at: datetime) -> str:
    """``2026-03-01 02:15:00.123456``, always UTC; what stands beside it says so."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
