"""Figures that are given and not measured: ``--assume size=20TB``, ``--price per-gb-month=0.02``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from pydantic import ValidationError

from cli.durations import parse_duration_option
from cli.sizes import parse_size_option
from fleet.errors import UsageError
from fleet.mistakes import explain
from fleet.nearest import or_nearest
from fleet.prices import Prices

_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%\s*(?:/day)?", re.ASCII)
_FACTOR = re.compile(r"(\d+(?:\.\d+)?)(?::1)?", re.ASCII)
_PRICES = ("per-gb-month", "per-1000-requests", "currency")


def parse_assumptions(texts: list[str], option: str = "--assume") -> dict[str, float]:
    """Figures by name: bytes, bytes or percent a day, bytes a second, seconds. Raises UsageError."""
    found: dict[str, float] = {}
    for name, text in _pairs(texts, option, list(_READERS)):
        found[name] = _READERS[name](text, f"{option} {name}")
    return found


def parse_prices(texts: list[str], option: str = "--price") -> Prices | None:
    """The price table, None without a text. Raises UsageError."""
    if not texts:
        return None
    given: dict[str, object] = {}
    for name, text in _pairs(texts, option, list(_PRICES)):
        given[name.replace("-", "_")] = text.upper() if name == "currency" else _number(text, option, name)
    try:
        return Prices.model_validate(given)
    except ValidationError as error:
        lines = "; ".join(explain(error)).replace("_", "-")
        raise UsageError(f"{option}: {lines}", hint=f"Try: {option} per-gb-month=0.023") from None


def _pairs(texts: list[str], option: str, known: list[str]) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for piece in (piece.strip() for text in texts for piece in text.split(",")):
        name, mark, value = (part.strip() for part in piece.partition("="))
        if not mark or not value:
            raise UsageError(f"{option}: {piece!r} is not of the form name=value")
        if name not in known:
            raise UsageError(
                f"{option}: {name!r} is not known{or_nearest(name, known)}",
                hint=f"There are {', '.join(known)}.",
            )
        if name in found:
            raise UsageError(f"{option}: {name} is given twice")
        found[name] = value
    return list(found.items())


def _number(text: str, option: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{option}: {name}={text} is no number") from None


def _size(text: str, option: str) -> float:
    return float(_positive(parse_size_option(text, option), text, option))


def _a_day(text: str, option: str) -> float:
    return float(parse_size_option(text.removesuffix("/day"), option))


def _a_second(text: str, option: str) -> float:
    return float(_positive(parse_size_option(text.removesuffix("/s"), option), text, option))


def _percent_a_day(text: str, option: str) -> float:
    found = _PERCENT.fullmatch(text)
    if found is None:
        raise UsageError(f"{option}: {text!r} is no part of the data", hint="Write it like 2%/day.")
    return float(found[1])


def _factor(text: str, option: str) -> float:
    found = _FACTOR.fullmatch(text)
    if found is None or float(found[1]) < 1:
        raise UsageError(f"{option}: {text!r} is no factor of 1 or more", hint="Write it like 3 or 3:1.")
    return float(found[1])


def _seconds(text: str, option: str) -> float:
    return float(parse_duration_option(text, option))


def _positive(value: int, text: str, option: str) -> int:
    if value <= 0:
        raise UsageError(f"{option}: {text!r} is not more than nothing")
    return value


_READERS: Mapping[str, Callable[[str, str], float]] = {
    "size": _size,
    "change": _percent_a_day,
    "compression": _factor,
    "growth": _percent_a_day,
    "archive": _a_day,
    "log": _a_day,
    "rate": _a_second,
    "start": _seconds,
    "read": _a_second,
    "network": _a_second,
    "disk": _a_second,
    "replay": _a_second,
    "promote": _seconds,
}
