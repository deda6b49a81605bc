"""A full that stores only what is new names the rest where it lies: in the packs of older backups."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

from backup.stored_pages import StoredPages
from fleet.blocks import Stage
from fleet.errors import Cancelled
from repository.chain import Chain
from repository.manifest import FileEntry
from repository.overlay import Overlay
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
    reader = BackupReader(repository, chain.newest)
    for pass_ in overlay.passes:
        if pass_.stage is Stage.REDO:
            continue
        for part in pass_.parts:
            if cancelled.is_set():
                raise Cancelled("the backup was cancelled", hint="Nothing was kept.")
            index = reader.index_part(part.reference, chain.links[part.link].backup)
            found = sorted(overlay.records(pass_, part, index), key=attrgetter("pack"))
            for pack, records in groupby(found, key=attrgetter("pack")):
                # What it was in the chain does not count here: these pages come before all that is stored.
                writer.refer(index.packs[pack], [record._replace(stage=Stage.FILE) for record in records])
