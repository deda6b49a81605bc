"""Figures for people: sizes, rates, durations, moments. Decimal units; times in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

_SIZE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size(count_bytes: float) -> str:
    """``12.3 GB``: three digits that matter, powers of 1000."""
    value, unit = float(count_bytes), 0
    while value >= 999.5 and unit < len(_SIZE_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{_three_digits(value) if unit else f'{value:.0f}'} {_SIZE_UNITS[unit]}"


def part(done_bytes: float, total_bytes: float) -> str:
    """``1.08 of 2.09 GB``: both in the unit of the total."""
    text = size(total_bytes)
    factor = 1000 ** _SIZE_UNITS.index(text.split()[1])
    done = f"{done_bytes:.0f}" if factor == 1 else _three_digits(min(done_bytes, total_bytes) / factor)
    return f"{done} of {text}"


def rate(count_bytes: float, seconds: float) -> str:
    """``204 MB/s``, or a dash when nothing was measured."""
    return f"{size(count_bytes / seconds)}/s" if seconds > 0 else "-"


def ratio(whole: float, part: float) -> str:
    """``3.1 : 1``, or a dash when there is nothing to divide by."""
    return f"{whole / part:.1f} : 1" if part else "-"


def duration(seconds: float) -> str:
    """``0.4 s``, ``42 s``, ``3 min 20 s``, ``2 h 05 min``, ``3 d 4 h``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def countdown(seconds: float) -> str:
    """``0:05``, ``3:20``, ``2:05:00``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def moment(at: datetime) -> str:
    """``2026-03-01 02:15:00``, always UTC; the label beside it says so."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def number(count: int) -> str:
    """``12,345``."""
    return f"{count:,}"


def plural(count: int, noun: str) -> str:
    """``1 shard``, ``2 shards``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _three_digits(value: float) -> str:
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f}"
