"""Who could not be told: kept on this machine until it works again, so that whoever looks learns of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from drills.status.lag_history import replace_file
from drills.status.report import Health, Judged
from fleet.figures import moment
from fleet.service_config import Notify

FILE = "notify-failed.json"

Way: TypeAlias = Literal["webhook", "command"]


class Failure(BaseModel):
    """Why a way does not work, in words that hold no secret, and since when."""

    model_config = ConfigDict(frozen=True)

    problem: str
    since: datetime


Failures: TypeAlias = Mapping[Way, Failure]


class _Document(RootModel[dict[Way, Failure]]):
    pass


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
    for way, failure in failures.items():
        if settings.webhook if way == "webhook" else settings.command:
            hint = f"Put `notify.{way}` right, or what it leads to; until then look by hand: backstay status"
            yield Judged(
                Health.WARNING, "notify-failed", subject_of(way), failure.problem, hint, failure.since
            )


def news(before: Failures, after: Failures) -> tuple[str, ...]:
    """A line for each way that has begun to fail, or that works again."""
    begun = [failure.problem for way, failure in after.items() if way not in before]
    over = [
        f"{subject_of(way)} work again, and failed since {moment(failure.since)} UTC"
        for way, failure in before.items()
        if way not in after
    ]
    return (*begun, *over)
