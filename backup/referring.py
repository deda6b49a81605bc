"""A full that stores only what is new names the rest where it lies: in the packs of older backups."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter

from backup.stored_pages import StoredPages
from fleet.blocks import Stage
from fleet.errors import Cancelled
from repository.chain import Chain
from repository.index import Record
from repository.manifest import FileEntry
from repository.overlay import Overlay, Pass
from repository.reader import BackupReader
from repository.repository import Repository
from repository.writer import BackupWriter


def refer_unchanged(
    writer: BackupWriter,
    repository: Repository,
    chain: Chain,
    *,
    files: Sequence[FileEntry],
    stored: StoredPages,
    cancelled: threading.Event,
) -> None:
    """Name every page of ``chain`` that belongs to ``files`` and is not in ``stored``. All lanes are closed.

    Memory: one index part, and a bit for each page. Raises ``ObjectMissing``, ``ObjectDamaged`` and what the
    store raises; ``Cancelled``.
    """
    spaces = {entry.number: entry for entry in files if entry.space_id is not None}
    overlay = Overlay(chain, spaces, claimed=stored.map)

    def go_on(_: int) -> None:
        if cancelled.is_set():
            raise Cancelled("the backup was cancelled", hint="Nothing was kept.")

    without_redo = [pass_ for pass_ in overlay.passes if pass_.stage is not Stage.REDO]
    refer_to_newest(writer, repository, chain, overlay, passes=without_redo, after_each=go_on)


def refer_to_newest(
    writer: BackupWriter,
    repository: Repository,
    chain: Chain,
    overlay: Overlay,
    *,
    passes: Sequence[Pass],
    after_each: Callable[[int], None],
) -> None:
    """Name what ``overlay`` yields of ``passes`` where it lies. Memory: one index part.

    ``after_each`` is told the bytes of each part that was read, and may raise. Raises ``ObjectMissing``,
    ``ObjectDamaged``, ``KeyUnusable`` and what the store raises.
    """
    reader = BackupReader(repository, chain.newest)
    for pass_ in passes:
        for part in pass_.parts:
            index = reader.index_part(part.reference, chain.links[part.link].backup)
            # A part has its records pack by pack, so each group is all that is wanted of a pack.
            for pack, records in groupby(overlay.records(pass_, part, index), key=attrgetter("pack")):
                writer.refer(index.packs[pack], [_in_a_full(record) for record in records])
            after_each(part.reference.size)


def _in_a_full(record: Record) -> Record:
    """What is yielded is disjoint, so the page stage means nothing any more; redo stays redo."""
    return record._replace(stage=Stage.FILE) if record.stage is Stage.PAGE else record
