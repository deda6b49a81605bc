from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import ObjectDamaged
from repository.stores.interface import (
    LONGEST_KEY,
    LONGEST_PART,
    Page,
    all_pages,
    check_agrees,
    check_key,
    check_prefix,
    is_key,
)
from repository.stores.memory import MemoryStore

PARTS = st.text("ABCxyz019._-", min_size=1, max_size=12).filter(lambda part: part not in {".", ".."})


@given(st.lists(PARTS, min_size=1, max_size=6))
def test_parts_of_harmless_characters_make_a_key(parts: list[str]) -> None:
    key = "/".join(parts)
    check_key(key)
    for end in range(len(key) + 1):
        check_prefix(key[:end])


@given(st.text(max_size=40))
def test_a_key_never_leads_out_of_its_place(text: str) -> None:
    if is_key(text):
        assert text.isascii()
        assert not text.startswith("/")
        assert not {"", ".", ".."} & set(text.split("/"))
        assert "\0" not in text
        assert "~" not in text
    else:
        with pytest.raises(ValueError, match="not a key"):
            check_key(text)


def test_a_key_that_is_too_long_is_shown_only_in_part() -> None:
    check_key("x" * LONGEST_PART)
    for key in ["x" * (LONGEST_PART + 1), "x/" * LONGEST_KEY + "x", "x" * 1_000_000]:
        with pytest.raises(ValueError, match="not a key") as caught:
            check_key(key)
        assert len(str(caught.value)) < LONGEST_KEY + 200


def test_data_is_compared_with_its_checksum() -> None:
    check_agrees("a", b"data", None)
    check_agrees("a", memoryview(b"data"), hashlib.sha256(b"data").digest())
    with pytest.raises(ObjectDamaged, match=r"a: the data to store has SHA-256 3a6eb079.* should have 00"):
        check_agrees("a", b"data", bytes(32))


def test_all_pages_are_read_to_the_last() -> None:
    class Paged(MemoryStore):
        def list_page(self, prefix: str, token: str | None = None) -> Page:
            number = int(token or "0")
            whole = list(super().list_page(prefix).objects)
            return Page(whole[number : number + 2], str(number + 2) if number + 2 < len(whole) else None)

    store = Paged()
    for number in range(5):
        store.put(f"p{number}", b"")
    assert [found.key for found in all_pages(store, "p")] == ["p0", "p1", "p2", "p3", "p4"]
    assert list(all_pages(store, "q")) == []
