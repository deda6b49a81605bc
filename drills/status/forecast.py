"""How long the next restore will take, by those that were made; and when what was stored had been read again.

Pure. Nothing is guessed: without a restore there is no forecast, without a journal nothing counts as read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from drills.status.report import BackupSeen
from drills.status.run_journal import RunEnded
from repository.manifest import Proof


class Forecast(NamedTuple):
    """``by`` says what it was reckoned from."""

    seconds: float
    by: str


def forecast_rto(proofs: Sequence[Proof], backups: Sequence[BackupSeen]) -> Forecast | None:
    """The newest restore that was proven, in proportion to what is to be restored now.

    One that measured its RTO counts before one of which only the stages are known, for a plain restore
    replays nothing; and one that did not say how long it fetched counts not at all.
    """
    sizes = {each.label: each.files_bytes for each in backups}
    proven = [each for each in proofs if each.proven and sizes.get(each.label)]
    measured = [each for each in proven if each.rto_seconds is not None]
    staged = [each for each in proven if each.seconds.get("fetch")]
    if not (measured or staged):
        return None
    proof = (measured or staged)[-1]
    seconds = proof.rto_seconds if proof.rto_seconds is not None else sum(proof.seconds.values())
    grown = max(1.0, backups[-1].files_bytes / sizes[proof.label])
    return Forecast(seconds * grown, f"the {'proof' if measured else 'restore'} of {proof.label}")


class Readings:
    """When everything that was stored at a moment had been read again: after so many samples as cover all."""

    def __init__(self, journal: Sequence[RunEnded], percent: float) -> None:
        done = [each for each in journal if each.flow == "verify" and each.outcome == "done"]
        self._started = sorted((each.started_at, each.ended_at) for each in done)
        self._needed = math.ceil(100 / percent - 1e-9)

    def verified_at(self, moment: datetime) -> datetime | None:
        """None where some of it may still be unread."""
        after = [ended for started, ended in self._started if started >= moment]
        return after[self._needed - 1] if len(after) >= self._needed else None
