"""How much is there still of backups that were reduced (FORMAT.md, section 16): no manifest tells it."""

from __future__ import annotations

from collections.abc import Iterable

from repository import layout
from repository.askers import Askers
from repository.layout import BackupName
from repository.repository import Repository


def left_bytes(repository: Repository, reduced: Iterable[BackupName]) -> dict[BackupName, int]:
    """Stored bytes of packs, remainders and index parts of each, as the store lists them.

    Costs one list for each backup, a request for a thousand of its objects, and none where nothing was
    reduced; no object is read. Raises what the store raises.
    """

    def listed(backup: BackupName) -> int:
        found = repository.store.list(layout.packs_and_parts(backup))
        return sum({info.key: info.size for info in found}.values())

    names = sorted(reduced)
    with Askers("left") as askers:
        return dict(zip(names, askers.answers(listed, names), strict=True))
