"""A mirror through crashes, damage, places that are away, and objects that vanish while they are copied."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from backup.mirror.journal import EVERYTHING, Journal
from backup.mirror.refusals import Refusals
from fleet.errors import ConfigError, MirrorParted, ObjectDamaged, StoreUnreachable
from repository import layout
from repository.archive.archive import ShardArchive
from repository.repository import Repository
from repository.stores.interface import ObjectInfo
from repository.stores.memory import MemoryStore
from tests.unit.backup.mirrored import World, assert_readable, content, filled, transactions
from tests.unit.repository.sealed_backups import DyingStore, ToldStore, flipped, names, replace


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.made(tmp_path)


def small(world: World) -> World:
    full = world.take_full()
    world.take_incremental(full)
    world.archive_file(1, pieces=4)
    return world


def composed(world: World) -> World:
    """The mirror has pieces of what was composed since in the repository."""
    made = world.archive_file(1, pieces=4)
    world.run()
    ShardArchive(world.repository, "s1", level=1).compose(made.name)
    return world


def operations(world: World, *, of_primary: bool) -> int:
    """How many store operations a run takes."""
    counted = DyingStore(
        world.primary if of_primary else copied(world.mirror), 10**9, unheard=False, forever=True
    )
    if of_primary:
        world.run(primary=counted, mirror=copied(world.mirror))
    else:
        world.run(mirror=counted)
    return counted.operations


def copied(store: MemoryStore) -> MemoryStore:
    made = MemoryStore()
    for key, data in content(store, without=("nothing/",)).items():
        made.put(key, data)
    return made


@pytest.mark.parametrize("unheard", [False, True])
@pytest.mark.parametrize("of_primary", [False, True])
@pytest.mark.parametrize("make", [small, composed])
def test_a_run_that_is_killed_at_any_operation_leaves_a_readable_mirror_and_the_next_goes_on(
    world: World, make: Callable[[World], World], of_primary: bool, unheard: bool
) -> None:
    make(world)
    before = world.mirror
    for at in range(1, operations(world, of_primary=of_primary)):
        world.mirror = copied(before)
        dying = DyingStore(world.primary if of_primary else world.mirror, at, unheard=unheard, forever=True)
        # An operation that does not matter (to let a lease go) may be the one that fails.
        with suppress(StoreUnreachable):
            world.run(**{"primary" if of_primary else "mirror": dying})
        if names(world.mirror, layout.KEYRING):
            assert_readable(world)
        world.run()
        assert content(world.mirror) == content(world.primary)


def test_two_mirrors_at_once_do_no_harm(world: World) -> None:
    filled(world)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            world.run()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert content(world.mirror) == content(world.primary)


def test_a_damaged_pack_is_named_and_the_rest_goes_on(world: World) -> None:
    full = world.take_full()
    second = world.take_full()
    world.take_incremental(full)
    world.archive_file(1)
    pack = layout.pack(full.backup, 0)
    replace(world.primary, pack, flipped(world.primary.get(pack), 800))
    outcome = world.run()
    assert [each.label for each in outcome.backups] == [second.label]
    assert any(pack in each.problem and each.kind == "ObjectDamaged" for each in outcome.refused)
    assert assert_readable(world) == [second.label]
    assert transactions(world.mirrored) == transactions(world.repository)
    assert pack not in content(world.mirror)


def test_a_pack_that_is_missing_is_damage_and_not_a_reason_to_plan_again(world: World) -> None:
    full = world.take_full()
    pack = layout.pack(full.backup, 0)
    world.primary.delete(pack)
    (refused,) = world.run().refused
    assert pack in refused.problem
    assert assert_readable(world) == []


def test_a_damaged_segment_ends_its_file_and_no_other(world: World) -> None:
    made = world.archive_file(1)
    world.archive_file(2)
    refs = ShardArchive(world.repository, "s1").file(made.name).segments
    name = layout.segment("s1", refs[1].name)
    replace(world.primary, name, flipped(world.primary.get(name), 900))
    outcome = world.run()
    assert [each.name for each in outcome.refused] == [name]
    archive = ShardArchive(world.mirrored, "s1")
    assert archive.file(made.name).end == refs[0].end
    assert archive.file(world.files[1].name).end == len(world.files[1].data)


def test_a_damaged_segment_is_passed_over_where_others_hold_its_bytes(world: World) -> None:
    made = world.archive_file(1, pieces=4)
    archive = ShardArchive(world.repository, "s1", level=1)
    cuts = made.cuts(4)
    whole = archive.seal(made.draft(0, cuts[2]))
    archive.put(whole)
    name = layout.segment("s1", whole.name)
    replace(world.primary, name, flipped(world.primary.get(name), 900))
    world.run()
    assert ShardArchive(world.mirrored, "s1").file(made.name).end == len(made.data)


def test_a_manifest_that_cannot_be_read_is_named(world: World) -> None:
    full = world.take_full()
    world.take_incremental(full)
    other = world.take_full()
    name = layout.manifest(full.backup)
    replace(world.primary, name, flipped(world.primary.get(name), 900))
    outcome = world.run()
    assert name in {each.name for each in outcome.refused}
    assert assert_readable(world) == [other.label]


@pytest.mark.parametrize("damage", ["longer", "shorter", "altered"])
def test_a_copy_is_not_blamed_for_the_damage_of_the_repositorys_manifest(world: World, damage: str) -> None:
    full = world.take_full()
    world.run()
    name = layout.manifest(full.backup)
    data = world.primary.get(name)
    damaged = {"longer": data + b"??", "shorter": data[:-9], "altered": flipped(data, 90)}
    replace(world.primary, name, damaged[damage])
    later = world.take_incremental(full)
    (refused,) = world.run(recheck=True).refused
    assert (refused.name, refused.kind) == (name, "ObjectDamaged")
    assert f"{name} in {world.primary.describe()} cannot be read" in refused.problem
    assert refused.problem.endswith(f"the one in {world.mirror.describe()} opens")
    assert assert_readable(world) == [full.label, later.label]


def test_a_copy_is_not_blamed_for_the_damage_of_the_repositorys_segment(world: World) -> None:
    made = world.archive_file(1)
    world.run()
    ref = ShardArchive(world.repository, "s1").file(made.name).segments[-1]
    name = layout.segment("s1", ref.name)
    replace(world.primary, name, flipped(world.primary.get(name), 90))
    (refused,) = world.run().refused
    assert (refused.name, refused.kind) == (name, "ObjectDamaged")
    assert "copy" not in refused.problem


def test_a_shard_that_was_written_to_in_both_places_has_parted(world: World) -> None:
    full = world.take_full()
    world.run()
    name = layout.manifest(full.backup)
    world.mirror.delete(name)
    replace(world.mirror, name, bytes(reversed(world.primary.get(name))))
    world.take_full()
    outcome = world.run()
    assert [(each.kind, each.name) for each in outcome.refused] == [("MirrorParted", name)]
    assert outcome.backups == ()


def test_an_archive_that_went_on_in_both_places_has_parted(world: World) -> None:
    world.archive_file(1)
    world.run()
    made = world.archive_file(2)
    twin = ShardArchive(world.mirrored, "s1", level=1)
    made.put(twin, made.cuts(3), "rotate")
    before = content(world.mirror)
    outcome = world.run()
    assert [each.kind for each in outcome.refused] == ["MirrorParted"]
    assert content(world.mirror) == before


def test_another_repository_is_no_mirror(world: World) -> None:
    Repository.create(world.mirror, world.keyring, world.clock)
    with pytest.raises(MirrorParted, match="holds the repository"):
        world.run()


def test_the_same_place_is_no_mirror_whatever_its_name(world: World) -> None:
    with pytest.raises(ConfigError, match="is the place of the repository"):
        world.run(mirror=ToldStore(world.primary))
    assert not names(world.primary, "trials/")


class Composing(ToldStore):
    """Composes a file when a piece of it is read for the first time."""

    def __init__(self, world: World) -> None:
        super().__init__(world.primary)
        self._world = world
        self._done = False

    def before(self, operation: str, key: str) -> None:
        if operation == "get" and layout.parse_segment(key) and not self._done:
            self._done = True
            ShardArchive(self._world.repository, "s1", level=1).compose(self._world.files[0].name)


def test_segments_that_are_composed_while_they_are_copied_are_planned_again(world: World) -> None:
    made = world.archive_file(1, pieces=6)
    outcome = world.run(primary=Composing(world))
    assert outcome.refused == ()
    assert ShardArchive(world.mirrored, "s1").file(made.name).end == len(made.data)


class Vanishing(ToldStore):
    """A backup is deleted, as prune does it, when its first pack is read."""

    def __init__(self, world: World) -> None:
        super().__init__(world.primary)
        self._doomed = world.manifests[0].backup

    def before(self, operation: str, key: str) -> None:
        if operation == "get" and key.startswith(layout.packs_and_parts(self._doomed)):
            self.inner.delete(layout.manifest(self._doomed))
            for name in names(self.inner, layout.packs_and_parts(self._doomed)):
                self.inner.delete(name)


def test_a_backup_that_is_pruned_while_it_is_copied_is_no_error(world: World) -> None:
    world.take_full()
    other = world.take_full()
    outcome = world.run(primary=Vanishing(world))
    assert outcome.refused == ()
    assert assert_readable(world) == [other.label]


class Unreliable(ToldStore):
    """Lists every object twice, but the last of each list not at all."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        found = list(self.inner.list(prefix))
        # A key that is not listed cannot be used at all.
        listed = found if prefix == layout.KEYRING else found[:-1]
        return iter([each for each in listed for _ in range(2)])


