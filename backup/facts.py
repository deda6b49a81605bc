"""What the manifest says of a copy: pure, from the clone's outcome and the donor's own facts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from backup.copying import Copied, Snapshot
from fleet.model import Server
from repository.manifest import (
    BackupFacts,
    Base,
    BinlogBracket,
    Donor,
    FileEntry,
    GtidBracket,
    Lsn,
    Settings,
)
from wire.admin import ServerFacts
from wire.clone.outcome import CloneFile


def backup_facts(
    server: Server,
    facts: ServerFacts,
    copied: Copied,
    *,
    is_encrypted: bool,
    base: Base | None = None,
    built_on: str | None = None,
) -> BackupFacts:
    """The manifest's part that only the one who took the backup knows."""
    outcome = copied.outcome
    files = file_entries(outcome.files)
    return BackupFacts(
        files=files,
        directories=outcome.directories,
        donor=Donor(
            server_uuid=facts.uuid,
            server_name=server.name,
            host=server.host,
            port=server.port,
            version=facts.version,
            compile_machine=facts.compile_machine,
            compile_os=facts.compile_os,
            started_at=facts.started_at,
        ),
        settings=Settings(
            innodb_page_size=facts.innodb_page_size,
            lower_case_table_names=facts.lower_case_table_names,
            innodb_data_file_path=facts.innodb_data_file_path,
            character_set_server=facts.character_set_server,
            collation_server=facts.collation_server,
            encrypted=is_encrypted,
            plugins=tuple(outcome.plugins),
            collations=tuple(outcome.collations),
            variables=dict(outcome.configs),
        ),
        lsn=Lsn(
            start=outcome.redo.start_lsn,
            checkpoint=outcome.redo.checkpoint_lsn,
            end=outcome.redo.end_lsn,
            log_uuid=facts.redo_log_uuid,
        ),
        gtid=_gtid_bracket(copied.snapshot),
        binlog=_binlog_bracket(copied.snapshot),
        base=base,
        built_on=built_on,
        damaged_pages=copied.suspects.damaged(files),
    )


def file_entries(files: Sequence[CloneFile]) -> tuple[FileEntry, ...]:
    """The manifest's file table; files of one tablespace are numbered in the donor's order."""
    seen: Counter[int] = Counter()
    entries: list[FileEntry] = []
    for file in sorted(files, key=lambda file: file.index):
        ordinal = 0
        if file.space_id is not None:
            ordinal = seen[file.space_id]
            seen[file.space_id] += 1
        entries.append(
            FileEntry(
                number=file.index,
                name=file.name,
                size=file.size,
                space_id=file.space_id,
                ordinal=ordinal,
                page_size=file.page_size,
            )
        )
    return tuple(entries)


def _gtid_bracket(snapshot: Snapshot) -> GtidBracket:
    return GtidBracket(low=str(snapshot.before.gtid_executed), high=str(snapshot.after.gtid_executed))


def _binlog_bracket(snapshot: Snapshot) -> BinlogBracket:
    before, after = snapshot.before, snapshot.after
    return BinlogBracket(
        low_file=before.binlog_file,
        low_position=before.binlog_position,
        high_file=after.binlog_file,
        high_position=after.binlog_position,
    )
