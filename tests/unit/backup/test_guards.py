"""What forbids to build on a backup, and the reason that is told."""

from datetime import UTC, datetime
from typing import Any

from linked_backups import UUID

from backup.guards import refusal_after, refusal_before
from fleet.gtid import GtidSet
from repository.manifest import (
    BackupFacts,
    BinlogBracket,
    Donor,
    FileEntry,
    GtidBracket,
    Lsn,
    Manifest,
    Settings,
    Sizes,
    Timings,
)
from wire.admin import LogStatus, ServerFacts

OTHER = "4e11fa47-71ca-11e1-9e33-c80aa9429562"
AT = datetime(2026, 3, 1, tzinfo=UTC)


def facts(**changed: Any) -> BackupFacts:
    known: dict[str, Any] = {
        "files": (FileEntry(number=0, name="t.ibd", size=10 * 16384, space_id=7, page_size=16384),),
        "donor": Donor(
            server_uuid=UUID,
            server_name="b",
            host="db",
            port=3306,
            version="8.4.5",
            compile_machine="x86_64",
            compile_os="Linux",
        ),
        "settings": Settings(
            innodb_page_size=16384,
            lower_case_table_names=0,
            innodb_data_file_path="ibdata1:12M:autoextend",
            character_set_server="utf8mb4",
            collation_server="utf8mb4_0900_ai_ci",
        ),
        "lsn": Lsn(start=900, checkpoint=1000, end=2000),
        "gtid": GtidBracket(low=f"{UUID}:1-50", high=f"{UUID}:1-60"),
        "binlog": BinlogBracket(low_file="b.1", low_position=4, high_file="b.1", high_position=9),
    }
    return BackupFacts(**known | changed)


def base() -> Manifest:
    own = facts()
    return Manifest(
        **{name: getattr(own, name) for name in BackupFacts.model_fields},
        repository_id="r",
        shard="s1",
        label="20260301T021500Z-full",
        kind="full",
        created_by="test",
        index=(),
        timings=Timings(started_at=AT, finished_at=AT),
        sizes=Sizes(files_bytes=0, received_bytes=0, stored_bytes=0, packs=0, records=0),
    )


def server(**changed: Any) -> ServerFacts:
    known: dict[str, Any] = {
        "uuid": UUID,
        "version": "8.4.5",
        "version_comment": "",
        "compile_machine": "x86_64",
        "compile_os": "Linux",
        "hostname": "db",
        "read_only": False,
        "super_read_only": False,
        "gtid_mode": "ON",
        "log_bin": True,
        "innodb_page_size": 16384,
        "innodb_data_file_path": "ibdata1:12M:autoextend",
        "lower_case_table_names": 0,
        "character_set_server": "utf8mb4",
        "collation_server": "utf8mb4_0900_ai_ci",
        "max_allowed_packet": 1 << 26,
        "time_at": AT,
        "started_at": AT,
    }
    return ServerFacts(**known | changed)


def log(lsn: int = 3000, executed: str = f"{UUID}:1-70") -> LogStatus:
    return LogStatus(UUID, GtidSet.parse(executed), "b.1", 20, lsn, 2500, ())


def test_a_server_that_went_on_may_be_built_on() -> None:
    assert refusal_before(base(), server(), log()) is None
    assert refusal_before(base(), server(), log(lsn=2000, executed=f"{UUID}:1-50")) is None


def test_another_server_version_or_page_size_is_refused() -> None:
    assert "was copied from server" in (refusal_before(base(), server(uuid=OTHER), log()) or "")
    assert "MySQL 8.4.5, and the server runs 8.4.6" in (
        refusal_before(base(), server(version="8.4.6"), log()) or ""
    )
    assert "pages of 16384 bytes" in (refusal_before(base(), server(innodb_page_size=4096), log()) or "")


def test_a_server_that_was_put_back_is_told_by_its_lsn_or_by_lost_transactions() -> None:
    assert "put back" in (refusal_before(base(), server(), log(lsn=1999)) or "")
    lost = refusal_before(base(), server(), log(executed=f"{UUID}:1-40,{OTHER}:1-9"))
    assert lost is not None and f"{UUID}:41-50" in lost


def test_a_server_whose_data_was_replaced_is_told_by_its_redo_log() -> None:
    known = base().model_copy(update={"lsn": Lsn(start=900, checkpoint=1000, end=2000, log_uuid=7)})
    assert refusal_before(known, server(redo_log_uuid=7), log()) is None
    assert "data was replaced" in (refusal_before(known, server(redo_log_uuid=8), log()) or "")
    # Servers before 8.0.30 do not tell.
    assert refusal_before(known, server(), log()) is None
    assert refusal_before(base(), server(redo_log_uuid=8), log()) is None


def test_transactions_that_the_base_may_or_may_not_have_are_not_asked_for() -> None:
    """Between the two ends of its bracket nobody knows what the base holds."""
    assert refusal_before(base(), server(), log(executed=f"{UUID}:1-50")) is None


def test_a_copy_that_goes_on_from_the_base_may_be_built_on_it() -> None:
    grown = (FileEntry(number=5, name="moved.ibd", size=20 * 16384, space_id=7, page_size=16384),)
    own = facts(
        files=grown,
        lsn=Lsn(start=900, checkpoint=1000, end=2000, log_uuid=8),
        gtid=GtidBracket(low=f"{UUID}:1-55", high=f"{UUID}:1-90"),
    )
    assert refusal_after(base(), own) is None


def test_a_copy_of_a_server_that_was_replaced_meanwhile_is_refused() -> None:
    known = facts().donor
    assert OTHER in (
        refusal_after(base(), facts(donor=known.model_copy(update={"server_uuid": OTHER}))) or ""
    )
    assert "8.4.6" in (
        refusal_after(base(), facts(donor=known.model_copy(update={"version": "8.4.6"}))) or ""
    )


def test_a_copy_that_ends_before_the_base_is_refused() -> None:
    assert "ends at 1900" in (refusal_after(base(), facts(lsn=Lsn(start=1, checkpoint=1000, end=1900))) or "")
    assert "checkpoint LSN 999" in (
        refusal_after(base(), facts(lsn=Lsn(start=1, checkpoint=999, end=2100))) or ""
    )


def test_a_copy_without_transactions_of_the_base_is_refused() -> None:
    own = facts(gtid=GtidBracket(low=f"{UUID}:1-30", high=f"{UUID}:1-49"))
    assert f"{UUID}:50" in (refusal_after(base(), own) or "")


def test_a_tablespace_file_that_became_smaller_or_has_other_pages_is_refused() -> None:
    small = (FileEntry(number=0, name="t.ibd", size=9 * 16384, space_id=7, page_size=16384),)
    assert "t.ibd has" in (refusal_after(base(), facts(files=small)) or "")
    other = (FileEntry(number=0, name="t.ibd", size=10 * 16384, space_id=7, page_size=8192),)
    assert "pages of 8192 bytes" in (refusal_after(base(), facts(files=other)) or "")
    truncated = (FileEntry(number=0, name="t.ibd", size=16384, space_id=8, page_size=16384),)
    assert refusal_after(base(), facts(files=truncated)) is None