def test_a_list_that_misses_and_repeats_loses_nothing(world: World) -> None:
    filled(world)
    world.run(mirror=Unreliable(world.mirror))
    assert assert_readable(world) == [each.label for each in world.manifests]
    world.run(primary=Unreliable(world.primary))
    world.run()
    assert content(world.mirror) == content(world.primary)


def test_a_manifest_without_its_data_is_found_by_a_recheck(world: World) -> None:
    filled(world)
    world.run()
    full = world.manifests[0]
    gone = layout.pack(full.backup, 0)
    cut = layout.index_part(full.backup, 0)
    world.mirror.delete(gone)
    replace(world.mirror, cut, world.primary.get(cut)[:-9])
    assert world.run().objects == 0
    outcome = world.run(recheck=True)
    assert (outcome.objects, outcome.refused) == (2, ())
    assert content(world.mirror) == content(world.primary)


@pytest.mark.parametrize("at", [20, 900])
def test_damage_that_leaves_the_size_is_repaired_by_a_recheck_alone(world: World, at: int) -> None:
    filled(world)
    world.run()
    full = world.manifests[0]
    for name in (layout.pack(full.backup, 0), layout.index_part(full.backup, 0)):
        replace(world.mirror, name, flipped(world.mirror.get(name), min(at, len(world.mirror.get(name)) - 1)))
    assert world.run().objects == 0
    outcome = world.run(recheck=True)
    assert (outcome.objects, outcome.refused) == (2, ())
    assert content(world.mirror) == content(world.primary)
    assert world.run(recheck=True).objects == 0


