"""Whose key opens an epoch: races of two archivers, two keys, rotation, damage."""

from __future__ import annotations

from pathlib import Path

import pytest
from archived_binlogs import SOURCE, MadeFile, binlog, facts
from sealed_backups import TickingClock, ToldStore, flipped, names, replace

from fleet.errors import KeyUnusable, ObjectDamaged, ObjectMissing
from repository import layout
from repository.archive.archive import ShardArchive
from repository.keys import FileSource, Keyring, create_key_file
from repository.repository import Repository
from repository.stores.memory import MemoryStore


class RacedStore(ToldStore):
    """Lets another archiver act just before the first put of a name that ends with ``at``."""

    def __init__(self, inner: MemoryStore, at: str) -> None:
        super().__init__(inner)
        self.at = at
        self.other = lambda: None

    def before(self, operation: str, key: str) -> None:
        if operation == "put" and key.endswith(self.at):
            self.at = "never"
            self.other()


@pytest.fixture
def sources(tmp_path: Path) -> tuple[FileSource, FileSource]:
    for key_id in ("k1", "k2"):
        create_key_file(tmp_path / f"{key_id}.key")
    return FileSource("k1", tmp_path / "k1.key"), FileSource("k2", tmp_path / "k2.key")


@pytest.fixture
def place(store: MemoryStore, sources: tuple[FileSource, FileSource]) -> MemoryStore:
    """A store with a repository that both keys open."""
    Repository.create(store, Keyring(sources), TickingClock())
    return store


def archive_of(store: object, *sources: FileSource) -> ShardArchive:
    return ShardArchive(Repository.open(store, Keyring(sources)), "s1", level=1)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("moment", ["k1.json", "opened"])
def test_two_archivers_with_one_key_share_the_epoch(
    place: MemoryStore, sources: tuple[FileSource, FileSource], moment: str
) -> None:
    k1, _ = sources
    raced = RacedStore(place, f"000001/keys/{moment}" if moment != "opened" else moment)
    loser, winner = archive_of(raced, k1), archive_of(place, k1)
    raced.other = lambda: winner.open_epoch(facts(server_name="winner"), TickingClock())  # pyright: ignore[reportAttributeAccessIssue]
    assert loser.open_epoch(facts(server_name="loser"), TickingClock()).server_name == "winner"
    made = MadeFile(binlog()).run(SOURCE, 1, 5)
    made.put(loser, made.cuts(3))
    assert winner.put(winner.seal(made.draft(0, len(made.data))))
    assert b"".join(winner.data(ref) for ref in loser.file(made.name).segments) == bytes(made.data)


@pytest.mark.parametrize("moment", ["k1.json", "opened"])
def test_two_archivers_with_two_keys_end_in_one_epoch(
    place: MemoryStore, sources: tuple[FileSource, FileSource], moment: str
) -> None:
    k1, k2 = sources
    raced = RacedStore(place, f"000001/keys/{moment}" if moment != "opened" else moment)
    loser, winner = archive_of(raced, k1, k2), archive_of(place, k2, k1)
    raced.other = lambda: winner.open_epoch(facts(server_name="winner"), TickingClock())  # pyright: ignore[reportAttributeAccessIssue]
    assert loser.open_epoch(facts(server_name="loser"), TickingClock()).server_name == "winner"
    assert names(place, "archive/s1/000001/keys/") == [
        layout.archive_key("s1", 1, key) for key in ("k1", "k2")
    ]
    made = MadeFile(binlog()).run(SOURCE, 1, 5)
    made.put(loser, made.cuts(3))
    for reader in (archive_of(place, k1, k2), archive_of(place, k2)):
        assert [epoch.server_name for epoch in reader.epochs()] == ["winner"]
        assert reader.data(reader.file(made.name).segments[0])


def test_who_lost_to_a_key_that_it_has_not_is_told_which(
    place: MemoryStore, sources: tuple[FileSource, FileSource]
) -> None:
    k1, k2 = sources
    raced = RacedStore(place, "opened")
    loser, winner = archive_of(raced, k1), archive_of(place, k2)
    raced.other = lambda: winner.open_epoch(facts(), TickingClock())  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(KeyUnusable, match=r"archive-000001 is wrapped by k2"):
        loser.open_epoch(facts(), TickingClock())
    assert winner.epochs()[0].epoch == 1


def test_an_attempt_that_died_is_carried_on_with_its_key(
    place: MemoryStore, sources: tuple[FileSource, FileSource]
) -> None:
    k1, k2 = sources
    first = archive_of(place, k1)
    first.open_epoch(facts(), TickingClock())
    place.delete(layout.epoch_opened("s1", 1))
    wrapped = place.get(layout.archive_key("s1", 1, "k1"))
    assert archive_of(place, k2, k1).epochs() == []
    archive_of(place, k1).open_epoch(facts(), TickingClock())
    assert place.get(layout.archive_key("s1", 1, "k1")) == wrapped
    with pytest.raises(KeyUnusable, match="wrapped by k1"):
        archive_of(place, k2).epochs()


def test_damage_of_keys_and_epochs_is_named(
    place: MemoryStore, sources: tuple[FileSource, FileSource]
) -> None:
    k1, _ = sources
    archive_of(place, k1).open_epoch(facts(), TickingClock())
    opened, wrapped = layout.epoch_opened("s1", 1), layout.archive_key("s1", 1, "k1")
    content, envelope = place.get(opened), place.get(wrapped)
    for bit in (3, 90, 8 * 30, 8 * 75, 8 * len(content) - 1):
        replace(place, opened, flipped(content, bit))
        with pytest.raises(ObjectDamaged, match=opened):
            archive_of(place, k1).epochs()
        # Nobody takes a damaged epoch for none, and opens it anew.
        with pytest.raises(ObjectDamaged, match=opened):
            archive_of(place, k1).open_epoch(facts(), TickingClock())
    replace(place, opened, content)
    replace(place, wrapped, envelope.replace(b'"wrapped":"', b'"wrapped":"AAAA'))
    with pytest.raises((KeyUnusable, ObjectDamaged)):
        archive_of(place, k1).epochs()
    place.delete(wrapped)
    with pytest.raises(ObjectMissing, match=r"no wrapped key under archive/s1/000001/keys/"):
        archive_of(place, k1).epochs()
