"""Moments on the command line, with ``Z`` or an offset: a naive one is another moment on every host."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from fleet.errors import UsageError

_FORM = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,6}))?)?)?"
    r" ?(?:([Zz]|UTC|utc)|([+-])(\d\d):?(\d\d))?",
    re.ASCII,
)
_EXAMPLE = "2026-03-01T02:15:00Z"


def parse_time_option(text: str, option: str) -> datetime:
    """The moment that ``text``, the value of ``option``, names; aware, UTC, to the microsecond.

    Read are ``2026-03-01T02:15:00.123456Z``, the same with an offset (``+02:00``), with a space for the
    ``T``, and without seconds. Raises UsageError for everything else; for a naive time, the hint shows both
    ways out.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{option}: {text!r} is no time", hint=f"Write it like {_EXAMPLE}.")
    year, month, day, hour, minute, second, fraction, zulu, sign, *offset = found.groups()
    if hour is None:
        raise UsageError(
            f"{option}: {text!r} is a day, and should be a moment",
            hint=f"Write it like {year}-{month}-{day}T02:15:00Z.",
        )
    try:
        naive = datetime(  # noqa: DTZ001 (its offset follows)
            *(int(part or 0) for part in (year, month, day, hour, minute, second)),
            microsecond=int((fraction or "0").ljust(6, "0")),
        )
        if zulu is None and sign is None:
            raise UsageError(
                f"{option}: {text!r} does not say in which time zone",
                hint=f"Write {naive.isoformat()}Z if it is UTC, or its offset: {naive.isoformat()}+02:00.",
            )
        zone = UTC if sign is None else _zone(sign, *offset)
        return naive.replace(tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{option}: {text!r} is no time: {error}", hint=f"Write it like {_EXAMPLE}."
        ) from error


def _zone(sign: str, hours: str, minutes: str) -> timezone:
    if int(minutes) > 59:
        raise ValueError("minutes of an offset must be in 0..59")
    east = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(-east if sign == "-" else east)
