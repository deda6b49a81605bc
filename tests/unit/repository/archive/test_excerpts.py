"""Single transactions out of an archive, byte for byte, however their file was cut into segments."""

from __future__ import annotations

from dataclasses import replace

import pytest
from archived_binlogs import SOURCE, MadeFile, binlog, facts
from hypothesis import given, settings
from hypothesis import strategies as st
from sealed_backups import TickingClock, file_keyring

from fleet.errors import ArchiveGap
from fleet.transaction import Gtid
from repository.archive.archive import ShardArchive
from repository.archive.excerpts import Excerpts
from repository.archive.line import Line
from repository.keys import Keyring
from repository.repository import Repository
from repository.stores.memory import MemoryStore


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    return file_keyring(tmp_path_factory.mktemp("keys"))


def made(keyring: Keyring, pieces: int, sizes: list[int]) -> tuple[ShardArchive, MadeFile]:
    archive = ShardArchive(Repository.create(MemoryStore(), keyring, TickingClock()), "s1", level=1)
    archive.open_epoch(facts(), TickingClock())
    file = MadeFile(binlog())
    for number, size in enumerate(sizes, start=1):
        file.commit(f"{SOURCE}:{number}", size=size)
    file.put(archive, file.cuts(pieces))
    return archive, file


@settings(max_examples=25, deadline=None)
@given(pieces=st.integers(1, 12), sizes=st.lists(st.integers(0, 300), min_size=1, max_size=15))
def test_every_transaction_is_its_bytes(keyring: Keyring, pieces: int, sizes: list[int]) -> None:
    archive, file = made(keyring, pieces, sizes)
    line = Line.of(archive)
    excerpts = Excerpts(line)
    entries = list(line.transactions())
    assert len(entries) == len(sizes)
    for entry in reversed(entries):
        start, length = entry.transaction.start, entry.transaction.length
        assert b"".join(excerpts.pieces(entry)) == bytes(file.data[start : start + length])


def test_a_transaction_of_which_bytes_are_missing_is_a_gap(keyring: Keyring) -> None:
    archive, _ = made(keyring, 6, [100] * 6)
    line = Line.of(archive)
    entry = line.locate(Gtid(SOURCE, "", 3))
    assert entry is not None
    longer = entry._replace(transaction=replace(entry.transaction, length=10**6))
    with pytest.raises(ArchiveGap, match=rf"{SOURCE}:3: its bytes \d+ to \d+ of .* are not in the archive"):
        list(Excerpts(line).pieces(longer))
