"""``backstay archive branches``, over an archive made of a real server's binlogs."""

from __future__ import annotations

from pathlib import Path

import pytest
from door import Backstay

from fleet.clock import SystemClock
from fleet.gtid import GtidSet
from repository.archive.archive import ShardArchive
from repository.archive.columns import gtids_of
from repository.archive.ledger import EpochFacts
from repository.archive.segment import SegmentDraft
from repository.keys import FileSource, Keyring
from repository.layout import BinlogFile
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore
from wire.binlog.transactions import TransactionReader

GOLDEN = Path(__file__).parents[2] / "golden" / "binlogs"
EMPTY = GtidSet()
UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
OTHER = "4e11fa47-71ca-11e1-9e33-c80aa9429562"


@pytest.fixture
def archive(backstay: Backstay, home: Path) -> ShardArchive:
    """One binlog of a server that was the shard's primary."""
    assert backstay("init", "--new-key", "k1.key").exit_code == 0
    store = FilesystemStore(home / "repository")
    made = ShardArchive(Repository.open(store, Keyring([FileSource("k1", home / "k1.key")])), "s1")
    made.open_epoch(EpochFacts("first", UUID, "s1-a", EMPTY, None, EMPTY, EMPTY), SystemClock())
    data = (GOLDEN / "ddl.binlog").read_bytes()
    found = TransactionReader().feed(data, 0)
    made.put(
        made.seal(
            SegmentDraft(BinlogFile(1, UUID, "binlog.000001", 1), 0, data, "rotate", EMPTY, EMPTY, found)
        )
    )
    return made


@pytest.fixture
def left_behind(archive: ShardArchive) -> list[str]:
    """Its last two transactions: the server that was promoted never had them."""
    data = (GOLDEN / "ddl.binlog").read_bytes()
    found = TransactionReader().feed(data, 0)
    inherited, branch = gtids_of(found[:-2]), gtids_of(found[-2:])
    archive.open_epoch(EpochFacts("promotion", OTHER, "s1-b", inherited, 1, branch, EMPTY), SystemClock())
    return [str(each.gtid) for each in found[-2:]]


def test_a_line_without_branches_says_so(backstay: Backstay, archive: ShardArchive) -> None:
    assert backstay("archive", "branches", "s1").out == "The line of shard s1 left no branch behind.\n"


def test_every_transaction_of_a_branch_is_listed(
    backstay: Backstay, left_behind: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (branch,) = backstay("archive", "branches", "s1", "--json").json["branches"]
    assert branch["epoch"] == 1
    assert [one["gtid"] for one in branch["transactions"]] == left_behind
    monkeypatch.setenv("COLUMNS", "80")
    text = backstay("archive", "branches", "s1").out
    assert text.startswith("2 transactions that epoch 1 left behind:\n")
    assert all(gtid in text for gtid in left_behind)
    assert max(map(len, text.splitlines())) <= 80


def test_a_long_branch_is_told_in_short(backstay: Backstay, left_behind: list[str]) -> None:
    (branch,) = backstay("archive", "branches", "s1", "--limit", "1", "--json").json["branches"]
    assert (branch["count"], [one["gtid"] for one in branch["transactions"]]) == (2, left_behind[1:])
    assert branch["first_at"] <= branch["last_at"]
    text = backstay("archive", "branches", "s1", "--limit", "1").out
    assert text.startswith("2 transactions that epoch 1 left behind:\ncommitted ")
    assert "The newest 1 of them; --limit lists more." in text