def test_an_old_segment_that_is_damaged_at_its_size_is_repaired_by_a_recheck(world: World) -> None:
    made = world.archive_file(1)
    world.run()
    first = ShardArchive(world.repository, "s1").file(made.name).segments[0]
    name = layout.segment("s1", first.name)
    # Its data key is that of the repository's: so it is no other segment.
    replace(world.mirror, name, flipped(world.mirror.get(name), 900))
    assert world.run().objects == 0
    outcome = world.run(recheck=True)
    assert (outcome.objects, outcome.refused) == (1, ())
    assert content(world.mirror) == content(world.primary)


def test_a_recheck_deletes_nothing_that_the_repository_cannot_give(world: World) -> None:
    full = world.take_full()
    world.run()
    name = layout.pack(full.backup, 0)
    for place in (world.mirror, world.primary):
        replace(place, name, flipped(place.get(name), 900 if place is world.mirror else 901))
    before = content(world.mirror)
    (refused,) = world.run(recheck=True).refused
    assert (refused.kind, "copy" in refused.problem) == ("ObjectDamaged", False)
    assert content(world.mirror) == before


def test_a_damaged_copy_is_named_with_the_way_to_repair_it(world: World) -> None:
    full = world.take_full()
    world.run()
    world.mirror.delete(layout.manifest(full.backup))
    pack = layout.pack(full.backup, 0)
    replace(world.mirror, pack, world.primary.get(pack)[:-1])
    (refused,) = world.run().refused
    assert "is a damaged copy" in refused.problem
    assert world.run(recheck=True).refused == ()
    assert assert_readable(world) == [full.label]


