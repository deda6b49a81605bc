"""Restores that are planned and not made: whether what is promised can be kept, by restore's own planning."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from fleet.errors import ObjectDamaged, ObjectMissing
from repository import layout
from repository.catalog import Catalog
from repository.layout import BackupName
from repository.marks import Marks
from repository.repository import Repository
from repository.shorts import ShortManifest, Shorts
from restore.archived import ArchivedLine
from restore.choice import whole_chain
from restore.point import RecoveryTarget, resolve
from restore.point_plan import Candidate, choose_base
from restore.untold import untold


def plan_promised(
    repository: Repository,
    shard: str,
    moments: Sequence[datetime],
    labels: Iterable[str],
    shorts: Shorts | None = None,
) -> None:
    """Plan a restore of ``shard`` to each of the moments, and of each of the backups named by ``labels``.

    Nothing of packs is read, and no directory and no server is looked at. ``shorts`` may have read the same
    manifests before; all are fetched from ``repository`` nevertheless. Raises what planning raises:
    ``TargetUnreachable``, ``NotFound``, ``ObjectMissing``, ``ObjectDamaged``, ``KeyUnusable``.
    """
    whole = {link for label in labels for link in _whole(repository, shard, label)}
    if not moments:
        return
    line = ArchivedLine.read(repository, shard)
    known = _manifests(repository, shard, shorts or Shorts())
    # What retention has ended leads to no point.
    wrong = {
        *untold(known, line.branches),
        *(name.label for name in Marks(repository).all(shard)),
    }
    for at in moments:
        point = resolve(line, RecoveryTarget.at_time(at, or_end=True))
        left = [Candidate.of(each) for each in known if each.label not in wrong]
        while True:
            chosen = choose_base(left, line, point, line.lives)
            if chosen.label in whole or _is_whole(repository, shard, chosen.label):
                break
            left.remove(chosen)


def _manifests(repository: Repository, shard: str, shorts: Shorts) -> list[ShortManifest]:
    """Those that can be read, in short: a shard has hundreds."""
    listed = {layout.parse_manifest(info.key) for info in repository.store.list(layout.manifests(shard))}
    looked_at = shorts.read(repository, sorted(filter(None, listed)))
    return [each for each in looked_at if isinstance(each, ShortManifest)]


def _whole(repository: Repository, shard: str, label: str) -> set[str]:
    """The labels of its chain, each of which is whole then, too. Raises as ``plan_promised``."""
    chain = whole_chain(repository, Catalog(repository).read_manifest(BackupName(shard, label)))
    return {link.label for link in chain.links}


def _is_whole(repository: Repository, shard: str, label: str) -> bool:
    try:
        _whole(repository, shard, label)
    except (ObjectMissing, ObjectDamaged):
        return False
    return True
