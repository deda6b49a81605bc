"""Back to what the store held at a moment: who may put and delete cannot take away what has versions.

For the day on which somebody had an account's credentials. What must be kept is brought back (data, keys,
manifests, the archive, the keyring); marks, leases, turns and trials are left as they are.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime

from fleet.clock import Clock
from fleet.errors import Cancelled, ConfigError
from fleet.repository_config import StoreConfig
from repository.stores.opening import LOCKED, open_bucket

_WORKERS = 16


@dataclass(frozen=True, slots=True)
class ChangedObject:
    """``happened``: ``overwritten`` or ``deleted``; ``at``: when that began; ``bytes``: what comes back."""

    name: str
    happened: str
    at: datetime
    bytes: int


@dataclass(frozen=True, slots=True)
class Undeletion:
    """What is brought back, or with ``done`` was. ``put_again``: so many could not be uncovered, for what lay
    over them is locked; a copy lies over that now.
    """

    done: bool
    repository: str
    since: datetime
    objects: tuple[ChangedObject, ...]
    put_again: int


def undelete(
    config: StoreConfig,
    since: datetime,
    clock: Clock,
    *,
    names: Sequence[str] | None = None,
    cancelled: threading.Event | None = None,
) -> Undeletion:
    """Bring back those ``names`` that were there at ``since`` (UTC) and were overwritten or deleted after.

    Without ``names`` nothing is touched: that is the plan. Run again, it does what is left. Raises
    ``ConfigError`` where the store keeps no versions, ``StoreDenied``, ``StoreUnreachable``, ``Cancelled``.
    """
    from repository.stores.s3_past import bring_back, changed_since  # noqa: PLC0415 - loads boto3

    store = open_bucket(config, clock=clock)
    if store is None or not store.properties.versioned:
        raise ConfigError(
            f"{config.url} keeps no versions, or this account may not ask: what was deleted there is gone",
            hint="A repository and its mirror each still have what only the other lost: --from mirror reads "
            "the mirror, `backstay mirror run --once --recheck` fills it. With versioning, and better with "
            "lock_days, nothing can be lost so.",
        )
    found = {each.key: each for each in changed_since(store, LOCKED, since)}
    objects = tuple(
        ChangedObject(key, "deleted" if each.hidden else "overwritten", each.at, each.was.size)
        for key, each in found.items()
    )
    plan = Undeletion(done=False, repository=store.describe(), since=since, objects=objects, put_again=0)
    if names is None:
        return plan

    def one(name: str) -> bool:
        if cancelled is not None and cancelled.is_set():
            raise Cancelled("bringing back was stopped", hint="Run it again for the rest.")
        return bring_back(store, found[name], clock.now())

    wanted = [name for name in dict.fromkeys(names) if name in found]
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="undelete") as workers:
        uncovered = list(workers.map(one, wanted))
    back: Mapping[str, None] = dict.fromkeys(wanted)
    return replace(
        plan,
        done=True,
        objects=tuple(each for each in objects if each.name in back),
        put_again=uncovered.count(False),
    )
