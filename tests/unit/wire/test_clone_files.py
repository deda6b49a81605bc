from __future__ import annotations

import pytest

from fleet.errors import ProtocolViolation, ServerUnsupported
from wire.clone.descriptors import FileFlag, FileMeta, State
from wire.clone.files import MARKER_FILES, REDO_FILES, FileTable, directories
from wire.clone.outcome import ExternalTablespaces
from wire.clone.pages import has_right_checksum, page_size

MIB = 1024 * 1024
FLAGS = 0x4021
UNDO = 0xFFFFFFEF
NOTHING = FileFlag(0)


def meta(
    index: int,
    name: bytes,
    *,
    state: State = State.FILE,
    space: int | None = None,
    size: int = 7 * 16384,
    flags: FileFlag = NOTHING,
    fsp_flags: int = FLAGS,
    key: bytes | None = None,
) -> FileMeta:
    space = index + 10 if space is None else space
    return FileMeta(state, size, size, fsp_flags, 4096, flags, space, index, 1, 1, name, key, key)


def table(external: ExternalTablespaces = "refuse", version: tuple[int, int, int] = (9, 7, 4)) -> FileTable:
    files = FileTable(external, version)
    for index, name in enumerate([b"./app/a.ibd", b"./app/b.ibd", b"./app/c.ibd"]):
        files.announce(meta(index, name), State.FILE)
    return files


def names(files: FileTable) -> list[str]:
    return [file.name for file in files.final_files() if file.index < REDO_FILES]


def test_a_drop_and_a_rename_take_effect_when_the_stage_starts() -> None:
    files = table()
    files.announce(meta(0, b"./app/a.ibd", state=State.PAGE, flags=FileFlag.DELETED), State.FILE)
    files.announce(meta(1, b"./app/z.ibd", state=State.PAGE, flags=FileFlag.RENAMED), State.FILE)
    assert names(files) == ["app/a.ibd", "app/b.ibd", "app/c.ibd"]
    assert files.apply_changes() == []
    assert names(files) == ["app/z.ibd", "app/c.ibd"]


def test_names_that_change_places_do_not_collide() -> None:
    files = table()
    for index, name in ((0, b"./app/b.ibd"), (1, b"./app/a.ibd")):
        files.announce(meta(index, name, state=State.PAGE, flags=FileFlag.RENAMED), State.FILE)
    files.apply_changes()
    assert names(files) == ["app/b.ibd", "app/a.ibd", "app/c.ibd"]


def test_a_truncated_table_is_a_dropped_and_a_new_file_of_one_name() -> None:
    files = table()
    files.announce(meta(3, b"./app/a.ibd", state=State.PAGE), State.FILE)
    files.announce(meta(0, b"./app/a.ibd", state=State.PAGE, flags=FileFlag.DELETED), State.FILE)
    (page,) = files.apply_changes()
    assert page.index == 3
    assert has_right_checksum(memoryview(page.page), page_size(FLAGS))
    assert [file.index for file in files.final_files() if file.name == "app/a.ibd"] == [3]


@pytest.mark.parametrize(("fsp_flags", "length"), [(FLAGS, 16384), (0x4027, 4096), (0x4029, 8192)])
def test_a_created_file_begins_with_the_page_that_its_flags_ask_for(fsp_flags: int, length: int) -> None:
    files = table()
    files.announce(meta(3, b"./app/n.ibd", state=State.PAGE, fsp_flags=fsp_flags, size=0), State.FILE)
    (page,) = files.apply_changes()
    assert len(page.page) == length
    assert int.from_bytes(page.page[8:12], "big") == 90704
    assert page.page[34:42] == (13).to_bytes(4, "big") * 2
    assert int.from_bytes(page.page[54:58], "big") == fsp_flags
    assert has_right_checksum(memoryview(page.page), page_size(fsp_flags))
    assert next(file for file in files.final_files() if file.index == 3).size == 7 * length


def test_a_created_undo_tablespace_has_sixteen_mebibytes() -> None:
    files = table()
    files.announce(meta(3, b"undo_001", state=State.PAGE, space=UNDO, size=0, fsp_flags=0), State.FILE)
    files.apply_changes()
    assert next(file for file in files.final_files() if file.index == 3).size == 16 * MIB


def test_what_is_told_again_after_a_break_changes_nothing() -> None:
    files = table()
    changes = [
        meta(0, b"./app/a.ibd", state=State.PAGE, flags=FileFlag.DELETED),
        meta(1, b"./app/z.ibd", state=State.PAGE, flags=FileFlag.RENAMED),
        meta(3, b"./app/n.ibd", state=State.PAGE),
    ]
    files.announce(changes[0], State.FILE)
    files.forget_changes()
    for times in (1, 0):
        for change in changes:
            files.announce(change, State.FILE if times else State.PAGE)
        assert len(files.apply_changes()) == times
        assert names(files) == ["app/z.ibd", "app/c.ibd", "app/n.ibd"]


def test_a_file_that_came_and_went_is_only_remembered() -> None:
    files = table()
    gone = FileFlag.DELETED
    files.announce(meta(3, b"./app/n.ibd", state=State.PAGE, flags=gone), State.FILE)
    assert files.apply_changes() == []
    assert files.is_dropped(3) and len(names(files)) == 3


