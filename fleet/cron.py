"""Cron lines of five fields, checked before a scheduler ever sees them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import NamedTuple

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
LONGEST_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, MONTHS),
    # Both 0 and 7 are Sunday.
    _Field("day of week", 0, 7, WEEKDAYS),
)

_DAY = 24 * 60

_PIECE = re.compile(r"(?:(\*)|([0-9]{1,3}|[a-z]+)(?:-([0-9]{1,3}|[a-z]+))?)(?:/([0-9]{1,3}))?")


def check_cron(line: str) -> None:
    """Raise ValueError that says what is wrong, unless ``line`` is ``minute hour day month weekday``.

    Each field is ``*``, a number, a range or a list of them, with an optional step; months and weekdays may
    be names of three letters. Shorthands such as ``@daily`` and the letters L, W and # are not portable and
    refused, and so is a day that no month has.
    """
    texts = line.split()
    if len(texts) != len(_FIELDS):
        raise ValueError("is not five fields (minute hour day month weekday)")
    _, _, days, months, _ = (_values(text.lower(), field) for text, field in zip(texts, _FIELDS, strict=True))
    # With a weekday given, cron fires on that weekday too, whatever the day of the month says.
    if texts[4] == "*" and all(min(days) > LONGEST_DAYS[month - 1] for month in months):
        raise ValueError(f"never fires: no month of {texts[3]} has a day {min(days)}")


def firings(line: str, zone: tzinfo, start: datetime, end: datetime) -> Iterator[datetime]:
    """When ``line`` fires from ``start`` on and before ``end``, by the clocks of ``zone``; in UTC, in order.

    Where both the day of the month and the weekday are given, either is enough, as in cron. Of an hour that
    a clock skips or repeats, each moment is given once. ``line`` is one that ``check_cron`` takes.
    """
    texts = line.split()
    minutes, hours, days, months, weekdays = (
        _values(text.lower(), field) for text, field in zip(texts, _FIELDS, strict=True)
    )
    weekdays = {weekday % 7 for weekday in weekdays}
    either = not texts[2].startswith("*") and not texts[4].startswith("*")
    day, last = start.astimezone(zone).date(), end.astimezone(zone).date()
    while day <= last:
        fits = (day.day in days, day.isoweekday() % 7 in weekdays)
        if day.month in months and (any(fits) if either else all(fits)):
            clock = (time(hour, minute, tzinfo=zone) for hour in hours for minute in minutes)
            moments = {datetime.combine(day, at).astimezone(UTC) for at in clock}
            yield from (at for at in sorted(moments) if start <= at < end)
        day += timedelta(days=1)


def shifted(line: str, minutes: int) -> str | None:
    """The line that fires ``minutes``, of 0 to 720, after ``line`` does, by the clock on the wall.

    None where no single line can say that: an hour that some of its minutes leave and others do not, or a
    midnight that a line for certain days would cross. ``line`` is one that ``check_cron`` takes.
    """
    texts = line.split()
    pairs = {
        hour * 60 + minute + minutes
        for hour in _values(texts[1].lower(), _FIELDS[1])
        for minute in _values(texts[0].lower(), _FIELDS[0])
    }
    if texts[2:] != ["*", "*", "*"] and max(pairs) >= _DAY:
        return None
    pairs = {pair % _DAY for pair in pairs}
    new_minutes, new_hours = {pair % 60 for pair in pairs}, {pair // 60 for pair in pairs}
    if len(pairs) != len(new_minutes) * len(new_hours):
        return None
    return " ".join([_text(new_minutes, 60), _text(new_hours, 24), *texts[2:]])


def _text(values: set[int], of: int) -> str:
    return "*" if len(values) == of else ",".join(str(value) for value in sorted(values))


def _values(text: str, field: _Field) -> set[int]:
    values: set[int] = set()
    for piece in text.split(","):
        match = _PIECE.fullmatch(piece)
        if not match:
            raise ValueError(f"{field.name} {text!r} is not a list of numbers, ranges and steps")
        star, first_text, last_text, step_text = match.groups()
        step = int(step_text or 1)
        if not 1 <= step <= field.high:
            raise ValueError(f"{field.name} step {step} is not between 1 and {field.high}")
        first = field.low if star else _number(first_text, field)
        last = field.high if star or step_text else first
        if last_text:
            last = _number(last_text, field)
        if first > last:
            raise ValueError(f"{field.name} range {piece!r} runs backwards")
        values.update(range(first, last + 1, step))
    return values


def _number(text: str, field: _Field) -> int:
    if text in field.words:
        return field.words.index(text) + field.low
    if not text.isdigit():
        raise ValueError(f"{field.name} {text!r} is not known")
    number = int(text)
    if not field.low <= number <= field.high:
        raise ValueError(f"{field.name} {number} is not between {field.low} and {field.high}")
    return number
