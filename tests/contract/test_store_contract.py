"""What ``repository.stores.interface`` promises, asked of every store."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from fleet.errors import ObjectDamaged, ObjectExists, ObjectMissing
from repository.stores.interface import LONGEST_KEY, LONGEST_PART, Store

PACK = bytes(range(256)) * 4096 * 3


def keys(store: Store, prefix: str = "") -> list[str]:
    return [found.key for found in store.list(prefix)]


def test_what_was_put_is_got_again(store: Store) -> None:
    stored = store.put("data/shard-1/p00000001", PACK, sha256=hashlib.sha256(PACK).digest())
    assert stored.size == len(PACK)
    assert stored.sha256 == hashlib.sha256(PACK).digest()
    assert store.get("data/shard-1/p00000001") == PACK


@pytest.mark.parametrize("data", [b"", b"x", bytearray(b"bytes"), memoryview(b"a view of it")[2:6]])
def test_any_bytes_of_any_length_are_kept(store: Store, data: bytes | bytearray | memoryview) -> None:
    assert store.put("some/object", data).size == len(data)
    assert store.get("some/object") == bytes(data)
    assert store.stat("some/object").size == len(data)


def test_a_second_put_is_refused_and_changes_nothing(store: Store) -> None:
    store.put("keys/one", b"first")
    with pytest.raises(ObjectExists, match="keys/one"):
        store.put("keys/one", b"other")
    with pytest.raises(ObjectExists):
        store.put("keys/one", b"first")
    assert store.get("keys/one") == b"first"


def test_a_put_that_may_overwrite_does(store: Store) -> None:
    store.put("keys/one", b"first")
    store.put("keys/one", b"second, and longer", if_absent=False)
    store.put("keys/two", b"new", if_absent=False)
    assert store.get("keys/one") == b"second, and longer"
    assert store.get("keys/two") == b"new"


def test_of_sixteen_writers_exactly_one_wins(store: Store) -> None:
    if not store.properties.conditional_put:
        pytest.skip("this store looks first and puts then")
    start = threading.Barrier(16)

    def write(number: int) -> bool:
        start.wait()
        try:
            store.put("keys/contested", bytes([number]) * 100_000)
        except ObjectExists:
            return False
        return True

    with ThreadPoolExecutor(16) as threads:
        won = list(threads.map(write, range(16)))
    assert won.count(True) == 1
    assert store.get("keys/contested") == bytes([won.index(True)]) * 100_000


def test_data_that_changed_before_the_put_is_refused_and_leaves_nothing(store: Store) -> None:
    with pytest.raises(ObjectDamaged, match="data/changed"):
        store.put("data/changed", b"changed", sha256=hashlib.sha256(b"meant").digest())
    with pytest.raises(ObjectMissing):
        store.stat("data/changed")
    assert keys(store) == []
    store.put("data/changed", b"meant", sha256=hashlib.sha256(b"meant").digest())


def test_any_range_is_read_exactly(store: Store) -> None:
    store.put("data/p", PACK)
    for offset, length in [(0, 1), (0, len(PACK)), (1, 255), (100_000, 70_000), (len(PACK) - 1, 1), (7, 0)]:
        assert store.get_range("data/p", offset, length) == PACK[offset : offset + length]


def test_a_range_that_leaves_the_object_means_damage(store: Store) -> None:
    store.put("data/p", b"0123456789")
    for offset, length in [(5, 6), (9, 2), (10, 1), (500, 20), (0, 11)]:
        with pytest.raises(ObjectDamaged, match="data/p"):
            store.get_range("data/p", offset, length)
    with pytest.raises(ValueError, match="range"):
        store.get_range("data/p", -1, 5)


def test_what_is_not_there_is_missing(store: Store) -> None:
    store.put("data/shard/p", b"x")
    for key in ["nothing", "data/nothing", "data/shard", "data/shard/p/q"]:
        with pytest.raises(ObjectMissing, match=key):
            store.get(key)
        with pytest.raises(ObjectMissing, match=key):
            store.get_range(key, 0, 1)
        with pytest.raises(ObjectMissing, match=key):
            store.stat(key)


def test_a_deleted_object_is_gone_and_may_be_put_again(store: Store) -> None:
    store.put("data/a/p", b"x")
    store.delete("data/a/p")
    with pytest.raises(ObjectMissing):
        store.get("data/a/p")
    assert keys(store) == []
    store.put("data/a/p", b"y")
    assert store.get("data/a/p") == b"y"


def test_deleting_what_is_not_there_is_fine(store: Store) -> None:
    store.delete("never/was")
    store.put("data/a/p", b"x")
    store.delete("data/a")
    store.delete("data/a/p/q")
    assert keys(store) == ["data/a/p"]


def test_a_list_is_exact_and_sorted_within_a_folder(store: Store) -> None:
    put = ["a/x", "a/y", "a-b/x", "a.b/x", "a0/x", "ab", "A/x", "a_b", "b/c/d/e", "b/c/f", "a/z/1"]
    for key in put:
        store.put(key, key.encode())
    assert sorted(keys(store)) == sorted(put)
    assert sorted(keys(store, "a")) == sorted(key for key in put if key.startswith("a"))
    assert keys(store, "a/") == ["a/x", "a/y", "a/z/1"]
    assert keys(store, "a/x") == ["a/x"]
    assert keys(store, "b/c/") == sorted(keys(store, "b/"))
    assert keys(store, "nothing/") == []
    assert keys(store, "a/x/") == []


def test_a_list_in_pieces_is_the_same_list(store: Store) -> None:
    for key in ["s/orders/1", "s/orders-eu/1", "s/orders/2", "s/a", "t/b"]:
        store.put(key, b"")
    found: list[str] = []
    token = None
    while True:
        page = store.list_page("", token)
        found.extend(each.key for each in page.objects)
        token = page.token
        if token is None:
            break
    assert found == keys(store)


def test_a_list_has_sizes_and_times_in_utc(store: Store) -> None:
    store.put("a/b", b"12345")
    (found,) = store.list("a/")
    assert found.size == 5
    assert found.modified_at.tzinfo is UTC
    assert abs(datetime.now(UTC) - found.modified_at) < timedelta(minutes=2)
    assert store.stat("a/b") == found._replace(modified_at=store.stat("a/b").modified_at)
    assert abs(store.stat("a/b").modified_at - found.modified_at) < timedelta(seconds=2)


@pytest.mark.timeout(120)
def test_a_list_of_more_than_two_pages_is_whole(store: Store) -> None:
    put = [f"data/shard/{label}/p{number:08d}" for label in ("one", "two") for number in range(1050)]
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda key: store.put(key, b""), put))
    assert keys(store, "data/shard/") == put
    assert keys(store, "data/shard/one/") == put[:1050]


def test_every_character_and_length_of_a_key_is_kept(store: Store) -> None:
    odd = [
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ/abcdefghijklmnopqrstuvwxyz/0123456789._-",
        "-leading/.hidden/...",
        "x" * LONGEST_PART,
        "/".join(["y" * 99] * 7),
        "keyring/k.json",
    ]
    assert len(odd[3]) <= LONGEST_KEY
    for key in odd:
        store.put(key, key.encode())
    assert sorted(keys(store)) == sorted(odd)
    for key in odd:
        assert store.get(key) == key.encode()
        store.delete(key)
    assert keys(store) == []


@pytest.mark.parametrize(
    "key",
    [
        *[
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            "..",
            "a/../b",
            "a/.",
            ".",
            "a b",
            "a\nb",
            "a\n",
            "é",
            "a:b",
            "a\\b",
            "a~b",
        ],
        "x" * (LONGEST_PART + 1),
        "/".join(["y" * 99] * 8),
    ],
)
def test_a_name_that_is_no_key_is_a_mistake_of_the_caller(store: Store, key: str) -> None:
    for use in [
        lambda: store.put(key, b""),
        lambda: store.get(key),
        lambda: store.get_range(key, 0, 1),
        lambda: store.stat(key),
        lambda: store.delete(key),
    ]:
        with pytest.raises(ValueError, match="not a key"):
            use()


@pytest.mark.parametrize("prefix", ["/", "a//", "../", "a/../", "a b", "é"])
def test_a_prefix_that_no_key_can_have_is_a_mistake_of_the_caller(store: Store, prefix: str) -> None:
    with pytest.raises(ValueError, match="no key"):
        list(store.list(prefix))


def test_many_threads_share_a_store(store: Store) -> None:
    def live(number: int) -> None:
        key = f"data/t{number % 5}/p{number}"
        data = bytes([number]) * 50_000
        store.put(key, data, sha256=hashlib.sha256(data).digest())
        assert store.get_range(key, 100, 1000) == data[:1000]
        assert store.get(key) == data
        assert store.stat(key).size == len(data)
        store.delete(key)

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(live, range(96)))
    assert keys(store) == []


def test_a_reader_never_sees_half_an_object(store: Store) -> None:
    """Objects of one size under one name, overwritten while others read and list it."""
    sizes = {len(PACK)}
    store.put("data/hot", b"\0" * len(PACK))
    done = threading.Event()

    def overwrite() -> None:
        for value in range(1, 9):
            store.put("data/hot", bytes([value]) * len(PACK), if_absent=False)
        done.set()

    def read() -> None:
        while not done.is_set():
            data = store.get("data/hot")
            assert data.count(data[:1]) == len(PACK)
            assert {found.size for found in store.list("data/")} == sizes

    with ThreadPoolExecutor(3) as threads:
        for each in [threads.submit(overwrite), threads.submit(read), threads.submit(read)]:
            each.result()


def test_its_name_shows_where_it_is(store: Store) -> None:
    assert ":" in store.describe()
    assert "secret" not in store.describe()
