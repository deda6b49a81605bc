"""What forbids to build on a backup (FORMAT.md, section 13, rule 4). Pure: answers are reasons, or ``None``.

A page is left out because its LSN is older than the base. That is right only if the base and the donor are
one history: where they are not, a full backup is the way out.
"""

from __future__ import annotations

from fleet.gtid import GtidSet
from repository.chain import space_of
from repository.manifest import BackupFacts, Manifest
from wire.admin import LogStatus, ServerFacts


def refusal_before(base: Manifest, server: ServerFacts, log: LogStatus) -> str | None:
    """Why an incremental of ``server`` must not be built on ``base``, as far as it is known beforehand."""
    if other := _other_server(base, server.uuid, server.version, server.innodb_page_size):
        return other
    if base.lsn.log_uuid is not None and server.redo_log_uuid not in {None, base.lsn.log_uuid}:
        return f"the server's data was replaced since {base.label}: its redo log is another one"
    if log.lsn < base.lsn.end:
        return (
            f"the server is at LSN {log.lsn}, and {base.label} already was at {base.lsn.end}: "
            "its data was put back to an older state"
        )
    return _lost_transactions(base, log.gtid_executed)


def refusal_after(base: Manifest, own: BackupFacts) -> str | None:
    """Why the finished copy ``own`` must not be built on ``base``."""
    donor, page_size = own.donor, own.settings.innodb_page_size
    if other := _other_server(base, donor.server_uuid, donor.version, page_size):
        return other
    if own.lsn.checkpoint < base.lsn.checkpoint or own.lsn.end < base.lsn.end:
        return (
            f"the copy has checkpoint LSN {own.lsn.checkpoint} and ends at {own.lsn.end}, "
            f"before those of {base.label}, {base.lsn.checkpoint} and {base.lsn.end}"
        )
    return _lost_transactions(base, GtidSet.parse(own.gtid.high)) or _shrunk_file(base, own)


def _other_server(base: Manifest, uuid: str, version: str, page_size: int) -> str | None:
    label, donor = base.label, base.donor
    if donor.server_uuid != uuid:
        return f"{label} was copied from server {donor.server_uuid}, and this one is {uuid}"
    if donor.version != version:
        return f"{label} is of MySQL {donor.version}, and the server runs {version}"
    if base.settings.innodb_page_size != page_size:
        return f"{label} has pages of {base.settings.innodb_page_size} bytes, and the server of {page_size}"
    return None


def _lost_transactions(base: Manifest, executed: GtidSet) -> str | None:
    lost = GtidSet.parse(base.gtid.low) - executed
    if not lost:
        return None
    return f"{base.label} has transactions that the server does not have: {lost}"


def _shrunk_file(base: Manifest, own: BackupFacts) -> str | None:
    """InnoDB never makes a file smaller and keeps its space id; one that is smaller has another content."""
    before = {space_of(entry): entry for entry in base.files if entry.space_id is not None}
    for entry in own.files:
        known = before.get(space_of(entry)) if entry.space_id is not None else None
        if known is None:
            continue
        if known.size > entry.size:
            return f"{entry.name} has {entry.size} bytes, and had {known.size} in {base.label}"
        if known.page_size != entry.page_size:
            return (
                f"{entry.name} has pages of {entry.page_size} bytes, and had of {known.page_size} "
                f"in {base.label}"
            )
    return None
