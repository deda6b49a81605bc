from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import ObjectExists, ObjectMissing, StoreDenied, StoreFull, StoreUnreachable
from repository.stores.filesystem import LEFTOVER_AFTER_SECONDS, FilesystemStore


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "repository"


@pytest.fixture
def store(root: Path) -> FilesystemStore:
    return FilesystemStore(root)


def names(store: FilesystemStore) -> list[str]:
    return [found.key for found in store.list("")]


def test_nobody_else_may_read_what_is_stored(store: FilesystemStore, root: Path) -> None:
    before = os.umask(0)
    try:
        store.put("data/shard/p", b"x")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [root, *root.rglob("*")]}
    assert modes == {"repository": 0o700, "data": 0o700, "shard": 0o700, "p": 0o600}


def test_an_empty_place_lists_nothing_and_is_not_made_by_reading(store: FilesystemStore, root: Path) -> None:
    assert names(store) == []
    with pytest.raises(ObjectMissing):
        store.get("backstay.json")
    store.delete("backstay.json")
    assert not root.exists()


def test_the_folder_that_holds_the_root_must_exist(tmp_path: Path) -> None:
    store = FilesystemStore(tmp_path / "mount/repository")
    with pytest.raises(StoreDenied, match="mount, which should hold the repository") as caught:
        store.put("a", b"")
    assert caught.value.hint == "Create it, or mount the disk that it should be on."


def test_a_relative_root_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = FilesystemStore(Path("repository"))
    monkeypatch.chdir("/")
    store.put("a", b"x")
    assert (tmp_path / "repository/a").read_bytes() == b"x"
    assert store.describe() == f"file://{tmp_path}/repository"


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    FilesystemStore(tmp_path / "link").put("a", b"x")
    assert (tmp_path / "disk/a").read_bytes() == b"x"


def test_a_link_to_a_folder_is_refused(store: FilesystemStore, root: Path, tmp_path: Path) -> None:
    store.put("data/a", b"a")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/secret").write_bytes(b"secret")
    (root / "data/link").symlink_to(tmp_path / "elsewhere")
    for use in [
        lambda: store.put("data/link/new", b""),
        lambda: store.get("data/link/secret"),
        lambda: store.get_range("data/link/secret", 0, 1),
        lambda: store.stat("data/link/secret"),
        lambda: store.delete("data/link/secret"),
    ]:
        with pytest.raises(StoreDenied, match=r"data/link in .* is a symbolic link"):
            use()
    assert names(store) == ["data/a"]
    assert (tmp_path / "elsewhere/secret").read_bytes() == b"secret"


def test_a_link_to_a_file_is_refused(store: FilesystemStore, root: Path, tmp_path: Path) -> None:
    store.put("data/a", b"a")
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "data/link").symlink_to(tmp_path / "secret")
    with pytest.raises(StoreDenied, match="symbolic link"):
        store.get("data/link")
    with pytest.raises(ObjectExists):
        store.put("data/link", b"x")
    assert names(store) == ["data/a"]
    assert (tmp_path / "secret").read_bytes() == b"secret"


def test_what_is_neither_file_nor_folder_is_no_object(store: FilesystemStore, root: Path) -> None:
    store.put("data/a", b"a")
    os.mkfifo(root / "data/pipe")
    with pytest.raises(ObjectMissing, match="data/pipe"):
        store.get("data/pipe")
    assert names(store) == ["data/a"]


def test_foreign_files_are_neither_listed_nor_touched(store: FilesystemStore, root: Path) -> None:
    store.put("data/a", b"a")
    (root / "data/read me.txt").write_bytes(b"mine")
    (root / "lost found").mkdir()
    (root / "lost found/b").write_bytes(b"mine")
    assert names(store) == ["data/a"]
    store.delete("data/a")
    assert (root / "data/read me.txt").read_bytes() == b"mine"


def test_an_object_is_no_folder_and_a_folder_no_object(store: FilesystemStore) -> None:
    store.put("data/a", b"a")
    with pytest.raises(ObjectExists, match=r"data/a in .* is an object, where a folder is needed"):
        store.put("data/a/b", b"")
    with pytest.raises(ObjectExists, match="data"):
        store.put("data", b"")
    with pytest.raises(ObjectExists, match="folder of other objects"):
        store.put("data", b"", if_absent=False)
    assert names(store) == ["data/a"]


def test_keys_are_listed_in_the_order_of_their_text(store: FilesystemStore) -> None:
    keys = ["a-b/x", "a.b/x", "a/x", "a/y/z", "a0/x", "ab", "b-", "b/c"]
    for key in keys:
        store.put(key, b"")
    assert names(store) == sorted(keys)


def test_deleting_the_last_object_removes_its_folders(store: FilesystemStore, root: Path) -> None:
    store.put("data/shard/label/p", b"")
    store.put("data/other/p", b"")
    store.delete("data/shard/label/p")
    assert [path.name for path in (root / "data").iterdir()] == ["other"]
    store.delete("data/other/p")
    assert list(root.iterdir()) == []
    store.put("data/shard/label/p", b"again")
    assert store.get("data/shard/label/p") == b"again"


def test_a_folder_that_another_process_removed_is_made_again(store: FilesystemStore, root: Path) -> None:
    store.put("data/shard/a", b"a")
    FilesystemStore(root).delete("data/shard/a")
    store.put("data/shard/b", b"b")
    assert names(store) == ["data/shard/b"]