def test_a_file_dropped_within_a_stage_is_dropped_at_once() -> None:
    files = table()
    files.announce(meta(1, b"./app/b.ibd", flags=FileFlag.DELETED), State.FILE)
    assert files.is_dropped(1)
    with pytest.raises(ProtocolViolation, match="was not announced"):
        files.announce(meta(9, b"./app/q.ibd", flags=FileFlag.DELETED), State.FILE)


def test_every_byte_of_the_file_stage_must_have_come() -> None:
    files = table()
    for index in (0, 1, 2):
        files.count_received(index, 7 * 16384 - (index == 2))
    with pytest.raises(ProtocolViolation, match=r"114687 of 114688 bytes of app/c\.ibd came"):
        files.check_received()
    files.count_received(2, 1)
    files.check_received()


def test_what_was_dropped_need_not_have_come() -> None:
    files = table()
    files.count_received(0, 7 * 16384)
    for index in (1, 2):
        files.announce(meta(index, b"./app/x.ibd", flags=FileFlag.DELETED), State.FILE)
    files.check_received()


def test_a_file_of_more_than_one_extent_ends_at_a_whole_one() -> None:
    files = table()
    files.grow(0, MIB + 16384)
    files.grow(1, MIB - 16384)
    sizes = [file.size for file in files.final_files()[:3]]
    assert sizes == [2 * MIB, MIB - 16384, 7 * 16384]


def test_the_last_file_of_the_system_tablespace_takes_its_growth() -> None:
    files = FileTable("refuse", (9, 7, 4))
    for index in (0, 1):
        files.announce(meta(index, b"ibdata%d" % (index + 1), space=0, size=8 * MIB), State.FILE)
    files.announce(meta(2, b"./app/a.ibd", size=MIB), State.FILE)
    files.grow_space(0, 20 * MIB)
    assert [file.size for file in files.final_files()[:3]] == [8 * MIB, 12 * MIB, MIB]


def test_an_external_tablespace_is_refused_with_its_path_and_the_option() -> None:
    files = table()
    with pytest.raises(ServerUnsupported, match=r"/mnt/fast/app/x\.ibd") as refused:
        files.announce(meta(3, b"/mnt/fast/app/x.ibd"), State.FILE)
    assert "external_tablespaces" in (refused.value.hint or "")


def test_an_external_tablespace_is_mapped_into_the_data_directory_if_asked() -> None:
    files = table("into-datadir")
    files.announce(meta(3, b"/mnt/fast/app/x.ibd"), State.FILE)
    files.announce(meta(4, b"/mnt/fast/ts.ibd", fsp_flags=FLAGS | 1 << 11), State.FILE)
    assert names(files)[3:] == ["app/x.ibd", "ts.ibd"]


def test_two_files_of_one_name_are_refused() -> None:
    files = table()
    files.announce(meta(3, b"./app/a.ibd"), State.FILE)
    with pytest.raises(ProtocolViolation, match=r"files 0 and 3 both become app/a\.ibd"):
        files.final_files()
    mapped = table("into-datadir")
    mapped.announce(meta(3, b"/mnt/app/a.ibd"), State.FILE)
    with pytest.raises(ServerUnsupported, match="both become"):
        mapped.final_files()


def test_redo_files_and_markers_come_after_the_data_files() -> None:
    files = table()
    for index in (0, 1):
        files.announce(meta(index, b"", state=State.REDO, size=16 * MIB), State.REDO)
    final = files.final_files()[3:]
    assert [(file.index, file.name, file.size) for file in final] == [
        (REDO_FILES, "#innodb_redo/#ib_redo0", 16 * MIB),
        (REDO_FILES + 1, "#innodb_redo/#ib_redo1", 16 * MIB),
        (MARKER_FILES, "#clone/#status_fix", 0),
        (MARKER_FILES + 1, "#clone/#replace_files", 0),
    ]
    assert directories(files.final_files()) == ("#clone", "#innodb_redo", "app", "mysql")


def test_before_8_0_30_redo_files_lie_at_the_top() -> None:
    files = table(version=(8, 0, 29))
    files.announce(meta(0, b"", state=State.REDO, size=16 * MIB), State.REDO)
    assert "ib_logfile0" in [file.name for file in files.final_files()]


@pytest.mark.parametrize(
    ("description", "current"),
    [
        (meta(5, b"./app/x.ibd", state=State.REDO), State.FILE),
        (meta(5, b"./app/x.ibd", state=State.FILE), State.PAGE),
        (meta(5, b"./app/x.ibd", state=State.DONE), State.REDO),
        (meta(5, b"", state=State.FILE), State.FILE),
        (meta(5, b"", state=State.REDO), State.PAGE),
        (meta(REDO_FILES, b"./app/x.ibd"), State.FILE),
    ],
)
def test_a_description_that_does_not_belong_there_is_a_violation(
    description: FileMeta, current: State
) -> None:
    with pytest.raises(ProtocolViolation):
        table().announce(description, current)


def test_a_dropped_file_does_not_come_back() -> None:
    files = table()
    files.announce(meta(1, b"./app/b.ibd", flags=FileFlag.DELETED), State.FILE)
    files.announce(meta(1, b"./app/b.ibd", state=State.PAGE, flags=FileFlag.RENAMED), State.FILE)
    with pytest.raises(ProtocolViolation, match="was dropped and is there again"):
        files.apply_changes()
