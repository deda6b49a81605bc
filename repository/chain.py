"""A backup and all that it builds on, from the newest link to the full (FORMAT.md, section 13)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from fleet.errors import FormatUnsupported, KeyUnusable, ObjectDamaged, ObjectMissing
from repository import layout
from repository.catalog import Catalog
from repository.layout import BackupName
from repository.manifest import FileEntry, IndexPartRef, Manifest, SharedEntries
from repository.seal import damaged

MAX_LINKS = 1000
"""A chain that is longer is damage: nobody builds one, and a reader must not follow it for ever."""

_BROKEN_HINT = "Without it this backup cannot be restored; take a full backup, and restore one that is whole."
_DAMAGED_HINT = "Run verify on each backup of the chain; restore an older backup."

Space = tuple[int, int]
"""Space id and ordinal: what a tablespace file is called in every link of a chain."""


class ChainPart(NamedTuple):
    """An index part of the chain. ``link`` is a position in ``Chain.links``; numbers go over all links."""

    number: int
    link: int
    reference: IndexPartRef


@dataclass(frozen=True)
class Chain:
    """The links of a backup, newest first; the last is a full, and a full alone is a chain of one."""

    links: tuple[Manifest, ...]

    @property
    def newest(self) -> Manifest:
        """The backup that is meant: its facts are those of the whole."""
        return self.links[0]

    @cached_property
    def parts(self) -> tuple[ChainPart, ...]:
        """All index parts, numbered from 0, those of the newest link first."""
        found = [(link, part) for link, manifest in enumerate(self.links) for part in manifest.index]
        return tuple(ChainPart(number, link, part) for number, (link, part) in enumerate(found))


def read_chain(catalog: Catalog, manifest: Manifest) -> Chain:
    """Follow the bases of ``manifest`` down to a full.

    Raises ``ObjectMissing``, ``KeyUnusable``, ``FormatUnsupported`` and ``ObjectDamaged``, each with the link
    that is wrong and the one that needs it, and what the store raises. Damage is also a chain without end, a
    base with another checkpoint LSN than the one it was built on, and a file whose page size changes.
    """
    shared = SharedEntries()
    links = [shared.share(manifest)]
    seen = {manifest.label}
    while (base := links[-1].base) is not None:
        above = links[-1]
        if base.label in seen or len(links) == MAX_LINKS:
            raise ObjectDamaged(
                f"the chain of {manifest.backup} has no end: {above.label} continues {base.label}, "
                f"after {len(links)} links",
                hint=_DAMAGED_HINT,
            )
        below = _read_base(catalog, above, BackupName(manifest.shard, base.label))
        if below.lsn.checkpoint != base.checkpoint_lsn:
            raise ObjectDamaged(
                f"{above.backup} continues {below.label} from checkpoint LSN {base.checkpoint_lsn}, "
                f"but that backup has {below.lsn.checkpoint}",
                hint=_DAMAGED_HINT,
            )
        seen.add(below.label)
        links.append(shared.share(below))
    _check_page_sizes(links)
    return Chain(tuple(links))


def _read_base(catalog: Catalog, above: Manifest, base: BackupName) -> Manifest:
    try:
        return catalog.read_manifest(base)
    except ObjectMissing as error:
        raise ObjectMissing(
            f"{base}, the base of {above.backup}, is not there: {error.message}", hint=_BROKEN_HINT
        ) from error
    except (KeyUnusable, FormatUnsupported, ObjectDamaged) as error:
        raise type(error)(
            f"{base}, the base of {above.backup}, cannot be read: {error.message}", hint=error.hint
        ) from error


def _check_page_sizes(links: list[Manifest]) -> None:
    """A space id may come again, but not from one link to the next: there it is the same file."""
    known = spaces_of(links[0])
    for link in links[1:]:
        own = spaces_of(link)
        known = {space: entry for space, entry in known.items() if space in own}
        for space, entry in known.items():
            if own[space].page_size != entry.page_size:
                raise other_page_size(link, own[space], entry)


def spaces_of(link: Manifest) -> dict[Space, FileEntry]:
    """The tablespace files of a backup. Raises ``ObjectDamaged`` if two are the same file."""
    found: dict[Space, FileEntry] = {}
    for entry in link.files:
        if entry.space_id is not None and found.setdefault(space_of(entry), entry) is not entry:
            raise damaged(
                layout.manifest(link.backup),
                f"{found[space_of(entry)].name} and {entry.name} are the same file of one tablespace",
            )
    return found


def space_of(entry: FileEntry) -> Space:
    """What the tablespace file is called in every link."""
    assert entry.space_id is not None
    return entry.space_id, entry.ordinal


def other_page_size(link: Manifest, entry: FileEntry, known: FileEntry) -> ObjectDamaged:
    return ObjectDamaged(
        f"file {entry.ordinal} of tablespace {entry.space_id} has pages of {entry.page_size} bytes in "
        f"{link.backup}, and of {known.page_size} in the backup that builds on it",
        hint=_DAMAGED_HINT,
    )
