"""Which files of a backup a few tables need. Pure.

Always: the system tablespace and mysql.ibd (the dictionary), undo, redo, and whatever is no tablespace. Then
the tables' own: first by the names of the files, then by the tablespaces that the dictionary names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from fleet.table_name import TableName
from repository.chain import Chain
from repository.manifest import FileEntry, Manifest, Sizes

# storage/innobase/include/dict0dict.h: ids from here on are undo tablespaces (127 of 400,000 ids each below
# the redo log's), redo, the temporary tablespace and the dictionary.
_FIRST_RESERVED_SPACE = 0xFFFFFFF0 - 127 * 400_000


def is_system(entry: FileEntry) -> bool:
    """Is the file one that every server needs?"""
    return not entry.space_id or entry.space_id >= _FIRST_RESERVED_SPACE


def files_named(manifest: Manifest, tables: Iterable[TableName], *, folds: bool) -> frozenset[int]:
    """Numbers of the files that are called as the tables are, those of their partitions among them.

    A file under another directory (DATA DIRECTORY) has the schema and the table at its end all the same.
    ``folds``: names that differ in case alone are one.
    """
    stems = "|".join(table.file_pattern for table in tables)
    # Servers before 8.0 wrote #P# and #SP#.
    pattern = re.compile(rf"(?:.*/)?(?:{stems})(?:#[pP]#.*)?\.ibd", re.IGNORECASE if folds else re.NOFLAG)
    return frozenset(
        entry.number for entry in manifest.files if not is_system(entry) and pattern.fullmatch(entry.name)
    )


def files_of_spaces(manifest: Manifest, spaces: Iterable[int]) -> frozenset[int]:
    """Numbers of the files of these tablespaces."""
    wanted = set(spaces)
    return frozenset(entry.number for entry in manifest.files if entry.space_id in wanted)


@dataclass(frozen=True, slots=True)
class Share:
    """What part of a backup is fetched. Bytes in place; ``stored_bytes`` is about what the store gives."""

    system_bytes: int
    table_bytes: int
    all_bytes: int
    stored_bytes: int


def reduced(chain: Chain, numbers: Iterable[int]) -> tuple[Chain, Share]:
    """``chain`` as if its newest link held the system's files and ``numbers`` alone."""
    wanted = frozenset(numbers)
    newest = chain.newest
    system = [entry for entry in newest.files if is_system(entry)]
    tables = [entry for entry in newest.files if not is_system(entry) and entry.number in wanted]
    system_bytes, table_bytes = _bytes(system), _bytes(tables)
    all_bytes = _bytes(newest.files)
    part = (system_bytes + table_bytes) / all_bytes if all_bytes else 1.0
    links = [link.model_copy(update={"sizes": _scaled(link.sizes, part)}) for link in chain.links]
    chosen = sorted((*system, *tables), key=lambda entry: entry.number)
    links[0] = links[0].model_copy(update={"files": tuple(chosen)})
    stored = sum(link.sizes.stored_bytes + link.sizes.referred_bytes for link in links)
    return Chain(tuple(links)), Share(system_bytes, table_bytes, all_bytes, stored)


def _scaled(sizes: Sizes, part: float) -> Sizes:
    fields = ("received_bytes", "stored_bytes", "referred_bytes")
    return sizes.model_copy(update={name: round(getattr(sizes, name) * part) for name in fields})


def _bytes(files: Iterable[FileEntry]) -> int:
    return sum(entry.size for entry in files)
