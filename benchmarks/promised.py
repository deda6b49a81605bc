"""Can every moment that a window promises be planned, from what a repository holds now?

It asks for more than a plan does: the packs of all that a base rests on must be there too, counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from fleet.errors import ToolError
from repository import layout
from repository.catalog import Catalog
from repository.layout import BackupName
from repository.manifest import Manifest
from repository.marks import Marks
from repository.repository import Repository
from restore.archived import ArchivedLine
from restore.point import RecoveryTarget, resolve
from restore.point_plan import Candidate, choose_base


def unplannable(repository: Repository, shard: str, moments: Sequence[datetime]) -> list[str]:
    """Every one of ``moments`` to which nothing leads, with the reason."""
    line = ArchivedLine.read(repository, shard)
    manifests = {each.label: each for each in Catalog(repository).manifests(shard)}
    packs = packs_of(info.key for info in repository.store.list(f"{layout.DATA}{shard}/"))
    lost = {label: reason for label in manifests if (reason := lacking(label, manifests, packs))}
    # What retention has ended leads to no point.
    ended = {backup.label for backup in Marks(repository).all(shard)}
    candidates = [Candidate.of(each) for label, each in manifests.items() if label not in ended]
    found: list[str] = []
    for at in moments:
        try:
            # Of the last moment nothing later may be archived yet.
            point = resolve(line, RecoveryTarget.at_time(at, or_end=True))
            chosen = choose_base(candidates, line, point, line.lives)
        except ToolError as error:
            found.append(f"{at.isoformat()}: {error.message}")
            continue
        if chosen.label in lost:
            found.append(f"{at.isoformat()}: {lost[chosen.label]}")
    return found


def packs_of(names: Iterable[str]) -> dict[str, int]:
    """How many packs of each label a list of objects shows: each pack, or what is left of it, once."""
    found: dict[str, set[str]] = {}
    for name in names:
        *_, label, last = name.split("/")
        if last[0] in "pr":
            found.setdefault(label, set()).add(last[1:9])
    return {label: len(numbers) for label, numbers in found.items()}


def lacking(label: str, manifests: Mapping[str, Manifest], packs: Mapping[str, int]) -> str | None:
    """What the backup rests on and is not there, or not whole; None if nothing is missing."""
    for name in rests_on(label, manifests):
        manifest = manifests.get(name)
        if manifest is None:
            return f"{label} rests on {name}, which is gone"
        if packs.get(name, 0) != manifest.sizes.packs:
            there, promised = packs.get(name, 0), manifest.sizes.packs
            return f"{label} rests on {name}, of whose {promised} packs {there} are there"
    return None


def rests_on(label: str, manifests: Mapping[str, Manifest]) -> Iterator[str]:
    """The labels of its chain and of what each link refers to, as far as their manifests are there."""
    link = manifests[label]
    while True:
        yield link.label
        for other in link.refers_to:
            if BackupName(other.shard, other.label) != link.backup:
                yield other.label
        if link.base is None:
            return
        if link.base.label not in manifests:
            yield link.base.label
            return
        link = manifests[link.base.label]