def test_puts_and_deletes_in_one_folder_do_not_disturb_each_other(store: FilesystemStore) -> None:
    def live(number: int) -> None:
        for turn in range(25):
            key = f"data/shared/folder/t{number}-{turn}"
            store.put(key, key.encode())
            assert store.get(key) == key.encode()
            store.delete(key)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(live, range(8)))
    assert names(store) == []


def test_a_leftover_is_never_an_object_and_goes_when_it_is_old(store: FilesystemStore, root: Path) -> None:
    store.put("data/a", b"a")
    young, old = root / "data/tmp~young", root / "data/tmp~old"
    for path in (young, old):
        path.write_bytes(b"half")
    past = old.stat().st_mtime - LEFTOVER_AFTER_SECONDS - 1
    os.utime(old, (past, past))
    assert names(store) == ["data/a"]
    assert young.exists()
    assert not old.exists()


def test_a_writer_whose_file_was_taken_for_a_leftover_writes_again(
    store: FilesystemStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.link
    calls: list[str] = []

    def link(source: str, target: str, **rest: Any) -> None:
        calls.append(source)
        if len(calls) == 1:
            (root / "data" / source).unlink()
        real(source, target, **rest)

    monkeypatch.setattr(os, "link", link)
    store.put("data/a", b"whole")
    assert len(calls) == 2
    assert store.get("data/a") == b"whole"


def test_nothing_is_visible_before_it_is_synced(
    store: FilesystemStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that a loss of power needs: folders, data, then the name, then the folder that holds it."""
    steps: list[str] = []
    real_sync, real_link = os.fsync, os.link

    def fsync(number: int) -> None:
        path = Path(f"/proc/self/fd/{number}").readlink()
        steps.append("data" if "~" in path.name else f"folder {path.name}")
        real_sync(number)

    def link(*names: Any, **rest: Any) -> None:
        steps.append("link")
        real_link(*names, **rest)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    store.put("data/shard/p", b"x")
    parent = f"folder {root.parent.name}"
    assert steps == [parent, "folder repository", "folder data", "data", "link", "folder shard"]
    steps.clear()
    store.put("data/shard/q", b"x")
    assert steps == ["data", "link", "folder shard"]
    steps.clear()
    store.delete("data/shard/q")
    assert steps == ["folder shard"]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("ENOSPC", StoreFull),
        ("EDQUOT", StoreFull),
        ("EFBIG", StoreFull),
        ("EROFS", StoreDenied),
        ("EACCES", StoreDenied),
        ("EIO", StoreUnreachable),
        ("ESTALE", StoreUnreachable),
    ],
)
def test_an_error_while_writing_is_named_and_leaves_nothing(
    store: FilesystemStore,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: str,
    expected: type[Exception],
) -> None:
    import errno

    store.put("data/a", b"a")

    def write(file: int, data: memoryview, offset: int) -> int:
        raise OSError(getattr(errno, number), os.strerror(getattr(errno, number)))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", write)
        with pytest.raises(expected, match="data/b") as failed:
            store.put("data/b", b"b")
    if isinstance(failed.value, StoreFull):
        assert failed.value.hint == "Free space there, or raise the quota."
    assert [path.name for path in (root / "data").iterdir()] == ["a"]
    store.put("data/b", b"b")


def test_a_file_system_without_hard_links_is_refused(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def link(*names: Any, **rest: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(StoreDenied, match="no hard links") as caught:
        store.put("a", b"")
    assert caught.value.hint


def test_short_writes_and_short_reads_are_gone_on_with(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_write, real_read = os.pwrite, os.pread
    monkeypatch.setattr(os, "pwrite", lambda file, data, offset: real_write(file, data[:1000], offset))
    monkeypatch.setattr(os, "pread", lambda file, length, offset: real_read(file, min(length, 777), offset))
    data = bytes(range(256)) * 30
    store.put("a", data)
    assert store.get("a") == data
    assert store.get_range("a", 100, 5000) == data[100:5100]


def test_an_object_of_any_length_is_the_same_whichever_way_it_was_written(store: FilesystemStore) -> None:
    for length in (1 << 20, (1 << 20) + 1, (3 << 20) + 4097, (2 << 20) - 1):
        data = os.urandom(length)
        store.put(f"data/{length}", data)
        assert store.get(f"data/{length}") == data


def test_a_list_that_is_left_early_holds_nothing_open(store: FilesystemStore) -> None:
    for number in range(5):
        store.put(f"data/s{number}/p", b"")
    before = len(os.listdir("/proc/self/fd"))
    listed = store.list("data/")
    next(listed)
    with suppress(AttributeError):
        listed.close()  # type: ignore[attr-defined]
    del listed
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_descriptor_is_left_open(store: FilesystemStore) -> None:
    before = len(os.listdir("/proc/self/fd"))
    store.put("data/a", b"a")
    for use in (
        lambda: store.put("data/a", b"a"),
        lambda: store.get("data/b"),
        lambda: store.get("data"),
        lambda: store.get("data/a/b"),
        lambda: store.put("data/a/b/c", b""),
    ):
        with suppress(ObjectExists, ObjectMissing):
            use()
    list(store.list(""))
    store.delete("data/a")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_folder_that_another_made_is_synced_as_well(
    store: FilesystemStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its maker may not have come to that yet, and without its own entry all that is in it is lost."""
    store.put("data/a", b"")
    synced: list[str] = []
    real = os.fsync

    def fsync(number: int) -> None:
        synced.append(Path(f"/proc/self/fd/{number}").readlink().name)
        real(number)

    monkeypatch.setattr(os, "fsync", fsync)
    FilesystemStore(root).put("data/b", b"")
    assert synced[0] == "repository"
    assert synced[-1] == "data"
