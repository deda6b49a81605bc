"""``backstay archive verify``, over an archive made of a real server's binlogs."""

from __future__ import annotations

from pathlib import Path

import pytest
from door import Backstay

from fleet.clock import SystemClock
from fleet.gtid import GtidSet
from repository import layout
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


@pytest.fixture
def archive(backstay: Backstay, home: Path) -> ShardArchive:
    """The binlogs ``plain`` and ``ddl`` of one server, as shard s1's."""
    assert backstay("init", "--new-key", "k1.key").exit_code == 0
    repository = Repository.open(
        FilesystemStore(home / "repository"), Keyring([FileSource("k1", home / "k1.key")])
    )
    made = ShardArchive(repository, "s1")
    made.open_epoch(EpochFacts("first", UUID, "s1-a", EMPTY, None, EMPTY, EMPTY), SystemClock())
    before = EMPTY
    for created, name in enumerate(("plain", "ddl"), start=1):
        data = (GOLDEN / f"{name}.binlog").read_bytes()
        found = TransactionReader().feed(data, 0)
        file = BinlogFile(1, UUID, f"binlog.00000{created}", created)
        made.put(made.seal(SegmentDraft(file, 0, data, "rotate", before, before, found)))
        before |= gtids_of(found)
    return made


def test_a_sound_archive_is_said_to_be_so(backstay: Backstay, archive: ShardArchive) -> None:
    found = backstay("archive", "verify", "s1", "--json").json
    assert (found["sound"], found["files"], found["segments"], found["damages"]) == (True, 2, 2, [])
    run = backstay("archive", "verify", "s1")
    assert run.exit_code == 0
    assert "every stored byte is as it was written" in run.out


def test_damage_is_named_and_is_a_failure(
    backstay: Backstay, archive: ShardArchive, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = archive.files(1)[0].segments[0]
    path = home / "repository" / layout.segment("s1", ref.name)
    content = bytearray(path.read_bytes())
    content[-40] ^= 4
    path.write_bytes(content)
    run = backstay("archive", "verify", "s1", "--json")
    assert run.exit_code == 41
    monkeypatch.setenv("COLUMNS", "80")
    run = backstay("archive", "verify", "s1")
    assert run.exit_code == 41
    told = run.out.split("\n\n")[1].splitlines()
    assert max(map(len, told)) <= 80
    assert layout.segment("s1", ref.name) in "".join(line.removeprefix("fail").strip() for line in told)
    assert "delete its damaged object" in run.err
    assert "does not unseal" in run.out + run.err
    assert "Traceback" not in run.err


def test_a_shard_without_an_archive_is_told_how_to_get_one(backstay: Backstay, archive: ShardArchive) -> None:
    run = backstay("archive", "verify", "s2")
    assert run.exit_code == 40
    assert "s2" in run.err
