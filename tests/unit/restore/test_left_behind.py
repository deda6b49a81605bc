"""A restore to a point says what was committed before it, and is on a branch: no restore brings it back."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from backup.consolidate import consolidate
from fleet.clock import SystemClock
from fleet.errors import ObjectDamaged
from fleet.gtid import GtidSet
from fleet.moments import microseconds
from fleet.transaction import Transaction
from repository.archive.archive import ShardArchive
from repository.archive.columns import gtids_of
from repository.archive.ledger import EpochFacts
from repository.archive.line import Line
from repository.archive.reckoning import Branch
from repository.archive.segment import SegmentDraft
from repository.catalog import Catalog
from repository.keys import FileSource, Keyring
from repository.layout import BinlogFile
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore
from restore.archived import ArchivedLine
from restore.point import RecoveryTarget
from restore.point_planning import _left_behind
from tests.unit.backup.linked_backups import PassingClock, a_donor, take_chain
from tests.unit.repository.sealed_backups import file_keyring
from wire.binlog.transactions import TransactionReader

GOLDEN = Path(__file__).parents[2] / "golden" / "binlogs" / "ddl.binlog"
EMPTY = GtidSet()
UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
OTHER = "4e11fa47-71ca-11e1-9e33-c80aa9429562"


@pytest.fixture
def archive(tmp_path: Path) -> ShardArchive:
    (tmp_path / "k1.key").write_bytes(bytes(range(32)))
    (tmp_path / "k1.key").chmod(0o600)
    store = FilesystemStore(tmp_path / "repository")
    keyring = Keyring([FileSource("k1", tmp_path / "k1.key")])
    return ShardArchive(Repository.create(store, keyring, SystemClock()), "s1")


@pytest.fixture
def written(archive: ShardArchive) -> list[Transaction]:
    """What an old primary committed; the server that took over lacked the last two."""
    data = GOLDEN.read_bytes()
    found = list(TransactionReader().feed(data, 0))
    archive.open_epoch(EpochFacts("first", UUID, "s1-a", EMPTY, None, EMPTY, EMPTY), SystemClock())
    file = BinlogFile(1, UUID, "binlog.000001", 1)
    archive.put(archive.seal(SegmentDraft(file, 0, data, "rotate", EMPTY, EMPTY, found)))
    inherited, branch = gtids_of(found[:-2]), gtids_of(found[-2:])
    archive.open_epoch(EpochFacts("promotion", OTHER, "s1-b", inherited, 1, branch, EMPTY), SystemClock())
    return found


def test_what_was_committed_up_to_a_moment_is_told(archive: ShardArchive, written: list[Transaction]) -> None:
    line = ArchivedLine(Line.of(archive))
    first, last = written[-2:]
    assert first.committed_at_us < last.committed_at_us
    (whole,) = line.left_behind(after_us=None, to_us=last.committed_at_us)
    assert (whole.epoch, whole.gtids) == (1, gtids_of(written[-2:]))
    (part,) = line.left_behind(after_us=None, to_us=first.committed_at_us)
    assert part.gtids == first.gtid.as_set()
    assert line.left_behind(after_us=None, to_us=first.committed_at_us - 1) == ()


def test_what_came_after_a_backup_is_told(archive: ShardArchive, written: list[Transaction]) -> None:
    line = ArchivedLine(Line.of(archive))
    first, last = written[-2:]
    (part,) = line.left_behind(after_us=first.committed_at_us, to_us=None)
    assert part.gtids == last.gtid.as_set()
    assert line.left_behind(after_us=last.committed_at_us, to_us=None) == ()


def test_a_branch_that_cannot_be_read_is_told_whole(
    archive: ShardArchive, written: list[Transaction], monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(line: Line, branch: Branch) -> None:
        raise ObjectDamaged(f"{line.archive.shard}: {branch.epoch}")

    monkeypatch.setattr(Line, "branch_entries", damaged)
    (whole,) = ArchivedLine(Line.of(archive)).left_behind(after_us=None, to_us=0)
    assert whole.gtids == gtids_of(written[-2:])


def test_of_a_full_made_of_a_chain_the_time_of_the_chain_counts(tmp_path: Path) -> None:
    repository = Repository.create(
        FilesystemStore(tmp_path / "repository"), file_keyring(tmp_path), SystemClock()
    )
    newest = take_chain(repository, PassingClock(), a_donor(1), 2)
    full = consolidate(repository, "s1")
    made = Catalog(repository).manifest("s1", full.label)
    assert made.timings.started_at > newest.timings.finished_at

    class Asked:
        def left_behind(self, *, after_us: int | None, to_us: int | None) -> tuple[Branch, ...]:
            assert after_us is not None
            assert after_us <= microseconds(newest.timings.started_at)
            return ()

    assert _left_behind(Asked(), SimpleNamespace(stop=None), RecoveryTarget.latest(), made) == ()  # type: ignore[arg-type]
