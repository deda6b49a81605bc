"""Restores that are planned and not made: whether what is promised can be kept, by restore's own planning."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from fleet.errors import ObjectDamaged, ObjectMissing
from repository.catalog import Catalog
from repository.layout import BackupName
from repository.manifest import Manifest
from repository.marks import Marks
from repository.repository import Repository
from restore.archived import ArchivedLine
from restore.choice import whole_chain
from restore.point import RecoveryTarget, resolve
from restore.point_plan import Candidate, choose_base
from restore.untold import untold


def plan_promised(
    repository: Repository, shard: str, moments: Sequence[datetime], labels: Iterable[str]
) -> None:
    """Plan a restore of ``shard`` to each of the moments, and of each of the backups named by ``labels``.

    Nothing of packs is read, and no directory and no server is looked at. Raises what planning raises:
    ``TargetUnreachable``, ``NotFound``, ``ObjectMissing``, ``ObjectDamaged``, ``KeyUnusable``.
    """
    catalog = Catalog(repository)
    for label in labels:
        whole_chain(repository, catalog.read_manifest(BackupName(shard, label)))
    if not moments:
        return
    line = ArchivedLine.read(repository, shard)
    manifests = {each.label: each for each in catalog.manifests(shard)}
    # What retention has ended leads to no point.
    wrong = {
        *untold(manifests.values(), line.branches),
        *(name.label for name in Marks(repository).all(shard)),
    }
    for at in moments:
        point = resolve(line, RecoveryTarget.at_time(at, or_end=True))
        left = [Candidate.of(each) for each in manifests.values() if each.label not in wrong]
        while True:
            chosen = choose_base(left, line, point, line.lives)
            if _is_whole(repository, manifests[chosen.label]):
                break
            left.remove(chosen)


def _is_whole(repository: Repository, manifest: Manifest) -> bool:
    try:
        whole_chain(repository, manifest)
    except (ObjectMissing, ObjectDamaged):
        return False
    return True
