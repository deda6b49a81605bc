"""Backups whose GTID set does not tell what their data holds. Pure.

RESET BINARY LOGS AND GTIDS empties a server's executed set and leaves its data: transactions that such a copy
already holds would be replayed on it a second time, and a proof by GTID sets would not see it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from fleet.gtid import GtidSet
from repository.manifest import Manifest
from repository.shorts import ShortManifest
from restore.growing import NOTHING
from restore.walk import Branch
from restore.wording import short

_Known: TypeAlias = Manifest | ShortManifest


def untold(manifests: Iterable[_Known], branches: Iterable[Branch] = ()) -> dict[str, str]:
    """Those of one shard's backups that cannot be a base, by label, each with the reason.

    A server's data goes on as long as its LSN does. So a backup that was copied from the server of an older
    one (server_uuid, and redo log where both name it), at no lower LSN, holds all that the older one held;
    its ``gtid.high`` must say so. What lies on ``branches`` may be missing: the line itself let go of it.
    """
    left = NOTHING
    for branch in branches:
        left = left | branch.gtids
    found: dict[str, str] = {}
    older: dict[str, list[tuple[_Known, GtidSet]]] = {}
    all_of: dict[str, GtidSet] = {}
    for each in sorted(manifests, key=lambda manifest: manifest.label):
        server, high = each.donor.server_uuid, GtidSet.parse(each.gtid.high)
        # Nearly always nothing is missing at all, and backups need not be compared one by one.
        if all_of.get(server, NOTHING) - high and (reason := _reason(each, high, older[server])):
            found[each.label] = reason
        held = GtidSet.parse(each.gtid.low) - left
        older.setdefault(server, []).append((each, held))
        all_of[server] = all_of.get(server, NOTHING) | held
    return found


def _reason(manifest: _Known, high: GtidSet, older: Iterable[tuple[_Known, GtidSet]]) -> str | None:
    for other, held in older:
        if _same_data(manifest, other) and (missing := held - high):
            return (
                f"its GTID set lacks {short(missing)}, which its data holds: {other.label} has it, of the "
                f"same server at LSN {other.lsn.end}, and this one is of LSN {manifest.lsn.end}"
            )
    return None


def _same_data(newer: _Known, older: _Known) -> bool:
    logs = {newer.lsn.log_uuid, older.lsn.log_uuid} - {None}
    return len(logs) <= 1 and older.lsn.end <= newer.lsn.end
