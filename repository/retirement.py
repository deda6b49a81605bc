"""Retiring a key: it opens nothing from then on, and nothing is lost by it (FORMAT.md, section 5).

A wrapped key goes only when another key was just tried beside it. The keyring entry goes last, so a run that
dies is carried on by the next one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from fleet.clock import Clock
from fleet.errors import (
    Cancelled,
    CheckFailed,
    KeyUnusable,
    NotFound,
    ObjectExists,
    ObjectLocked,
    ToolError,
    UsageError,
)
from fleet.figures import plural
from fleet.nearest import or_nearest
from repository import layout
from repository.key_places import KeyPlace, PlaceSeen, Shut, find_places, open_place, why_not
from repository.repository import Repository, is_there
from repository.seal import FORMAT_NUMBER

_WORKERS = 8


@dataclass(frozen=True, slots=True)
class RetirementPlan:
    """``opened_by``: of how many backups and epochs another key was tried and opens, by the other key's id.

    ``places``: where a wrapped key of it would be deleted. ``alone``: what would be opened by no key here
    any more; while there is any, the key is not retired.
    """

    key_id: str
    opened_by: dict[str, int]
    places: tuple[PlaceSeen, ...]
    alone: tuple[Shut, ...]


@dataclass(frozen=True, slots=True)
class Retired:
    """``deleted``: how many wrapped keys were deleted."""

    key_id: str
    deleted: int


def plan_retirement(repository: Repository, key_id: str, shards: Iterable[str] = ()) -> RetirementPlan:
    """Try for everything that ``key_id`` opens whether another key opens it, too. Writes nothing.

    Raises ``UsageError`` for the first key of the configuration, ``NotFound`` for one that the repository
    does not know, ``KeyUnusable`` if the first key is, or nothing can be opened, and what the store raises.
    """
    _refuse(repository, key_id)
    seen = _wrapped_by(repository, key_id, shards)
    if not seen:
        _must_be_known(repository, key_id)
    others = [
        each for each in repository.keys.openers if each != key_id and not _is_retiring(repository, each)
    ]
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="retire") as workers:
        tried = list(workers.map(partial(_try_others, repository, key_id, others), seen))
    found = [each for each in tried if isinstance(each, str)]
    return RetirementPlan(
        key_id,
        {other: found.count(other) for other in others if other in found},
        tuple(each for each, other in zip(seen, tried, strict=True) if isinstance(other, str)),
        tuple(each for each in tried if isinstance(each, Shut)),
    )


def retire(
    repository: Repository,
    key_id: str,
    clock: Clock,
    shards: Iterable[str] = (),
    *,
    cancelled: threading.Event | None = None,
) -> Retired:
    """Delete every wrapped key of ``key_id``, then its keyring entry. No data is touched.

    Everything is tried anew, as for the plan, and each wrapped key once more before it is deleted. Raises as
    ``plan_retirement``, ``CheckFailed`` if the key alone opens something, or wrapped a new backup meanwhile,
    ``Cancelled``, ``FormatUnsupported``, and ``ObjectLocked`` with the date after which it can be run again.
    """
    repository.check_may("delete")
    shards = tuple(shards)
    _must_open_nothing_alone(plan_retirement(repository, key_id, shards))
    _mark(repository, key_id, clock)
    # Whoever retires one of the others now put a mark before, or sees ours.
    plan = plan_retirement(repository, key_id, shards)
    _must_open_nothing_alone(plan)
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="retire") as workers:
        others = list(plan.opened_by)
        work = partial(_delete, repository, key_id, others, cancelled or threading.Event())
        tried = list(workers.map(work, plan.places))
    if locked := [each for each in tried if each is not None]:
        raise _not_yet(key_id, locked)
    if left := _wrapped_by(repository, key_id, shards):
        raise CheckFailed(
            f"key {key_id} is not retired: {left[0].place} was wrapped by it meanwhile",
            hint="Put another key first in the configuration of every machine that backs up, let what runs "
            "there come to its end, and run `backstay keys rotate`, then this again.",
        )
    try:
        repository.store.delete(layout.keyring_entry(key_id))
    except ObjectLocked as error:
        raise _not_yet(key_id, [error]) from error
    repository.store.delete(layout.retiring_mark(key_id))
    return Retired(key_id, len(tried))


def _refuse(repository: Repository, key_id: str) -> None:
    layout.check_name("key", key_id)
    if key_id == repository.keys.primary.key_id:
        raise UsageError(
            f"key {key_id} is the first of the configuration: it wraps new backups",
            hint="Put another key first, on every machine that backs up, and run `backstay keys rotate`.",
        )
    repository.keys.require_opener("retiring a key")


def _must_be_known(repository: Repository, key_id: str) -> None:
    names = (layout.keyring_entry(key_id), layout.retiring_mark(key_id))
    if any(is_there(repository.store, name) for name in names):
        return
    known = [each for each in repository.keyring() if each]
    raise NotFound(
        f"the repository does not know key {key_id}{or_nearest(key_id, known)}",
        hint=f"It knows {', '.join(sorted(known)) or 'none'}. A key that was retired is gone for good.",
    )


def _must_open_nothing_alone(plan: RetirementPlan) -> None:
    if plan.alone:
        first = plan.alone[0]
        raise CheckFailed(
            f"key {plan.key_id} is not retired: it alone opens {len(plan.alone)} of "
            f"{plural(len(plan.places) + len(plan.alone), 'wrapped key')}, such as that of {first.place}: "
            f"{first.reason}",
            hint="Run `backstay keys rotate` where the configuration has both keys, then this again.",
        )


def _mark(repository: Repository, key_id: str, clock: Clock) -> None:
    mark = {"format": FORMAT_NUMBER, "key_id": key_id, "at": clock.now().isoformat()}
    with suppress(ObjectExists):
        repository.store.put(layout.retiring_mark(key_id), json.dumps(mark).encode())


def _is_retiring(repository: Repository, key_id: str) -> bool:
    return is_there(repository.store, layout.retiring_mark(key_id))


def _wrapped_by(repository: Repository, key_id: str, shards: Iterable[str]) -> list[PlaceSeen]:
    return [each for each in find_places(repository, shards, everywhere=True) if key_id in each.key_ids]


def _try_others(repository: Repository, key_id: str, others: Iterable[str], seen: PlaceSeen) -> str | Shut:
    """The id of the other key that opens the place; or why none does."""
    tried: list[ToolError] = []
    for other in others:
        if other in seen.key_ids:
            try:
                key = open_place(repository, seen, other)
                if not seen.exists:
                    _must_be_the_same(repository, seen.place, key_id, key)
            except ToolError as error:
                if error.retryable or isinstance(error, Cancelled):
                    raise
                tried.append(error)
                continue
            return other
    return Shut.of(seen, _why_alone(repository, seen, key_id, tried))


def _must_be_the_same(repository: Repository, place: KeyPlace, key_id: str, key: bytes) -> None:
    """Where no manifest tells yet, the two must hold the same. Raises ``KeyUnusable``."""
    if key_id not in repository.keys.openers:
        raise KeyUnusable(f"it is in the making, or died, and key {key_id} is not here to compare")
    if repository.unwrap_bytes(place.wrapped(key_id), place.owner, key_id) != key:
        raise KeyUnusable("it is in the making, or died, and its wrapped keys are not the same")


def _why_alone(repository: Repository, seen: PlaceSeen, key_id: str, tried: Iterable[ToolError]) -> str:
    others = PlaceSeen(seen.place, tuple(each for each in seen.key_ids if each != key_id), seen.exists)
    if not others.key_ids:
        return (
            "no other key wraps it"
            if seen.exists
            else "no other key wraps it, and it is in the making or died"
        )
    return why_not(repository, others, tried) or "the others are being retired"


def _not_yet(key_id: str, locked: list[ObjectLocked]) -> ObjectLocked:
    until = max((each.until for each in locked if each.until), default=None)
    date = f"until {until:%Y-%m-%d %H:%M:%S UTC}" if until else "without a date"
    return ObjectLocked(
        f"key {key_id} is being retired, but {plural(len(locked), 'object')} of it cannot be deleted yet: "
        f"locked {date}",
        hint="It wraps nothing new from now on, and still opens those. Run it again after that date.",
        until=until,
    )


def _delete(
    repository: Repository,
    key_id: str,
    others: Iterable[str],
    cancelled: threading.Event,
    seen: PlaceSeen,
) -> ObjectLocked | None:
    """Delete one wrapped key; what the lock says if that lasts."""
    if cancelled.is_set():
        raise Cancelled(
            f"retiring key {key_id} was stopped",
            hint="It still opens what is left; run it again for the rest.",
        )
    found = _try_others(repository, key_id, others, seen)
    if isinstance(found, Shut):
        raise CheckFailed(
            f"key {key_id} is not retired: {seen.place} is no longer opened by another key: {found.reason}",
            hint="What was deleted is opened by another key; run it again.",
        )
    try:
        repository.store.delete(seen.place.wrapped(key_id))
    except ObjectLocked as error:
        return error
    return None
