"""Which objects a sample takes: pure, but for the file that tells which came last.

Every object has a place between 0 and 1, drawn from the seed and its name; a sample of 5 % takes those in a
window of that width. So each object has the same chance, nothing is listed before, and the windows of one
seed, one behind the other, cover every object in 20 runs, those included that come meanwhile.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

import xxhash

from fleet.errors import UsageError

_SPAN = 2**64
_SAME = 1e-9
_SEED = re.compile(r"([A-Za-z0-9]{1,32})(?:/([1-9][0-9]{0,5}))?")


@dataclass(frozen=True, slots=True)
class Sample:
    """``fraction`` of all objects: window number ``window`` (from 1) of ``seed``."""

    fraction: float
    seed: str
    window: int = 1

    @classmethod
    def begin(cls, percent: float, seed: str | None = None) -> Self:
        """``percent`` above 0 and up to 100; ``seed`` as ``str`` told it, or None. Raises ``UsageError``."""
        if not 0 < percent <= 100:
            raise UsageError(
                f"a sample of {percent:g} % is none", hint="Give more than 0 % and at most 100 %."
            )
        if seed is None:
            return cls(percent / 100, secrets.token_hex(4))
        found = _SEED.fullmatch(seed)
        if found is None:
            raise UsageError(
                f"{seed[:60]!r} is no seed", hint="Give letters and digits, or what an earlier run told."
            )
        return cls(percent / 100, found[1], int(found[2] or 1))

    @property
    def windows(self) -> int:
        """So many runs cover every object."""
        return math.ceil(1 / self.fraction - 1e-9)

    @property
    def next(self) -> Self:
        """The window behind this one; behind the last, the first."""
        return replace(self, window=self.window % self.windows + 1)

    def takes(self, name: str) -> bool:
        """Is the object one of this window?"""
        place = xxhash.xxh3_64_intdigest(f"{self.seed}/{name}".encode()) / _SPAN
        start = ((self.window - 1) % self.windows) * self.fraction
        # The last window goes on at the beginning, so that all are equally wide.
        return (place - start) % 1.0 < self.fraction

    def __str__(self) -> str:
        return f"{self.seed}/{self.window}"


class SampleState:
    """Which window comes next, kept in a small file, so that many samples cover everything.

    A file that cannot be read or written costs that, and no more: the next sample is one of a new seed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self, percent: float) -> Sample:
        """The window after the one that was finished last; that which was begun and not finished, again."""
        last = self._read()
        if last is None or abs(last.sample.fraction - percent / 100) > _SAME:
            sample = Sample.begin(percent)
        else:
            sample = last.sample.next if last.finished else last.sample
        self._write(_Last(sample, finished=False))
        return sample

    def finish(self, sample: Sample) -> None:
        """The sample was read to its end."""
        self._write(_Last(sample, finished=True))

    def _read(self) -> _Last | None:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            sample = Sample(float(found["fraction"]), str(found["seed"]), int(found["window"]))
            finished = bool(found["finished"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        usable = 0 < sample.fraction <= 1 and _SEED.fullmatch(str(sample))
        return _Last(sample, finished) if usable else None

    def _write(self, last: _Last) -> None:
        text = json.dumps({**asdict(last.sample), "finished": last.finished})
        fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(self._path)


class _Last(NamedTuple):
    sample: Sample
    finished: bool
