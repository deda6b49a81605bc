"""What a restore meets is written down where it is certain, and never where it is not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from drills.reading import page_check
from fleet.clock import SystemClock
from fleet.errors import KeyUnusable, ObjectDamaged, ObjectMissing, StoreDenied, StoreUnreachable, ToolError
from repository import layout
from repository.damage_notes import DamageNotes
from repository.findings import Findings, Noted
from repository.layout import BackupName
from repository.manifest import Manifest
from repository.repository import Repository
from repository.stores.memory import MemoryStore
from repository.verification import verify_chain
from repository.verify import Reading
from restore.choice import choose_chain
from restore.datadir import open_journal
from restore.full import fetch_plan
from restore.plan import plan_restore
from restore.target import look_at
from tests.unit.repository.sealed_backups import ToldStore, flipped, replace
from tests.unit.restore.made_backups import made_repository
from tests.unit.restore.made_chains import MadeServer, made_chain
from tests.unit.restore.restoring import Watcher

Refuses = Callable[[str, str], Exception | None]


class Refusing(ToldStore):
    """Refuses what ``refuses`` says of an operation and a name."""

    def __init__(self, inner: MemoryStore, refuses: Refuses) -> None:
        super().__init__(inner)
        self._refuses = refuses

    def before(self, operation: str, key: str) -> None:
        if (error := self._refuses(operation, key)) is not None:
            raise error


class Unseen(Watcher):
    def reach(self, done_bytes: int, total_bytes: int) -> None: ...


@dataclass(frozen=True)
class Kept:
    """A full and an incremental on it."""

    repository: Repository
    store: MemoryStore
    full: Manifest
    link: Manifest
    target: Path

    @property
    def pack(self) -> str:
        return layout.pack(self.full.backup, 0)

    @property
    def part(self) -> str:
        return layout.index_part(self.full.backup, 0)

    def flip(self, name: str) -> bytes:
        was = self.store.get(name)
        replace(self.store, name, flipped(was, 8 * 90))
        return was

    def fails(self, refuses: Refuses = lambda _, __: None) -> ToolError:
        store = Refusing(self.store, refuses)
        repository = Repository(store, self.repository.description, self.repository.keys)  # type: ignore[arg-type]
        plan = plan_restore(choose_chain(repository, "s1").chain, look_at(self.target), None)
        with (
            closing(open_journal(plan)) as journal,
            pytest.raises((ObjectDamaged, ObjectMissing, KeyUnusable)) as failed,
        ):
            fetch_plan(
                repository, plan, journal, threads=2, progress=Watcher(), clock=SystemClock(), cancelled=None
            )
        return failed.value

    def findings(self) -> list[str]:
        return [each.object for each in Findings(self.repository).all()]

    def harmed(self) -> set[BackupName]:
        return set(Findings(self.repository).harms("s1"))


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    store = MemoryStore()
    repository = made_repository(store)
    full, link = made_chain(repository, MadeServer(5, pages=12), 2)
    return Kept(repository, store, full, link, tmp_path)


def test_a_damaged_pack_is_written_down_and_the_error_says_so_and_what_to_do(kept: Kept) -> None:
    kept.flip(kept.pack)
    failed = kept.fails()
    assert isinstance(failed, ObjectDamaged) and kept.pack in failed.message
    assert "is written down" in str(failed.hint)
    assert "`backstay backup full s1 --stored`" in str(failed.hint)
    (finding,) = Findings(kept.repository).all("s1")
    assert (finding.object, finding.finder) == (kept.pack, "a restore")
    assert finding.labels == (kept.full.label, kept.link.label)
    assert finding.short.startswith(f"a restore found pack p00000000 of {kept.full.label} damaged on ")


def test_a_pack_that_is_gone_is_written_down(kept: Kept) -> None:
    kept.store.delete(kept.pack)
    assert isinstance(kept.fails(), ObjectMissing)
    assert kept.findings() == [kept.pack]


def test_an_index_part_with_a_flipped_bit_is_written_down(kept: Kept) -> None:
    kept.flip(kept.part)
    assert "is written down" in str(kept.fails().hint)
    assert kept.findings() == [kept.part]


def test_what_is_known_already_stays_as_it_was_written(kept: Kept) -> None:
    kept.flip(kept.pack)
    DamageNotes(kept.repository).put(kept.pack, "frame 0 does not unseal, says verify")
    before = [each.name for each in Findings(kept.repository).all()]
    assert "is written down" in str(kept.fails().hint)
    assert [each.name for each in Findings(kept.repository).all()] == before


def test_who_may_not_put_meets_the_same_error_and_is_told_what_to_do_instead(kept: Kept) -> None:
    kept.flip(kept.pack)
    failed = kept.fails(lambda does, _: StoreDenied("may not put") if does == "put" else None)
    assert isinstance(failed, ObjectDamaged) and kept.pack in failed.message
    assert "could not be written down (may not put)" in str(failed.hint)
    assert "--stored" in str(failed.hint)
    assert kept.findings() == []


def test_bytes_that_were_wrong_on_the_way_alone_leave_nothing_and_ask_to_try_again(kept: Kept) -> None:
    was = kept.flip(kept.pack)

    def heals(does: str, key: str) -> None:
        # A restore reads a pack before it asks how large it is.
        if (does, key) == ("stat", kept.pack):
            replace(kept.store, key, was)

    hint = str(kept.fails(heals).hint)
    assert (
        "run the same once more" in hint and "If that ends alike, it was stored so. `backstay verify" in hint
    )
    assert kept.findings() == []


def test_bytes_that_are_wrong_in_another_way_each_time_are_not_certain(kept: Kept) -> None:
    kept.flip(kept.pack)
    looks = 0

    def changes(does: str, key: str) -> None:
        nonlocal looks
        if (does, key) == ("stat", kept.pack):
            looks += 1
            replace(kept.store, key, flipped(kept.store.get(key), 8 * (200 + looks)))

    failed = kept.fails(changes)
    assert looks == 2 and "written down" not in str(failed.hint)
    assert kept.findings() == []


def test_a_store_that_gives_no_answer_then_leaves_nothing_and_keeps_the_error(kept: Kept) -> None:
    kept.flip(kept.pack)
    failed = kept.fails(
        lambda does, key: StoreUnreachable("gone") if key == kept.pack and does == "stat" else None
    )
    assert isinstance(failed, ObjectDamaged) and kept.pack in failed.message
    assert "written down" not in str(failed.hint)
    assert kept.findings() == []


def test_a_pack_that_went_with_its_backup_is_no_finding(kept: Kept) -> None:
    kept.store.delete(kept.pack)

    def prunes(does: str, key: str) -> None:
        if (does, key) == ("stat", kept.pack):
            kept.store.delete(layout.manifest(kept.full.backup))

    assert "written down" not in str(kept.fails(prunes).hint)
    assert kept.findings() == []


def test_a_key_that_is_gone_is_no_finding(kept: Kept) -> None:
    key = layout.wrapped_key(kept.full.backup, "k1")

    def loses(does: str, name: str) -> None:
        if (does, name) == ("get", layout.index_part(kept.link.backup, 0)):
            kept.store.delete(key)

    with_key = kept.store.get(key)
    hint = str(kept.fails(loses).hint)
    assert "written down" not in hint and "once more" not in hint
    kept.store.put(key, with_key)
    assert kept.findings() == []


def test_without_its_key_nothing_is_certain_of_a_pack_that_is_gone(kept: Kept) -> None:
    kept.store.delete(kept.pack)

    def loses(does: str, name: str) -> None:
        if (does, name) == ("stat", kept.pack):
            kept.store.delete(layout.wrapped_key(kept.full.backup, "k1"))

    assert "written down" not in str(kept.fails(loses).hint)


def test_what_verify_spared_is_harmed_once_a_restore_met_what_it_lacks(kept: Kept) -> None:
    kept.flip(kept.pack)
    DamageNotes(kept.repository).put(kept.pack, "frame 0 does not unseal", [kept.link.backup])
    assert kept.harmed() == {kept.full.backup}
    kept.fails()
    assert kept.harmed() == {kept.full.backup, kept.link.backup}
    assert kept.findings() == [kept.pack]


def test_what_continues_a_spared_one_is_harmed_once_a_restore_of_it_met_what_it_lacks(tmp_path: Path) -> None:
    store = MemoryStore()
    repository = made_repository(store)
    full, link, newest = made_chain(repository, MadeServer(5, pages=12), 3)
    kept = Kept(repository, store, full, newest, tmp_path)
    kept.flip(kept.pack)
    DamageNotes(repository).put(kept.pack, "frame 0 does not unseal", [link.backup])
    assert kept.harmed() == {full.backup}
    kept.fails()
    assert kept.harmed() == {full.backup, link.backup, newest.backup}


def test_a_verification_that_finds_it_whole_takes_away_what_a_restore_wrote(kept: Kept) -> None:
    was = kept.flip(kept.pack)
    kept.fails()
    replace(kept.store, kept.pack, was)
    reading = Reading(pages=page_check)
    found = verify_chain(kept.repository, kept.link, reading, Unseen())
    assert Findings(kept.repository).settle(found, reading) == Noted(taken_away=(kept.pack,))
