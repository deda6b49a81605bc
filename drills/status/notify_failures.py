"""Who could not be told: kept on this machine until it works again, so that whoever looks learns of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from drills.status.lag_history import replace_file
from drills.status.report import Health, Judged
from fleet.figures import moment
from fleet.service_config import Notify

FILE = "notify-failed.json"
BLOCKS_FILE = "notify-blocks.json"

SHORTEST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(minutes=10)
"""Between two trials of a way that fails; each pause is twice the one before."""

Way: TypeAlias = Literal["webhook", "command", "prefect"]

_HINTS: Mapping[Way, str] = {
    "webhook": "Put `notify.webhook` right, or what it leads to",
    "command": "Put `notify.command` right, or what it leads to",
    "prefect": "Look whether the Prefect server runs, and what it asks for: `[scheduler]`",
}


class Failure(BaseModel):
    """Why a way does not work, in words that hold no secret, and since when. ``tries``: how often it has
    failed; it is tried again at ``next_at``.
    """

    model_config = ConfigDict(frozen=True)

    problem: str
    since: datetime
    tries: int = 1
    next_at: datetime | None = None

    def is_due(self, now: datetime) -> bool:
        """Whether it is to be tried; also where the clock was put back."""
        return self.next_at is None or not now < self.next_at <= now + LONGEST_PAUSE


Failures: TypeAlias = Mapping[Way, Failure]


class _Document(RootModel[dict[Way, Failure]]):
    pass


class _Blocks(RootModel[dict[str, Failure]]):
    """By block, as the configuration names it."""


def ways_of(settings: Notify) -> frozenset[Way]:
    """By which somebody is to be told."""
    asked: dict[Way, bool] = {
        "webhook": settings.webhook is not None,
        "command": bool(settings.command),
        "prefect": settings.tells_prefect,
    }
    return frozenset(way for way, is_asked in asked.items() if is_asked)


def failed_again(problem: str, before: Failure | None, now: datetime) -> Failure:
    """What is known of a way that was just tried in vain. Pure."""
    tries = before.tries + 1 if before else 1
    # The exponent is bounded, for what fails for a year must not overflow.
    pause = min(SHORTEST_PAUSE * 2 ** min(tries - 1, 10), LONGEST_PAUSE)
    return Failure(problem=problem, since=before.since if before else now, tries=tries, next_at=now + pause)


def read_failures(directory: Path) -> dict[Way, Failure]:
    """The ways that failed when they were used last."""
    try:
        return dict(_Document.model_validate_json((directory / FILE).read_bytes()).root)
    except (OSError, ValidationError):
        return {}


def write_failures(directory: Path, failures: Failures) -> bool:
    """Keep them; False if the disk does not take it."""
    return replace_file(directory / FILE, _Document(dict(failures)).model_dump_json())


def subject_of(way: Way) -> str:
    """What its finding is of."""
    return f"notifications by {way}"


def judge_notify(failures: Failures, settings: Notify) -> Iterator[Judged]:
    """A finding for each way that fails and is still wanted. Pure."""
    wanted = ways_of(settings)
    for way, failure in failures.items():
        if way in wanted:
            hint = f"{_HINTS[way]}; until then look by hand: backstay status"
            yield Judged(
                Health.WARNING, "notify-failed", subject_of(way), failure.problem, hint, failure.since
            )


def news(before: Failures, after: Failures, settings: Notify) -> tuple[str, ...]:
    """A line for each way that has begun to fail, or that works again; one that is not wanted any more does
    neither.
    """
    wanted = ways_of(settings)
    begun = [failure.problem for way, failure in after.items() if way not in before]
    over = [
        f"{subject_of(way)} work again, and failed since {moment(failure.since)} UTC"
        for way, failure in before.items()
        if way in wanted and way not in after
    ]
    return (*begun, *over)


def read_blocks(directory: Path) -> dict[str, Failure]:
    """The blocks that could not be used when automations were put last, by name."""
    try:
        return dict(_Blocks.model_validate_json((directory / BLOCKS_FILE).read_bytes()).root)
    except (OSError, ValidationError):
        return {}


def write_blocks(directory: Path, problems: Mapping[str, str], now: datetime) -> tuple[str, ...]:
    """Keep why blocks cannot be used, by name. What is new of it, in words."""
    before = read_blocks(directory)
    after = {
        name: Failure(problem=problem, since=before[name].since if name in before else now)
        for name, problem in problems.items()
    }
    if after == before:
        return ()
    replace_file(directory / BLOCKS_FILE, _Blocks(after).model_dump_json())
    begun = [f"{block_subject(name)}: {after[name].problem}" for name in after if name not in before]
    return (*begun, *(f"{block_subject(name)} is used" for name in before if name not in after))


def block_subject(name: str) -> str:
    """What the finding of a block is of."""
    return f"Prefect block {name}"


def judge_blocks(failures: Mapping[str, Failure], settings: Notify) -> Iterator[Judged]:
    """A finding for each block that cannot be used and is still wanted. Pure."""
    for name, failure in failures.items():
        if name in settings.prefect_blocks:
            hint = (
                "Make it in Prefect, which asks for its secrets; or take it out of `notify.prefect_blocks`."
            )
            yield Judged(
                Health.WARNING, "notify-failed", block_subject(name), failure.problem, hint, failure.since
            )
