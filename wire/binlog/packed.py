"""Decimals and times in the packed forms that row events and JSON documents share.

Source: strings/decimal.cc (``bin2decimal``), sql-common/my_time.cc (``TIME_from_longlong_*_packed``) of 9.7.
"""

from __future__ import annotations

from decimal import Decimal

from fleet.errors import BinlogUnreadable

_BYTES_OF_DIGITS = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)


def decimal_width(precision: int, scale: int) -> int:
    """Bytes of a DECIMAL(precision, scale)."""
    return sum(_BYTES_OF_DIGITS[digits] for digits in _groups(precision, scale))


def decode_decimal(raw: bytes, precision: int, scale: int) -> Decimal:
    """Groups of nine digits, four bytes each, big endian; a negative number has all its bits turned over."""
    negative = not raw[0] & 0x80
    plain = bytes((raw[0] ^ 0x80, *raw[1:]))
    if negative:
        plain = bytes(byte ^ 0xFF for byte in plain)
    digits, at = "", 0
    for group in _groups(precision, scale):
        width = _BYTES_OF_DIGITS[group]
        digits += str(int.from_bytes(plain[at : at + width], "big")).zfill(group)
        at += width
    if len(digits) != precision:
        raise BinlogUnreadable(f"a DECIMAL({precision},{scale}) has {len(digits)} digits")
    return Decimal((int(negative), tuple(map(int, digits)), -scale))


def _groups(precision: int, scale: int) -> list[int]:
    """How many digits stand in each group: the short ones are at both ends."""
    whole, fraction = precision - scale, scale
    groups = [whole % 9, *[9] * (whole // 9), *[9] * (fraction // 9), fraction % 9]
    return [digits for digits in groups if digits]


def packed_datetime(packed: int, digits: int) -> str:
    """MySQL's packed DATETIME: ``year * 13 + month`` 17 bits, day 5, then as in ``packed_time``."""
    micro, clock = packed & 0xFFFFFF, packed >> 24 & 0x1FFFF
    year, month = divmod(packed >> 46, 13)
    day = packed >> 41 & 31
    return (
        f"{year:04}-{month:02}-{day:02} {clock >> 12:02}:{clock >> 6 & 63:02}:{clock & 63:02}"
        f"{fraction_text(micro, digits)}"
    )


def packed_time(packed: int, digits: int) -> str:
    """MySQL's packed TIME, which is not negative here: hour 10 bits, minute 6, second 6, microsecond 24."""
    micro, clock = packed & 0xFFFFFF, packed >> 24
    return f"{clock >> 12:02}:{clock >> 6 & 63:02}:{clock & 63:02}{fraction_text(micro, digits)}"


def fraction_text(micro: int, digits: int) -> str:
    """``.123`` for 123,000 microseconds and 3 digits; nothing for none."""
    return f".{micro:06}"[: digits + 1] if digits else ""
