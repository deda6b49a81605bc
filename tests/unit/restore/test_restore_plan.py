"""Plans: what a restore will do, and what it refuses to."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleet.blocks import Stage
from fleet.errors import DiskFull, TargetRefused, VersionMismatch
from repository.chain import Chain
from repository.manifest import Manifest, Sizes, Timings
from restore.journal import JournalState, PackDone, RestoreHeader
from restore.plan import Mode, RestorePlan, parked_name, plan_restore
from restore.target import PARKED_SUFFIX, FoundFile, TargetFacts
from restore.version import MysqlVersion
from tests.unit.restore.made_backups import MadeFile, made_data_directory, made_facts

TARGET = Path("/data")
ROOM = 1 << 40


def manifest_of(files: dict[str, MadeFile], *, version: str = "9.7.4") -> Manifest:
    facts = made_facts(files, low="", high="", version=version)
    now = datetime(2026, 3, 1, tzinfo=UTC)
    return Manifest(
        **{name: getattr(facts, name) for name in type(facts).model_fields},
        repository_id="r" * 32,
        shard="s1",
        label="20260301T021500Z-full",
        kind="full",
        created_by="backstay 0",
        index=(),
        timings=Timings(started_at=now, finished_at=now),
        sizes=Sizes(
            files_bytes=sum(made.size for made in files.values()),
            received_bytes=1,
            stored_bytes=12_345_678,
            packs=1,
            records=1,
        ),
    )


MANIFEST = manifest_of(made_data_directory())


def found(size: int = 16384, *, inode: int = 1, links: int = 1) -> FoundFile:
    return FoundFile(size, size, inode, links)


def target(
    *names: str,
    free: int = ROOM,
    journal: JournalState | None = None,
    locked_by: int | None = None,
    above: Path | None = None,
    links: tuple[str, ...] = (),
) -> TargetFacts:
    return TargetFacts(
        TARGET,
        exists=True,
        files={name: found() for name in names},
        links=links,
        free_bytes=free,
        journal=journal,
        locked_by=locked_by,
        data_directory_above=above,
    )


def journal(*, label: str = MANIFEST.label, fetched: bool = False, delta: bool = False) -> JournalState:
    header = RestoreHeader(MANIFEST.repository_id, MANIFEST.shard, label, delta)
    return JournalState(header, fetched=fetched, done={PackDone(0, Stage.FILE, 0)})


def plan(facts: TargetFacts, *, delta: bool = False, server: str = "9.7.4") -> RestorePlan:
    return plan_restore(Chain((MANIFEST,)), facts, MysqlVersion.parse(server), delta=delta)


def test_into_a_directory_that_is_empty_or_not_there_all_is_fetched() -> None:
    for facts in (target(), TargetFacts(TARGET, free_bytes=ROOM)):
        planned = plan(facts)
        assert planned.mode is Mode.EMPTY
        assert planned.fresh == {entry.number for entry in MANIFEST.files}
        assert not (planned.compared or planned.trusted or planned.remove_files)


def test_the_steps_tell_the_plan_in_words() -> None:
    steps = plan(target()).steps()
    assert steps[0] == "take backup s1/20260301T021500Z-full of MySQL 9.7.4"
    assert any("fetch 12.3 MB from the store" in step for step in steps)
    assert any("start MySQL 9.7.4 on it" in step for step in steps)


def test_a_directory_with_anything_in_it_is_refused() -> None:
    with pytest.raises(TargetRefused, match="is not empty") as refused:
        plan(target("notes.txt"))
    assert refused.value.hint is not None
    assert "--delta" in refused.value.hint


def test_delta_is_refused_where_no_data_directory_is() -> None:
    for names in (("notes.txt", "mysql.ibd"), ("ibdata1",)):
        with pytest.raises(TargetRefused, match="is not a data directory of MySQL"):
            plan(target(*names), delta=True)


def test_delta_into_an_empty_directory_is_a_plain_restore() -> None:
    assert plan(target(), delta=True).mode is Mode.EMPTY


def test_delta_compares_tablespaces_and_begins_everything_else_anew() -> None:
    planned = plan(target("ibdata1", "mysql.ibd", "ib_buffer_pool", "#innodb_redo/#ib_redo0"), delta=True)
    names = {entry.number: entry.name for entry in MANIFEST.files}
    assert {names[number] for number in planned.compared} == {"ibdata1", "mysql.ibd"}
    assert "ib_buffer_pool" in {names[number] for number in planned.fresh}


def test_delta_follows_no_symbolic_link() -> None:
    with pytest.raises(TargetRefused, match="holds symbolic links: shop"):
        plan(target("ibdata1", "mysql.ibd", links=("shop",)), delta=True)


def test_the_directory_of_a_running_server_is_refused_whatever_was_asked() -> None:
    for delta in (False, True):
        with pytest.raises(TargetRefused, match=r"running server \(process 4711\)"):
            plan(target("ibdata1", "mysql.ibd", locked_by=4711), delta=delta)


def test_a_directory_inside_a_data_directory_is_refused() -> None:
    with pytest.raises(TargetRefused, match="lies inside the data directory /"):
        plan(target(above=Path("/")))


def test_a_mysqld_that_cannot_start_the_data_is_refused() -> None:
    with pytest.raises(VersionMismatch):
        plan(target(), server="9.7.3")
    with pytest.raises(VersionMismatch):
        plan(target(), server="9.8.0")


def test_a_disk_that_is_too_small_is_refused_with_both_figures() -> None:
    with pytest.raises(DiskFull, match=r"/data: .* are needed, 1.00 MB are free"):
        plan(target(free=1_000_000))


def test_room_that_files_already_take_is_not_needed_again() -> None:
    big = manifest_of(
        {"ibdata1": MadeFile(1 << 33, space_id=0, page_size=16384), "mysql.ibd": MadeFile(16384)}
    )
    there = TargetFacts(
        TARGET,
        exists=True,
        files={"ibdata1": found(1 << 33), "mysql.ibd": found(), "old.ibd": found(1 << 33)},
        free_bytes=1 << 20,
    )
    assert plan_restore(Chain((big,)), there, None, delta=True).needed_bytes == 0


def test_a_half_restore_of_the_same_backup_goes_on() -> None:
    assert plan(target(journal=journal())).mode is Mode.RESUME
    assert plan(target(journal=journal(fetched=True))).mode is Mode.PROVE


def test_a_half_restore_of_another_backup_is_refused() -> None:
    with pytest.raises(
        TargetRefused, match="holds a restore of s1/20250101T000000Z-full that was not finished"
    ):
        plan(target(journal=journal(label="20250101T000000Z-full")))


def test_a_finished_fetch_can_still_be_put_right_by_delta() -> None:
    facts = target("ibdata1", "mysql.ibd", journal=journal(fetched=True))
    assert plan(facts, delta=True).mode is Mode.DELTA


def test_of_a_half_restore_only_files_of_the_same_size_and_inode_are_trusted() -> None:
    entries = {entry.name: entry for entry in MANIFEST.files}
    state = journal()
    state.inodes = {entries[name].number: 10 + entries[name].number for name in entries}
    files = {
        parked_name(entry): FoundFile(entry.size, entry.size, 10 + entry.number, 1)
        for entry in entries.values()
    }
    files["mysql.ibd"] = files["mysql.ibd"]._replace(size=1)
    files["shop/orders.ibd"] = files["shop/orders.ibd"]._replace(inode=999)
    del files["ib_buffer_pool"]
    planned = plan(TargetFacts(TARGET, exists=True, files=files, free_bytes=ROOM, journal=state))
    distrusted = {entries[name].number for name in ("mysql.ibd", "shop/orders.ibd", "ib_buffer_pool")}
    assert planned.fresh == distrusted
    assert planned.trusted == {entry.number for entry in MANIFEST.files} - distrusted


def test_a_half_restore_with_somebody_elses_file_in_it_is_refused() -> None:
    with pytest.raises(TargetRefused, match=r"not the restore.s: notes\.txt"):
        plan(target("notes.txt", journal=journal()))


def test_what_a_failed_start_left_in_a_half_restore_is_removed() -> None:
    assert plan(target("auto.cnf", journal=journal())).remove_files == ("auto.cnf",)


def test_the_system_tablespace_is_parked_until_the_end() -> None:
    parked = [parked_name(entry) for entry in MANIFEST.files if parked_name(entry) != entry.name]
    assert parked == [f"ibdata1{PARKED_SUFFIX}"]


@pytest.mark.parametrize("name", [".backstay-restore.jsonl", f"shop/t.ibd{PARKED_SUFFIX}"])
def test_a_backup_with_a_file_of_a_name_that_restores_use_is_refused(name: str) -> None:
    with pytest.raises(TargetRefused, match="a name that restores use themselves"):
        plan_restore(Chain((manifest_of({name: MadeFile(1)}),)), target(), None)


@pytest.mark.parametrize("name", ["../etc/passwd", "/etc/passwd", "a//b", "a/./b", "a\\b", "a\x00b", ""])
def test_a_name_that_could_lead_out_of_the_directory_makes_no_manifest(name: str) -> None:
    with pytest.raises(ValueError, match=r"is not a file name|could lead out"):
        manifest_of({name: MadeFile(1)})
