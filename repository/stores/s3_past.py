"""A bucket's past: what was overwritten or hidden since a moment, and how it comes back.

In a bucket with versions nobody who may only put and delete can take an object away: a put lays another
version over it, a delete hides it behind a marker. What was there stays, at least as long as it is locked.
Nothing of ours is ever overwritten, so whatever lies over an object was not put there by us; a delete marker
may be ours, where this account may not delete versions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from fleet.errors import ObjectLocked
from repository.stores.s3 import S3Store
from repository.stores.s3_versions import Version


@dataclass(frozen=True, slots=True)
class Changed:
    """An object that is not what it was. ``was``: what comes back; ``newer``: what is over it, newest first.

    ``at``: when the first of that came, by the store's clock. ``hidden``: it looks deleted now.
    """

    key: str
    was: Version
    newer: tuple[Version, ...]

    @property
    def at(self) -> datetime:
        return self.newer[-1].modified_at

    @property
    def hidden(self) -> bool:
        return self.newer[0].is_marker


def changed_since(store: S3Store, covers: re.Pattern[str], since: datetime) -> Iterator[Changed]:
    """What of the keys that ``covers`` was there at ``since`` and has something over it now; by key.

    One request for each 1,000 versions. Raises ``StoreDenied`` without ListBucketVersions.
    """
    every = store.versioned.versions(store.prefix)
    for name, versions in groupby(every, key=lambda version: version.name):
        key = name.removeprefix(store.prefix)
        if covers.fullmatch(key) and (found := changed(key, versions, since)):
            yield found


def changed(key: str, versions: Iterable[Version], since: datetime) -> Changed | None:
    """The same of one object, whose versions come newest first."""
    newer: list[Version] = []
    for version in versions:
        if version.modified_at > since:
            newer.append(version)
        elif newer and not version.is_marker:
            # What was put over a locked version to bring the object back is what it was.
            is_back = (newer[0].tag, newer[0].size) == (version.tag, version.size)
            return None if is_back else Changed(key, version, tuple(newer))
        else:
            return None
    return None


def bring_back(store: S3Store, found: Changed, now: datetime) -> bool:
    """Delete what lies over the object, newest first; tells whether that was enough.

    What is locked itself cannot be deleted: then what was there is put over it once more. Raises
    ``StoreDenied`` without DeleteObjectVersion.
    """
    try:
        for version in found.newer:
            store.versioned.delete_version(version, now)
    except ObjectLocked:
        store.put(found.key, store.versioned.read(found.was), if_absent=False)
        return False
    return True
