"""Rotation: every backup and every epoch that some key opens is wrapped by the first key as well.

It adds small objects and deletes none, so it may die or run twice at any moment: the next run does what is
left (FORMAT.md, section 5).
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from fleet.errors import Cancelled, ObjectExists, ToolError
from repository.key_places import PlaceSeen, Shut, find_places, open_place, why_not
from repository.keys import Binding, WrappedKey
from repository.repository import Repository, is_there
from repository.seal import damaged

_WORKERS = 8


@dataclass(frozen=True, slots=True)
class RotationPlan:
    """``wraps``: what the key ``primary`` is to open from then on. ``done``: how many it opens already.

    ``shut``: what no key here opens. Backups and epochs in the making are wrapped, too, but not counted as
    shut: they are no backups yet.
    """

    primary: str
    wraps: tuple[PlaceSeen, ...]
    done: int
    shut: tuple[Shut, ...]


@dataclass(frozen=True, slots=True)
class Rotated:
    """``wrapped``: how many backups and epochs the key ``primary`` opens since now; ``done``: before."""

    primary: str
    wrapped: int
    done: int
    shut: tuple[Shut, ...]


def plan_rotation(repository: Repository, shards: Iterable[str] = ()) -> RotationPlan:
    """Try what every key opens. Writes nothing.

    ``shards`` are those whose archives are looked for even if they have no backup. Raises ``KeyUnusable`` if
    the first key is, or no key opens anything, and what the store raises.
    """
    primary = repository.keys.primary.key_id
    repository.keys.require_opener("rotation")
    seen = find_places(repository, shards, everywhere=True)
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="rotate") as workers:
        looked_at = list(zip(seen, workers.map(partial(_look_at, repository), seen), strict=True))
    return RotationPlan(
        primary,
        tuple(each for each, found in looked_at if found == "wrap"),
        sum(found == "done" for _, found in looked_at),
        tuple(found for _, found in looked_at if isinstance(found, Shut)),
    )


def rotate(
    repository: Repository, plan: RotationPlan, *, cancelled: threading.Event | None = None
) -> Rotated:
    """Do what the plan says. Raises ``Cancelled``, ``FormatUnsupported`` and what the store raises.

    What opened for the plan and no longer does is told in ``shut``; what is gone meanwhile is passed over.
    """
    repository.check_may("write")
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="rotate") as workers:
        work = partial(_wrap, repository, cancelled or threading.Event())
        outcomes = list(workers.map(work, plan.wraps))
    shut = tuple(each for each in outcomes if isinstance(each, Shut))
    return Rotated(plan.primary, sum(each is True for each in outcomes), plan.done, (*plan.shut, *shut))


def _look_at(repository: Repository, seen: PlaceSeen) -> str | Shut:
    """``done``, ``wrap``, ``skip`` or what is wrong."""
    primary = repository.keys.primary
    if primary.key_id not in seen.key_ids:
        found = _open(repository, seen)
        return "wrap" if isinstance(found, bytes) else _shut(repository, seen, found) or "skip"
    try:
        # What a public half wrapped can be tried only where the private one is.
        if primary.can_open:
            open_place(repository, seen, primary.key_id)
    except ToolError as error:
        _raise_what_passes(error)
        return _shut(repository, seen, error.message) or "skip"
    return "done" if seen.exists else "skip"


def _wrap(repository: Repository, cancelled: threading.Event, seen: PlaceSeen) -> bool | Shut:
    """True: wrapped; False: it is gone."""
    if cancelled.is_set():
        raise Cancelled("rotation was stopped", hint="What was wrapped stays; run it again for the rest.")
    place, primary = seen.place, repository.keys.primary
    key = _open(repository, seen)
    if isinstance(key, str):
        return _shut(repository, seen, key) or False
    wrapped = primary.wrap(key, Binding(repository.repository_id, place.owner))
    envelope = WrappedKey(key_id=primary.key_id, wrapped=base64.b64encode(wrapped).decode())
    name = place.wrapped(primary.key_id)
    # Another rotation may have been faster.
    with suppress(ObjectExists):
        repository.store.put(name, envelope.model_dump_json().encode())
    try:
        if primary.can_open and repository.unwrap_bytes(name, place.owner, primary.key_id) != key:
            raise damaged(name, "it holds another key than the ones beside it")
    except ToolError as error:
        _raise_what_passes(error)
        return _shut(repository, seen, error.message) or False
    return True


def _open(repository: Repository, seen: PlaceSeen) -> bytes | str:
    """The key of the place by the first key that opens it; or why none does."""
    tried: list[ToolError] = []
    for key_id in repository.keys.openers:
        if key_id in seen.key_ids:
            try:
                return open_place(repository, seen, key_id)
            except ToolError as error:
                _raise_what_passes(error)
                tried.append(error)
    return why_not(repository, seen, tried)


def _shut(repository: Repository, seen: PlaceSeen, reason: str) -> Shut | None:
    """What is wrong with what exists still; None if it does not, or never did."""
    if not seen.exists or not is_there(repository.store, seen.place.sealed):
        return None
    return Shut.of(seen, reason)


def _raise_what_passes(error: ToolError) -> None:
    if error.retryable or isinstance(error, Cancelled):
        raise error
