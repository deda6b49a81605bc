"""Which backups suffer from a finding: all that rest on the object, but for those that it spares. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from repository import layout
from repository.chain import Chain
from repository.damage_notes import RecordedFinding
from repository.layout import BackupName
from repository.manifest import Manifest


class Footing(NamedTuple):
    """What a backup stands on: the one that it continues, those whose packs it names, and the one whose pages
    it refers to.
    """

    base: BackupName | None
    needs: tuple[BackupName, ...]
    built_on: BackupName | None

    @classmethod
    def of(cls, manifest: Manifest) -> Footing:
        base = BackupName(manifest.shard, manifest.base.label) if manifest.base else None
        built_on = BackupName(manifest.shard, manifest.built_on) if manifest.built_on else None
        return cls(base, tuple(manifest.foundations()), built_on)


def sufferers(finding: RecordedFinding, footings: Mapping[BackupName, Footing]) -> frozenset[BackupName]:
    """Of ``footings`` those that cannot be restored whole, or are not known to be."""
    return frozenset(name for name in footings if _suffers(finding, name, footings))


def resting_on(key: str, footings: Mapping[BackupName, Footing]) -> frozenset[BackupName]:
    """Those that a finding on the object ``key`` concerns, if it spares none."""
    owner = layout.parse_data(key)
    assert owner is not None, key
    return frozenset(name for name in footings if _rests(key, owner, name, footings, frozenset()))


def harm_to(
    backup: BackupName, footings: Mapping[BackupName, Footing], findings: Iterable[RecordedFinding]
) -> RecordedFinding | None:
    """The first of ``findings`` from which the backup suffers."""
    return next((each for each in findings if _suffers(each, backup, footings)), None)


def harm_to_chain(chain: Chain, findings: Iterable[RecordedFinding]) -> RecordedFinding | None:
    """The first of ``findings`` from which the chain's newest link suffers."""
    return harm_to(chain.newest.backup, {link.backup: Footing.of(link) for link in chain.links}, findings)


def _suffers(finding: RecordedFinding, backup: BackupName, footings: Mapping[BackupName, Footing]) -> bool:
    return _rests(finding.object, finding.owner, backup, footings, finding.spared)


def _rests(
    key: str,
    owner: BackupName,
    backup: BackupName,
    footings: Mapping[BackupName, Footing],
    spared: frozenset[BackupName],
) -> bool:
    """What continues a backup that is spared, or refers to its pages, takes from it what is whole."""
    met: set[BackupName] = set()
    name, refers = backup, False
    while name not in met:
        if name in spared:
            return False
        if name == owner:
            return True
        met.add(name)
        footing = footings.get(name)
        if footing is None:
            break
        if footing.base is not None:
            name = footing.base
            continue
        # A full has an index of its own: of others it needs packs alone.
        if owner not in footing.needs or not layout.is_pack(key):
            break
        refers = True
        if footing.built_on is None:
            break
        name = footing.built_on
    return refers
