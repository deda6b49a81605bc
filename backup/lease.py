"""What a backup in the making builds on stays, and so does what it has stored so far."""

from __future__ import annotations

from contextlib import AbstractContextManager

from fleet.clock import Clock
from fleet.progress import Progress
from repository.chain import Chain
from repository.leases import HeldLease, LeaseTerms, held
from repository.repository import Repository
from repository.writer import BackupWriter


def building_on(
    chain: Chain | None,
    repository: Repository,
    writer: BackupWriter,
    *,
    clock: Clock,
    progress: Progress,
) -> AbstractContextManager[HeldLease]:
    """A lease on the backup of ``writer`` and on ``chain``, to be checked right before it is completed.

    An account that may not put one does without, and is told so.
    """
    links = chain.links if chain is not None else ()
    labels = (writer.label, *(link.label for link in links))
    return held(repository, LeaseTerms(writer.backup.shard, "backup", labels), clock, note=progress.note)
