"""A directory that was half written from a backup which is known to be damaged by now: no hint leads back."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet.clock import SystemClock
from fleet.errors import ObjectDamaged, TargetRefused
from repository import layout
from repository.damage_notes import DamageNotes
from repository.manifest import Manifest
from repository.repository import Repository
from repository.stores.memory import MemoryStore
from restore.choice import Choice, choose_chain, choose_for, label_for
from restore.datadir import open_journal
from restore.full import fetch_plan
from restore.journal import JOURNAL_NAME
from restore.plan import Mode, RestorePlan, plan_restore
from restore.target import look_at
from tests.unit.repository.sealed_backups import flipped, replace
from tests.unit.restore.made_backups import made_repository
from tests.unit.restore.made_chains import MadeServer
from tests.unit.restore.restoring import Watcher, content


@dataclass
class Begun:
    """A full, and a directory into which a restore of it met damage."""

    repository: Repository
    store: MemoryStore
    server: MadeServer
    full: Manifest
    into: Path

    def fetch(self, plan: RestorePlan) -> None:
        with closing(open_journal(plan)) as journal:
            fetch_plan(
                self.repository,
                plan,
                journal,
                threads=2,
                progress=Watcher(),
                clock=SystemClock(),
                cancelled=None,
            )

    def another_full(self) -> Manifest:
        self.server.live()
        return self.server.full(self.repository)

    def chosen(self, label: str = "latest", *, delta: bool = False) -> Choice:
        return choose_for(self.repository, "s1", label, look_at(self.into), delta=delta)

    def refused(self, label: str = "latest") -> TargetRefused:
        with pytest.raises(TargetRefused) as refused:
            self.chosen(label)
        return refused.value


@pytest.fixture
def begun(tmp_path: Path) -> Begun:
    store = MemoryStore()
    repository, server = made_repository(store), MadeServer(5, pages=12)
    begun = Begun(repository, store, server, server.full(repository), tmp_path / "r2")
    name = layout.pack(begun.full.backup, 0)
    replace(store, name, flipped(store.get(name), 8 * 90))
    with pytest.raises(ObjectDamaged) as met:
        begun.fetch(plan_restore(choose_chain(repository, "s1").chain, look_at(begun.into), None))
    assert "into an empty directory" in str(met.value.hint)
    return begun


def test_it_is_not_gone_on_with_once_there_is_a_newer_backup(begun: Begun) -> None:
    other = begun.another_full()
    for label in ("latest", other.label):
        refused = begun.refused(label)
        assert str(begun.into) in refused.message and "was not finished" in refused.message
        assert f"of {begun.full.label} damaged" in refused.message
        assert "mpty the directory, or name another one" in str(refused.hint)
        assert "--backup" not in str(refused.hint)


def test_the_ways_out_work(begun: Begun, tmp_path: Path) -> None:
    other = begun.another_full()
    assert "--delta" in str(begun.refused().hint)
    plan = plan_restore(begun.chosen(delta=True).chain, look_at(begun.into), None, delta=True)
    assert (plan.manifest.label, plan.mode) == (other.label, Mode.DELTA)
    begun.fetch(plan)
    assert content(begun.into) == begun.server.content()
    elsewhere = look_at(tmp_path / "r3")
    assert label_for(begun.repository, "s1", "latest", elsewhere, delta=False) == "latest"


def test_where_nothing_was_laid_out_it_is_not_said_that_delta_helps(begun: Begun) -> None:
    begun.another_full()
    for each in begun.into.rglob("*"):
        if each.is_file() and each.name != JOURNAL_NAME:
            each.unlink()
    assert "--delta" not in str(begun.refused().hint)


def test_who_names_it_goes_on_with_it(begun: Begun) -> None:
    begun.another_full()
    assert begun.chosen(begun.full.label).chain.newest == begun.full


def test_where_the_newest_is_no_better_it_is_gone_on_with_and_the_plan_says_so(begun: Begun) -> None:
    choice = begun.chosen()
    assert choice.chain.newest == begun.full
    steps = plan_restore(choice.chain, look_at(begun.into), None).steps()
    assert f"go on in {begun.into} where an earlier restore of it ended" in steps
    other = begun.another_full()
    DamageNotes(begun.repository).put(layout.pack(other.backup, 0), "frame 0 does not unseal")
    assert begun.chosen().chain.newest == begun.full


def test_what_is_all_in_place_is_gone_on_with_whatever_became_of_the_backup(begun: Begun) -> None:
    begun.another_full()
    with (begun.into / JOURNAL_NAME).open("a") as journal:
        journal.write('{"fetched": true}\n')
    assert begun.chosen().chain.newest == begun.full


def test_a_sound_backup_is_gone_on_with_though_a_newer_one_is_there(tmp_path: Path) -> None:
    repository, server = made_repository(MemoryStore()), MadeServer(5, pages=12)
    begun = Begun(repository, MemoryStore(), server, server.full(repository), tmp_path)
    open_journal(plan_restore(choose_chain(repository, "s1").chain, look_at(tmp_path), None)).close()
    other = begun.another_full()
    DamageNotes(repository).put(layout.pack(other.backup, 0), "frame 0 does not unseal")
    assert begun.chosen().chain.newest == begun.full
