"""How long a shard is away when it is lost, by each way back, and what is lost with it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from repository.measured import Figure

Name = Literal["cold", "delta", "standby"]
Mode = Literal["async", "local-sync", "store-sync"]


@dataclass(frozen=True, slots=True)
class Way:
    """One way back. ``stages``: seconds of what is known; ``unknown``: figures that are lacking for the rest.

    ``seconds`` is None while anything is lacking, ``at_least_seconds`` the sum of what is known. ``keeps``
    says whether the target is kept; None if that cannot be told yet. ``largest_bytes``: the size of a shard
    that would be back in time.
    """

    name: Name
    seconds: float | None
    at_least_seconds: float
    keeps: bool | None
    stages: Mapping[str, float]
    unknown: tuple[str, ...]
    largest_bytes: float | None


@dataclass(frozen=True, slots=True)
class Loss:
    """What is lost with a primary: the newest ``seconds`` of commits; None if that was not measured."""

    mode: str
    seconds: float | None
    keeps: bool | None
    because: str


def ways_back(
    figures: Mapping[str, Figure], gap_days: float | None, target_seconds: float
) -> tuple[Way, ...]:
    """Cold, delta, standby. ``gap_days``: the longest time between two backups, whose binlogs are replayed.

    Cold, all data is fetched; a delta reads what lies on the disk, and fetches what changed in a day; a
    standby holds it all, and is only proven and opened.
    """
    known = {name: figure.value for name, figure in figures.items()}
    after = _replay(known, gap_days) | {"start": known["start"]}
    return (
        _way("cold", {"fetch": _fetch(known, 1.0)} | after, known, target_seconds, per_size=("fetch",)),
        _way(
            "delta",
            {"compare": _quotient(known["size"], known["disk"]), "fetch changes": _changed(known)} | after,
            known,
            target_seconds,
            per_size=("compare", "fetch changes"),
        ),
        _way("standby", {"promote": known["promote"]}, known, target_seconds),
    )


def loss(
    mode: Mode,
    *,
    archived: bool,
    lag_seconds: float | None,
    mode_holds: bool | None,
    segment_seconds: float,
    gap_days: float | None,
    target_seconds: float,
) -> Loss:
    """RPO by the mode of the archive. Without an archive it is the time between two backups."""
    seconds: float | None = None
    if not archived:
        seconds = gap_days * 86400 if gap_days is not None else None
        because = "nothing is archived: what was written since the last backup"
    elif mode == "async":
        seconds = lag_seconds + segment_seconds if lag_seconds is not None else None
        because = "the archive's lag, and the time that events wait to be stored"
        if lag_seconds is None:
            because = "the lag was not measured: backstay archive status asks the source"
    elif mode_holds is False:
        because = f"mode {mode} is NOT HELD NOW: commits do not wait for the archive"
    else:
        seconds = 0.0 if mode_holds or mode_holds is None else None
        where = "store" if mode == "store-sync" else "archiver's spool; with its host, what waited there"
        because = f"commits wait for the {where}"
        if mode_holds is None:
            because += "; whether they do now was not asked"
    return Loss(mode if archived else "none", seconds, _keeps(seconds, target_seconds), because)


_LACKING: Mapping[str, tuple[str, ...]] = {
    "fetch": ("size", "rate"),
    "fetch changes": ("size", "change", "rate"),
    "compare": ("size", "disk"),
    "replay": ("log", "replay"),
    "start": ("start",),
    "promote": ("promote",),
}


def _way(
    name: Name,
    stages: Mapping[str, float | None],
    known: Mapping[str, float | None],
    target_seconds: float,
    per_size: tuple[str, ...] = (),
) -> Way:
    told = {stage: seconds for stage, seconds in stages.items() if seconds is not None}
    lacking = [each for stage in stages if stage not in told for each in _LACKING[stage]]
    at_least = sum(told.values())
    seconds = None if lacking else at_least
    growing = sum(told.get(stage, 0.0) for stage in per_size)
    size, largest = known["size"], None
    if size and growing and all(stage in told for stage in per_size):
        largest = max(0.0, target_seconds - (at_least - growing)) / growing * size
    return Way(
        name=name,
        seconds=seconds,
        at_least_seconds=at_least,
        keeps=False if at_least > target_seconds else _keeps(seconds, target_seconds),
        stages=told,
        unknown=tuple(each for each in dict.fromkeys(lacking) if known[each] is None),
        largest_bytes=largest,
    )


def _keeps(seconds: float | None, target_seconds: float) -> bool | None:
    return None if seconds is None else seconds <= target_seconds


def _fetch(known: Mapping[str, float | None], part: float) -> float | None:
    """The slowest of what is known: restores as measured, the network for stored bytes, the disk for all."""
    size = known["size"]
    if size is None:
        return None
    stored = size / (known["compression"] or 1.0)
    bounds = (
        _quotient(size * part, known["rate"]),
        _quotient(stored * part, known["network"]),
        _quotient(size * part, known["disk"]),
    )
    # The disk alone does not say how fast the data comes.
    if known["rate"] is None and known["network"] is None:
        return None
    return max(each for each in bounds if each is not None)


def _changed(known: Mapping[str, float | None]) -> float | None:
    change = known["change"]
    return None if change is None else _fetch(known, min(1.0, change / 100))


def _replay(known: Mapping[str, float | None], gap_days: float | None) -> dict[str, float | None]:
    log = known["log"]
    if gap_days is None or log is None:
        return {"replay": None}
    return {"replay": _quotient(log * gap_days, known["replay"])}


def _quotient(amount: float | None, a_second: float | None) -> float | None:
    return amount / a_second if amount is not None and a_second else None
