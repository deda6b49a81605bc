"""How far the archives were behind in the last day: a point for each look, kept on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import RootModel, ValidationError

from drills.status.report import LagPoint

DAY = timedelta(days=1)
NEXT_POINT = timedelta(seconds=29)
"""Who looks more often than that makes the last point worse, and never a new one."""


class _Document(RootModel[dict[str, tuple[tuple[datetime, float], ...]]]):
    pass


class LagHistory:
    """The history in ``path``. A disk that does not take it stops nothing; nor does a file without sense."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, lags: Mapping[str, float | None], now: datetime) -> dict[str, tuple[LagPoint, ...]]:
        """Add what was seen ``now``, None where nobody could be asked; the last day of these shards."""
        known = self._read()
        for shard, seconds in lags.items():
            points = known.get(shard, ())
            if seconds is not None:
                points = _with(points, LagPoint(now, seconds))
            known[shard] = tuple(each for each in points if now - DAY <= each.at <= now)
        self._write(known)
        return {shard: known[shard] for shard in lags}

    def _read(self) -> dict[str, tuple[LagPoint, ...]]:
        try:
            root = _Document.model_validate_json(self._path.read_text(encoding="utf-8")).root
        except (OSError, ValidationError):
            return {}
        return {shard: tuple(LagPoint(*point) for point in points) for shard, points in root.items()}

    def _write(self, known: Mapping[str, tuple[LagPoint, ...]]) -> None:
        root = {shard: tuple((each.at, each.seconds) for each in points) for shard, points in known.items()}
        replace_file(self._path, _Document(root).model_dump_json())


def _with(points: tuple[LagPoint, ...], newest: LagPoint) -> tuple[LagPoint, ...]:
    if points and timedelta() <= newest.at - points[-1].at < NEXT_POINT:
        return (*points[:-1], LagPoint(points[-1].at, max(points[-1].seconds, newest.seconds)))
    return (*points, newest)


def replace_file(path: Path, text: str) -> bool:
    """Put ``text`` in the place of ``path`` at once, for its owner's eyes; False if the disk does not."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        return False
    return True
