"""What became of the parts of `backstay serve` on this machine, as the service itself wrote it down."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from drills.status.report import Code, Health, Judged
from fleet.figures import duration
from fleet.process import is_here, this_process

FILE = "service.json"

PartName: TypeAlias = Literal["scheduler", "runner", "archiver", "mirror", "page"]
PartState: TypeAlias = Literal["waiting", "starting", "running", "stopping", "failing"]
"""``waiting``: for another part. ``failing``: it ended, and is started again after a pause."""


class PartSeen(BaseModel):
    """One part. ``since``: when the state began; ``down_since``: from when on it does not run steadily, None
    if it does. ``starts``: how often it was started; ``failures``: how often it has ended since it last ran
    for a minute; ``ended``: why it did. ``problem``: what is wrong with it while it runs. Times are UTC.
    """

    model_config = ConfigDict(frozen=True)

    name: PartName
    state: PartState
    since: datetime
    down_since: datetime | None = None
    pid: int | None = None
    starts: int = 0
    failures: int = 0
    ended: str | None = None
    problem: str | None = None


class ServiceSeen(BaseModel):
    """The service. ``config_problem``: why a changed configuration did not take effect. ``process``: a mark
    of the process that wrote it down, for a pid may be anybody's after a restart of the machine.
    """

    model_config = ConfigDict(frozen=True)

    pid: int
    started_at: datetime
    parts: tuple[PartSeen, ...]
    config_problem: str | None = None
    process: str | None = None

    @property
    def is_well(self) -> bool:
        """Every part runs."""
        return all(part.state == "running" for part in self.parts)

    def is_only_starting(self, name: PartName) -> bool:
        """The part does not run yet, and nothing is wrong with that."""
        begins = ("waiting", "starting")
        return any(part.name == name and part.state in begins and not part.failures for part in self.parts)


def write_service(directory: Path, seen: ServiceSeen) -> None:
    """Replace what is known in the state directory; this process is the service. Raises OSError."""
    seen = seen.model_copy(update={"process": this_process()})
    new = directory / f"{FILE}.new"
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(seen.model_dump_json().encode())
    new.replace(directory / FILE)


def read_service(directory: Path) -> ServiceSeen | None:
    """What a service told last; None if none was here, or its process does not run here now."""
    with suppress(OSError, ValidationError):
        seen = ServiceSeen.model_validate_json((directory / FILE).read_bytes())
        if is_here(seen.process):
            return seen
    return None


def judge_service(
    seen: ServiceSeen, directory: Path, now: datetime, *, grace_seconds: float = 60.0
) -> tuple[Judged, ...]:
    """What is wrong with the service itself; a part that is just being started again is not told. Pure."""
    return tuple(_findings(seen, directory, now, timedelta(seconds=grace_seconds)))


MANY_FAILURES = 3
"""In a row: it is started again and again, and does not stay."""
_RUNS_AGAIN = timedelta(seconds=20)
"""What is about to end once more has mostly done so by then; a minute later its failures are forgotten."""
_MEANS: dict[PartName, tuple[Health, Code, str]] = {
    "scheduler": (Health.CRITICAL, "scheduler-down", "Backups can be taken by hand: backstay backup full."),
    "runner": (Health.CRITICAL, "scheduler-down", "Backups can be taken by hand: backstay backup full."),
    "archiver": (Health.CRITICAL, "archive-stopped", "It can be run by hand: backstay archive run."),
    "mirror": (Health.WARNING, "mirror-lag", "It can be run by hand: backstay mirror run."),
    # It is the one that notifies: only who asks by hand hears of it.
    "page": (
        Health.WARNING,
        "scheduler-down",
        "Nobody is notified until it runs. Look by hand: backstay status.",
    ),
}


def _findings(seen: ServiceSeen, directory: Path, now: datetime, grace: timedelta) -> Iterator[Judged]:
    for part in seen.parts:
        health, code, by_hand = _MEANS[part.name]
        hint = f"See {directory / 'logs' / part.name}.log. {by_hand}"
        # Down since a time that has not come yet: a clock was set back, and nobody knows for how long.
        is_long = part.down_since is not None and abs(now - part.down_since) > grace
        if part.failures >= MANY_FAILURES and part.state == "running" and now - part.since > _RUNS_AGAIN:
            runs = duration((now - part.since).total_seconds())
            message = f"it runs again for {runs}, and ended {part.failures} times before: {part.ended}"
            yield Judged(Health.WARNING, code, part.name, message, hint)
        elif part.failures >= MANY_FAILURES or is_long:
            why = part.ended or f"it is {part.state}"
            way_out = f"The service starts it again. {hint}"
            yield Judged(health, code, part.name, f"it does not run: {why}", way_out, part.down_since)
        elif part.problem is not None:
            yield Judged(Health.WARNING, code, part.name, part.problem, hint)
    if seen.config_problem is not None:
        yield Judged(
            Health.WARNING,
            "settings",
            "configuration",
            f"a change of it does not count: {seen.config_problem}",
            "Put the file right; what was read before counts until then.",
        )
