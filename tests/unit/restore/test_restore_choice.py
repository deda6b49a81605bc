"""Which backup is taken when a link of a chain is lost, damaged or sealed with another key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet.clock import SystemClock
from fleet.errors import KeyUnusable, NotFound, ObjectDamaged, ObjectMissing, ToolError
from repository import layout
from repository.keys import FileSource, Keyring, create_key_file
from repository.manifest import Manifest
from repository.repository import Repository
from repository.stores.memory import MemoryStore
from restore.choice import choose_chain, choose_for
from restore.datadir import open_journal
from restore.full import fetch_plan
from restore.plan import Mode, plan_restore
from restore.target import look_at
from tests.unit.restore.made_backups import made_repository
from tests.unit.restore.made_chains import MadeServer
from tests.unit.restore.restoring import Watcher, content


@dataclass(frozen=True)
class Kept:
    """A full, an incremental on it, a second full, two incrementals on that: oldest first."""

    repository: Repository
    store: MemoryStore
    taken: list[Manifest]
    content: list[dict[str, bytes]]

    def label(self, at: int) -> str:
        return self.taken[at].label

    def lose(self, name: str) -> None:
        self.store.delete(name)

    def damage(self, name: str) -> None:
        data = bytearray(self.store.get(name))
        for at in range(100, len(data), 500):
            data[at] ^= 1
        self.put(name, data)

    def put(self, name: str, data: bytes | bytearray) -> None:
        self.store.put(name, data, if_absent=False)


@pytest.fixture
def kept() -> Kept:
    store = MemoryStore()
    repository, server = made_repository(store), MadeServer(5, pages=12)
    taken: list[Manifest] = []
    contents: list[dict[str, bytes]] = []
    for base in (None, 0, None, 2, 3):
        taken.append(server.full(repository) if base is None else server.incremental(repository, taken[base]))
        contents.append(server.content())
        server.live()
    return Kept(repository, store, taken, contents)


def test_the_newest_backup_comes_with_all_its_links(kept: Kept) -> None:
    choice = choose_chain(kept.repository, "s1")
    assert [link.label for link in choice.chain.links] == [kept.label(4), kept.label(3), kept.label(2)]
    assert choice.passed_over == ()
    with pytest.raises(NotFound, match="no backup 20250101T000000Z-full"):
        choose_chain(kept.repository, "s1", "20250101T000000Z-full")


LOSSES: dict[str, Callable[[Kept], None]] = {
    "the base's manifest is gone": lambda kept: kept.lose(layout.manifest(kept.taken[2].backup)),
    "the base's manifest is damaged": lambda kept: kept.damage(layout.manifest(kept.taken[2].backup)),
    "an index part of the base is gone": lambda kept: kept.lose(layout.index_part(kept.taken[2].backup, 1)),
    "an index part of the base is cut off": lambda kept: kept.put(
        layout.index_part(kept.taken[2].backup, 0), b"cut"
    ),
    "the key of the base is gone": lambda kept: kept.lose(layout.wrapped_key(kept.taken[2].backup, "k1")),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("named", [True, False], ids=["named", "latest"])
def test_a_backup_that_is_not_whole_is_never_replaced_by_an_older_one(
    kept: Kept, loss: str, named: bool
) -> None:
    LOSSES[loss](kept)
    with pytest.raises((ObjectMissing, ObjectDamaged, KeyUnusable)) as failed:
        choose_chain(kept.repository, "s1", kept.label(4) if named else "latest")
    assert kept.label(4) in failed.value.message
    assert kept.label(2) in failed.value.message
    assert f"--backup {kept.label(1)}" in str(failed.value.hint)


LOSSES_OF_THE_NEWEST: dict[str, Callable[[Kept], None]] = {
    "its manifest is damaged": lambda kept: kept.damage(layout.manifest(kept.taken[4].backup)),
    "an index part is gone": lambda kept: kept.lose(layout.index_part(kept.taken[4].backup, 0)),
    "its key is gone": lambda kept: kept.lose(layout.wrapped_key(kept.taken[4].backup, "k1")),
    "its key is damaged": lambda kept: kept.damage(layout.wrapped_key(kept.taken[4].backup, "k1")),
}


@pytest.mark.parametrize("loss", LOSSES_OF_THE_NEWEST)
def test_where_the_newest_backup_is_broken_the_one_before_it_is_offered_and_not_taken(
    kept: Kept, loss: str
) -> None:
    LOSSES_OF_THE_NEWEST[loss](kept)
    with pytest.raises((ObjectMissing, ObjectDamaged, KeyUnusable)) as failed:
        choose_chain(kept.repository, "s1")
    assert kept.label(4) in failed.value.message
    assert f"--backup {kept.label(3)}" in str(failed.value.hint)


def test_where_no_backup_is_whole_the_newest_is_told_and_what_is_wrong_with_it(kept: Kept) -> None:
    for at in (0, 2):
        kept.lose(layout.index_part(kept.taken[at].backup, 0))
    with pytest.raises(ObjectMissing, match=kept.label(4)) as failed:
        choose_chain(kept.repository, "s1")
    assert "backstay verify s1 --all" in str(failed.value.hint)


def test_a_key_that_is_missing_is_never_hidden_by_an_older_backup(tmp_path: Path) -> None:
    store = MemoryStore()
    sources: list[FileSource] = []
    for name in ("old", "new"):
        create_key_file(tmp_path / name)
        sources.append(FileSource(name, tmp_path / name))
    first = Repository.create(store, Keyring(sources[:1]), SystemClock())
    server = MadeServer(6, pages=12)
    full = server.full(first)
    first.add_key(sources[1], SystemClock())
    second = Repository.open(store, Keyring([sources[1], sources[0]]))
    other = server.full(second)
    server.live()
    # The base is sealed with the old key, the incremental on it with the new one.
    newest = server.incremental(second, full)
    only_new = Repository.open(store, Keyring(sources[1:]))
    for label in ("latest", newest.label):
        with pytest.raises(KeyUnusable) as failed:
            choose_chain(only_new, "s1", label)
        assert full.label in failed.value.message
        assert f"--backup {other.label}" in str(failed.value.hint)


def test_damage_that_is_met_while_fetching_names_the_link_and_a_backup_without_it(
    kept: Kept, tmp_path: Path
) -> None:
    name = layout.pack(kept.taken[2].backup, 0)
    sound = kept.store.get(name)
    kept.damage(name)
    failed = fetching_fails(kept, tmp_path)
    assert name in failed.message
    assert f"{kept.taken[4].backup} rests on {kept.label(2)}" in failed.message
    assert f"--backup {kept.label(1)}" in str(failed.hint)
    kept.put(name, sound)
    fetched(kept, tmp_path)
    assert content(tmp_path) == kept.content[4]


def test_damage_in_the_newest_link_leaves_the_one_before_it(kept: Kept, tmp_path: Path) -> None:
    kept.lose(layout.pack(kept.taken[4].backup, 0))
    failed = fetching_fails(kept, tmp_path)
    assert f"--backup {kept.label(3)}" in str(failed.hint)


def fetched(kept: Kept, target: Path) -> None:
    plan = plan_restore(choose_chain(kept.repository, "s1").chain, look_at(target), None)
    journal = open_journal(plan)
    try:
        fetch_plan(
            kept.repository, plan, journal, threads=2, progress=Watcher(), clock=SystemClock(), cancelled=None
        )
    finally:
        journal.close()


def fetching_fails(kept: Kept, target: Path) -> ToolError:
    with pytest.raises((ObjectDamaged, ObjectMissing)) as failed:
        fetched(kept, target)
    assert not (target / "ibdata1").exists()
    return failed.value


def test_what_is_in_place_already_needs_its_chain_no_more(kept: Kept, tmp_path: Path) -> None:
    fetched(kept, tmp_path)
    for at in (2, 3):
        kept.lose(layout.manifest(kept.taken[at].backup))
    facts = look_at(tmp_path)
    choice = choose_for(kept.repository, "s1", "latest", facts, delta=False)
    assert choice.chain.links == (kept.taken[4],)
    assert plan_restore(choice.chain, facts, None).mode is Mode.PROVE
    # A new fetch needs it.
    with pytest.raises(ObjectMissing, match=kept.label(4)):
        choose_for(kept.repository, "s1", "latest", facts, delta=True)


def test_a_restore_that_was_begun_goes_on_with_its_backup_and_never_with_another(
    kept: Kept, tmp_path: Path
) -> None:
    kept.damage(layout.pack(kept.taken[2].backup, 0))
    fetching_fails(kept, tmp_path)
    kept.lose(layout.manifest(kept.taken[2].backup))
    with pytest.raises(ObjectMissing, match=kept.label(4)):
        choose_for(kept.repository, "s1", "latest", look_at(tmp_path), delta=False)
