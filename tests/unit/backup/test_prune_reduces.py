"""Prune lets go of pages that nobody refers to, of expired backups that others need in part."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from backup.keeping import hold, take_back
from backup.prune import prune
from backup.prune_plan import BackupReducing
from cli.backups import with_left
from fleet.errors import NotFound, ObjectMissing, RetentionRefused, StoreUnreachable
from fleet.policy import Retention
from repository import layout
from repository.catalog import Catalog
from repository.chain import read_chain
from repository.foundations import check_foundations, check_whole
from repository.layout import BackupName
from repository.manifest import Manifest
from repository.marks import Marks
from repository.repository import Repository
from repository.stores.memory import MemoryStore
from repository.verification import verify_all, verify_chain
from repository.verify import Reading
from restore.choice import choose_chain
from tests.unit.backup.test_prune import (
    Forgetful,
    History,
    at,
    copy_of,
    mark,
    owned,
    plan,
    restores,
    run,
    twice,
)
from tests.unit.repository.sealed_backups import (
    DyingStore,
    TickingClock,
    ToldStore,
    file_keyring,
    flipped,
    names,
    replace,
)

pytestmark = pytest.mark.usefixtures("policy_agrees")

POLICY = Retention(days=30.0, grace_hours=24.0, repack_below=1.0)


@pytest.fixture
def clock() -> TickingClock:
    return TickingClock()


@pytest.fixture
def store(clock: TickingClock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
def repository(store: MemoryStore, tmp_path: Path, clock: TickingClock) -> Repository:
    return Repository.create(store, file_keyring(tmp_path), clock)


@pytest.fixture
def history(repository: Repository, clock: TickingClock) -> History:
    return History.made(repository, clock)


class Asked(ToldStore):
    def __init__(self, inner: MemoryStore) -> None:
        super().__init__(inner)
        self.operations: list[str] = []

    def before(self, operation: str, key: str) -> None:
        self.operations.append(operation)


def steps(repository: Repository, clock: TickingClock) -> list[str]:
    return [each.step for each in plan(repository, clock, policy=POLICY).plan.reducing]


def kept(history: History) -> list[object]:
    return [*history.second, history.referring]


def is_whole(repository: Repository, manifest: Manifest) -> bool:
    try:
        check_whole(repository, read_chain(Catalog(repository), manifest))
    except ObjectMissing:
        return False
    return True


def test_what_others_refer_to_stays_and_the_rest_goes_in_two_runs(
    repository: Repository, store: MemoryStore, clock: TickingClock, history: History
) -> None:
    mark(repository, clock, history.first)
    first = run(repository, clock, policy=POLICY)
    assert (first.objects, first.reduced) == (0, ())
    assert first.next_at is not None
    assert first.next_at > clock.now()
    assert steps(repository, clock) == ["wait"] * 3
    assert restores(repository, history.every())
    clock.sleep(3700)
    result = run(repository, clock, policy=POLICY)
    assert [each.label for each in result.reduced] == [each.manifest.label for each in history.first]
    assert result.freed_bytes == sum(each.freed_bytes for each in result.reduced) > 0
    assert restores(repository, [*history.second, history.referring])
    assert is_whole(repository, history.referring.manifest)
    assert not any(is_whole(repository, each.manifest) for each in history.first)
    # Looked at again only after some days, and there is nothing to find.
    assert steps(repository, clock) == []
    clock.sleep(8 * 86400)
    assert steps(repository, clock) == ["reduce"] * 3
    assert run(repository, clock, policy=POLICY).freed_bytes == 0
    assert steps(repository, clock) == []
    # When nobody refers to them any more, all that is left of them goes.
    mark(repository, clock, [history.referring])
    twice(repository, clock, policy=POLICY)
    twice(repository, clock, policy=POLICY)
    assert not [name for each in history.first for name in owned(store, each.manifest)]
    assert restores(repository, history.second)


def test_what_is_left_is_told_beside_what_was_stored_for_one_list_of_each_that_shrank(
    repository: Repository, store: MemoryStore, clock: TickingClock, history: History
) -> None:
    mark(repository, clock, history.first)
    before = plan(repository, clock, policy=POLICY).plan
    assert before.left_bytes == before.kept_bytes
    twice(repository, clock, policy=POLICY)
    after = plan(repository, clock, policy=POLICY).plan
    assert [each.label for each in after.marked] == [each.manifest.label for each in history.first]
    for each in after.marked:
        listed = store.list(layout.packs_and_parts(BackupName(each.shard, each.label)))
        assert each.left_bytes == sum(info.size for info in listed) < each.stored_bytes
    spared = sum(each.stored_bytes - each.left_bytes for each in after.marked)
    assert after.left_bytes == after.kept_bytes - spared

    asked = Asked(store)
    watched = Repository(asked, repository.description, repository.keys)  # type: ignore[arg-type]
    backups = with_left(watched, Catalog(repository).backups())
    assert sum(each.left_bytes or 0 for each in backups) == after.left_bytes
    assert asked.operations == ["list"] * len(after.marked)


def test_who_may_only_put_makes_no_backup_seem_smaller(
    repository: Repository, clock: TickingClock, history: History
) -> None:
    """Without a mark nothing was reduced, whoever says so."""
    Marks(repository).set_reduced(history.first[0].manifest.backup)
    assert {
        each.left_bytes == each.stored_bytes for each in with_left(repository, Catalog(repository).backups())
    } == {True}
    told = plan(repository, clock, policy=POLICY).plan
    assert told.left_bytes == told.kept_bytes


def test_what_is_told_says_who_refers_and_when(
    repository: Repository, clock: TickingClock, history: History
) -> None:
    mark(repository, clock, history.first)
    told = plan(repository, clock, policy=POLICY).plan
    assert told.reducing[0] == BackupReducing(
        *history.first[0].manifest.backup, history.first[0].manifest.sizes.stored_bytes, 1, "begin", None
    )
    assert not told.is_idle
    never = Retention(days=30.0, grace_hours=24.0, repack_below=0.0)
    assert plan(repository, clock, policy=never).plan.reducing == ()


def test_until_the_hour_is_over_a_mark_can_be_taken_back_and_afterwards_not(
    repository: Repository, store: MemoryStore, clock: TickingClock, history: History
) -> None:
    mark(repository, clock, history.first)
    run(repository, clock, policy=POLICY)
    last = history.first[-1].manifest
    assert len(take_back(repository, *last.backup).labels) == 3
    assert not Marks(repository).reducing()
    clock.sleep(3700)
    assert run(repository, clock, policy=POLICY).reduced == ()
    assert restores(repository, history.every())

    mark(repository, clock, history.first)
    twice(repository, clock, policy=POLICY)
    for refused in (
        lambda: take_back(repository, *last.backup),
        lambda: hold(repository, *last.backup, reason="an audit", until=clock.now(), by="ann", clock=clock),
    ):
        with pytest.raises(RetentionRefused, match="only what other backups refer to is left"):
            refused()


def test_what_is_left_of_a_backup_is_not_restored_and_another_one_is_named(
    repository: Repository, clock: TickingClock, history: History
) -> None:
    mark(repository, clock, history.first)
    twice(repository, clock, policy=POLICY)
    expired = history.first[-1].manifest
    with pytest.raises(ObjectMissing, match="only what other backups refer to is left of it") as raised:
        choose_chain(repository, "s1", expired.label)
    assert history.second[-1].manifest.label in str(raised.value.hint)
    choose_chain(repository, "s1", history.referring.manifest.label)


def test_who_may_only_put_cannot_keep_a_backup_from_being_restored_or_verified(
    repository: Repository, store: MemoryStore, history: History
) -> None:
    for each in history.every():
        store.put(layout.reduced_mark(each.manifest.backup), b"{}")
        store.put(layout.reducing_mark(each.manifest.backup), b"{}")
    choose_chain(repository, "s1")
    assert len(verify_all(repository, ["s1"], Reading(), Nobody()).backups) == len(history.every())


def test_nobody_builds_on_what_shrinks_but_who_refers_to_it_goes_on(
    repository: Repository, clock: TickingClock, history: History
) -> None:
    mark(repository, clock, history.first)
    run(repository, clock, policy=POLICY)
    check_foundations(repository, history.referring.manifest.model_copy(update={"built_on": None}))
    with pytest.raises(ObjectMissing, match="about to be pruned"):
        check_foundations(repository, history.referring.manifest)
    with pytest.raises(ObjectMissing, match="about to be pruned"):
        check_foundations(repository, history.first[1].manifest)


def test_what_is_needed_whole_again_is_no_longer_told_to_shrink(
    repository: Repository, clock: TickingClock, history: History
) -> None:
    mark(repository, clock, history.first)
    run(repository, clock, policy=POLICY)
    Marks(repository).take_back(history.first[0].manifest.backup)
    Marks(repository).begin_reducing(history.first[0].manifest.backup)
    clock.sleep(3700)
    result = run(repository, clock, policy=POLICY)
    assert [each.label for each in result.reduced] == [each.manifest.label for each in history.first[1:]]
    assert history.first[0].manifest.backup not in Marks(repository).reducing()
    assert is_whole(repository, history.first[0].manifest)


def test_it_may_die_at_any_step_and_those_who_refer_read_on(
    repository: Repository, store: MemoryStore, clock: TickingClock, history: History
) -> None:
    mark(repository, clock, history.first)
    run(repository, clock, policy=POLICY)
    clock.sleep(3700)
    deaths = 0
    for unheard in (False, True):
        for step in range(1, 1000, 3):
            copy = copy_of(store, clock)
            dying = DyingStore(copy, step, unheard=unheard, forever=True)
            try:
                run(at(repository, dying), clock, policy=POLICY)
            except StoreUnreachable:
                deaths += 1
            again = at(repository, copy)
            assert restores(again, [*history.second, history.referring])
            if step % 10 == 1:
                run(again, clock, policy=POLICY)
                assert restores(again, [*history.second, history.referring])
            if dying.operations < step:
                break
    assert deaths > 30


def test_who_dies_at_a_later_look_leaves_it_said_that_parts_may_be_gone(
    repository: Repository, store: MemoryStore, clock: TickingClock, history: History
) -> None:
    mark(repository, clock, history.first)
    twice(repository, clock, policy=POLICY)
    clock.sleep(8 * 86400)
    reduced = [each.manifest.backup for each in history.first]
    for unheard in (False, True):
        for step in range(1, 1000):
            copy = copy_of(store, clock)
            dying = DyingStore(copy, step, unheard=unheard, forever=True)
            with suppress(StoreUnreachable):
                run(at(repository, dying), clock, policy=POLICY)
            assert all(Marks(at(repository, copy)).is_reduced(name) for name in reduced)
            if dying.operations < step:
                break
        assert step > 20


def test_a_look_that_died_is_made_up_for_by_the_next_run(
    repository: Repository, clock: TickingClock, history: History
) -> None:
    mark(repository, clock, history.first)
    run(repository, clock, policy=POLICY)
    Marks(repository).set_reduced(history.first[0].manifest.backup)
    clock.sleep(8 * 86400)
    assert history.first[0].manifest.label in [
        each.label for each in run(repository, clock, policy=POLICY).reduced
    ]


def test_what_was_said_before_the_mark_is_said_anew_and_the_hour_begins_anew(
    repository: Repository, clock: TickingClock, history: History
) -> None:
    for each in history.first:
        Marks(repository).begin_reducing(each.manifest.backup)
    mark(repository, clock, history.first)
    assert steps(repository, clock) == ["begin"] * 3
    assert len(twice(repository, clock, policy=POLICY).reduced) == 3


def test_who_takes_back_in_the_moment_in_which_it_shrinks_leaves_the_mark_or_the_backup_whole(
    repository: Repository, store: MemoryStore, clock: TickingClock, history: History
) -> None:
    mark(repository, clock, history.first)
    run(repository, clock, policy=POLICY)
    clock.sleep(3700)
    last = history.first[-1].manifest.backup

    class Shrinking(ToldStore):
        """Prune has looked for the mark right before it is deleted."""

        def before(self, operation: str, key: str) -> None:
            if operation == "delete" and key == layout.expired_mark(history.first[0].manifest.backup):
                run(repository, clock, policy=POLICY)

    with pytest.raises(RetentionRefused, match="only what other backups refer to is left"):
        take_back(at(repository, Shrinking(store)), *last)
    marked = Marks(repository).all()
    for each in history.first:
        assert each.manifest.backup in marked
        assert Marks(repository).is_reduced(each.manifest.backup)
    assert restores(repository, [*history.second, history.referring])


def test_what_is_spared_because_its_mark_is_gone_is_not_said_to_lack_parts(
    repository: Repository, store: MemoryStore, clock: TickingClock, history: History
) -> None:
    mark(repository, clock, history.first)
    run(repository, clock, policy=POLICY)
    clock.sleep(3700)
    prepared = plan(repository, clock, policy=POLICY)
    take_back(repository, *history.first[-1].manifest.backup)
    result = prune(repository, prepared, clock=clock)
    assert (result.reduced, len(result.spared)) == ((), 3)
    assert not Marks(repository).reduced()
    assert restores(repository, history.every())


@pytest.mark.parametrize("lacking", [layout.MANIFESTS, layout.KEYS, layout.EXPIRED, layout.DATA])
def test_a_list_that_lacks_objects_never_lets_go_of_what_is_referred_to(
    repository: Repository, store: MemoryStore, clock: TickingClock, history: History, lacking: str
) -> None:
    mark(repository, clock, history.first)
    for seed in range(8):
        again = at(repository, Forgetful(copy_of(store, clock), seed, lacking))
        for _ in range(3):
            twice(again, clock, policy=POLICY)
            assert restores(again, [*history.second, history.referring]), seed


class Nobody:
    """A display that nobody looks at."""

    def stage(self, name: str, total_bytes: int | None = None) -> None: ...

    def reach(self, done_bytes: int, total_bytes: int) -> None: ...


@pytest.mark.parametrize("quick", [False, True])
def test_what_is_left_is_verified_with_those_who_refer_to_it(
    repository: Repository, store: MemoryStore, clock: TickingClock, history: History, quick: bool
) -> None:
    mark(repository, clock, history.first)
    twice(repository, clock, policy=POLICY)
    found = verify_all(repository, ["s1"], Reading(), Nobody(), quick=quick)
    assert found.is_sound
    whole = {each.manifest.label for each in [*history.second, history.referring]}
    rest = {each.manifest.label for each in history.first}
    assert {each.label for each in found.backups} == (whole | rest if quick else whole)
    left = [name for name in names(store, layout.DATA) if layout.parse_remainder(name)]
    needed = max(left, key=lambda name: len(store.get(name)))
    replace(store, needed, flipped(store.get(needed), 8 * len(store.get(needed)) - 9))
    if not quick:
        found = verify_all(repository, ["s1"], Reading(), Nobody())
        assert [str(each.backup) for each in found.broken] == [f"s1/{history.referring.manifest.label}"]
        assert any(each.files for each in found.broken)
    store.delete(needed)
    found = verify_all(repository, ["s1"], Reading(), Nobody(), quick=quick)
    assert not found.is_sound
    assert [str(each.backup) for each in found.broken] == [f"s1/{history.referring.manifest.label}"]
    with pytest.raises(NotFound, match="only what other backups refer to is left"):
        verify_chain(repository, history.first[0].manifest, Reading(), Nobody())
