"""Which expired backups are needed for some of their pages alone (FORMAT.md, section 16). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from repository.layout import BackupName
from repository.reach import Known, Reach


def reducible(
    known: Known,
    reach: Reach,
    bases: Mapping[BackupName, BackupName | None],
) -> dict[BackupName, tuple[BackupName, ...]]:
    """The backups that may be reduced, each with all that refer to it, if any; by shard and time.

    ``bases``: of each backup whose manifest was read, the one that it continues. Nothing is reduced while a
    manifest cannot be read.
    """
    if reach.unreadable:
        return {}
    whole = _whole(known, reach, bases)
    # What only an expired backup continues is kept with it, and nobody reads a byte of it.
    parts = set(reach.needed) & known.needs.keys() - whole
    return {name: referring(name, known.needs, bases) for name in sorted(parts)}


def _whole(known: Known, reach: Reach, bases: Mapping[BackupName, BackupName | None]) -> set[BackupName]:
    """The backups that may be restored, and their chains. Of what these refer to, no chain is needed."""
    waiting = [
        name
        for name in known.needs
        if name not in known.marks or name in reach.in_grace or name in known.kept
    ]
    found: set[BackupName] = set()
    while waiting:
        name = waiting.pop()
        below = bases.get(name)
        if below is not None and below in known.needs and below not in found:
            waiting.append(below)
        found.add(name)
    return found


def referring(
    name: BackupName,
    needs: Mapping[BackupName, Sequence[BackupName]],
    bases: Mapping[BackupName, BackupName | None],
) -> tuple[BackupName, ...]:
    """All whose index names packs of the backup, needed or not."""
    return tuple(sorted(each for each, named in needs.items() if name in named and bases.get(each) != name))
