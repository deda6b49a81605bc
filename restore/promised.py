"""Restores that are planned and not made: whether what is promised can be kept, by restore's own planning."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from fleet.errors import ObjectDamaged, ObjectMissing, ToolError
from repository import layout
from repository.catalog import Catalog
from repository.layout import BackupName
from repository.marks import Marks
from repository.outlines import ShortManifest, read_short
from repository.repository import Repository
from restore.archived import ArchivedLine
from restore.choice import whole_chain
from restore.point import RecoveryTarget, resolve
from restore.point_plan import Candidate, choose_base
from restore.untold import untold

_READERS = 8


def plan_promised(
    repository: Repository, shard: str, moments: Sequence[datetime], labels: Iterable[str]
) -> None:
    """Plan a restore of ``shard`` to each of the moments, and of each of the backups named by ``labels``.

    Nothing of packs is read, and no directory and no server is looked at. Raises what planning raises:
    ``TargetUnreachable``, ``NotFound``, ``ObjectMissing``, ``ObjectDamaged``, ``KeyUnusable``.
    """
    whole = {link for label in labels for link in _whole(repository, shard, label)}
    if not moments:
        return
    line = ArchivedLine.read(repository, shard)
    known = _manifests(repository, shard)
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


def _manifests(repository: Repository, shard: str) -> list[ShortManifest]:
    """Those that can be read, in short: a shard has hundreds."""
    listed = {layout.parse_manifest(info.key) for info in repository.store.list(layout.manifests(shard))}

    def read(name: BackupName) -> ShortManifest | None:
        try:
            return read_short(repository, name)
        except ToolError as error:
            if error.retryable:
                raise
            return None

    with ThreadPoolExecutor(_READERS, thread_name_prefix="promised") as readers:
        return [each for each in readers.map(read, sorted(filter(None, listed))) if each]


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