@pytest.mark.parametrize("damaged", [(0, 1), (8, 1), (20, 1), (0, 70), (0, 600)])
def test_a_copy_with_a_damaged_beginning_is_damaged_and_has_not_parted(
    world: World, damaged: tuple[int, int]
) -> None:
    full = world.take_full()
    world.run()
    pack, manifest = layout.pack(full.backup, 0), layout.manifest(full.backup)
    for name in (pack, manifest):
        at, length = damaged
        sound = world.primary.get(name)
        assert len(sound) > at + length + 16
        noise = bytes(255 - byte for byte in sound[at : at + length])
        replace(world.mirror, name, sound[:at] + noise + sound[at + length :])
    refused = world.run().refused
    assert {each.kind for each in refused} == {"ObjectDamaged"}
    assert all("is a damaged copy" in each.problem for each in refused)
    assert world.run(recheck=True).refused == ()
    assert content(world.mirror) == content(world.primary)


@pytest.mark.parametrize("length", [0, 40, 70, 200])
def test_a_copy_of_which_the_beginning_alone_is_left_is_damaged_and_has_not_parted(
    world: World, length: int
) -> None:
    name = layout.pack(world.take_full().backup, 0)
    world.run()
    world.mirror.delete(layout.manifest(world.manifests[0].backup))
    replace(world.mirror, name, world.primary.get(name)[:length])
    assert [each.kind for each in world.run().refused] == ["ObjectDamaged"]
    assert world.run(recheck=True).refused == ()


@pytest.mark.parametrize("who", ["mirror", "primary"])
def test_a_place_that_was_away_is_told_once_and_the_mirror_catches_up(world: World, who: str) -> None:
    filled(world)
    away = Away(world.mirror if who == "mirror" else world.primary)
    with world.running(**{who: away}):
        wait_for(lambda: content(world.mirror) == content(world.primary))
        away.is_away.set()
        wait_for(lambda: any(each.kind == "store" for each in world.news))
        world.take_full()
        world.archive_file(3)
        away.is_away.clear()
        wait_for(lambda: any(each.kind == "recovered" for each in world.news))
        wait_for(lambda: ShardArchive(world.mirrored, "s1").file(world.files[2].name).end > 0)
    world.run()
    assert content(world.mirror) == content(world.primary)
    assert {each.kind for each in world.news} == {"store", "recovered"}


def test_many_who_wait_are_told_of_once(world: World) -> None:
    refusals = Refusals(world.news.append, Journal(None), world.clock)
    for scope in ("backups", "s1", "backups"):
        refusals.away(scope, StoreUnreachable("no answer"))
    for scope in ("s2", "s1", "backups", "s2"):
        refusals.back(scope)
    assert [each.kind for each in world.news] == ["store", "recovered"]


def test_a_place_that_is_away_at_the_start_is_waited_for(world: World) -> None:
    filled(world)
    away = Away(world.mirror)
    away.is_away.set()
    with world.running(mirror=away):
        wait_for(lambda: any(each.kind == "store" for each in world.news))
        away.is_away.clear()
        wait_for(lambda: content(world.mirror) == content(world.primary))
    assert [each.kind for each in world.news] == ["store", "recovered"]


def test_what_was_put_right_is_copied_and_no_longer_refused(world: World) -> None:
    made = world.archive_file(1)
    ref = ShardArchive(world.repository, "s1").file(made.name).segments[1]
    name = layout.segment("s1", ref.name)
    sound = world.primary.get(name)
    replace(world.primary, name, flipped(sound, 900))
    refusals = Refusals(world.news.append, Journal(None), world.clock)
    with refusals.looking("archive"):
        refusals.refuse("archive", "s1", name, ObjectDamaged("it is damaged"))
    assert [each.name for each in refusals.all()] == [name]
    with refusals.looking("archive"):
        pass
    assert refusals.all() == ()
    assert [each.name for each in world.run().refused] == [name]
    replace(world.primary, name, sound)
    assert world.run().refused == ()
    assert ShardArchive(world.mirrored, "s1").file(made.name).end == len(made.data)


def test_a_run_that_gave_up_is_remembered_until_one_gets_through(world: World) -> None:
    filled(world)
    world.run()
    away = Away(world.mirror)
    journal = Journal(world.folder / "journal.json")
    refusals = Refusals(world.news.append, journal, world.clock)
    refusals.gave_up(StoreUnreachable("no answer"))
    with refusals.looking("backups"):
        pass
    refusals.back("backups")
    assert journal.failed() == [EVERYTHING]
    assert world.run(mirror=away).refused == ()
    assert journal.failed() == []


class Away(ToldStore):
    """Answers nothing while it is away."""

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__(inner)
        self.is_away = threading.Event()

    def before(self, operation: str, key: str) -> None:
        if self.is_away.is_set():
            raise StoreUnreachable(f"{operation} {key}: no answer")


def wait_for(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.02)
