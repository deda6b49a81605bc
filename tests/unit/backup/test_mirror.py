"""A mirror holds the same objects, is readable at every moment, and never takes what is damaged or parted."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from backup.repack import repack
from repository import layout
from repository.archive.archive import ShardArchive
from repository.catalog import Catalog
from repository.chain import read_chain
from repository.damage_notes import DamageNotes
from repository.foundations import check_whole
from repository.holds import Holds
from repository.manifest import Manifest, Proof, ProofCheck
from repository.marks import Marks
from repository.stores.interface import LockTerms
from repository.stores.memory import MemoryStore
from tests.unit.backup.mirrored import World, assert_readable, content, filled, transactions
from tests.unit.repository.chained import by_overlay
from tests.unit.repository.sealed_backups import UUID, ToldStore, names


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.made(tmp_path)


def test_the_mirror_of_an_empty_repository_is_one(world: World) -> None:
    outcome = world.run()
    assert (outcome.backups, outcome.refused) == ((), ())
    assert content(world.mirror) == content(world.primary)


def test_every_object_is_copied_as_it_is(world: World) -> None:
    filled(world)
    outcome = world.run()
    assert content(world.mirror) == content(world.primary)
    assert [each.label for each in outcome.backups] == [each.label for each in world.manifests]
    assert outcome.bytes == sum(map(len, content(world.mirror).values())) - description_bytes(world)
    assert assert_readable(world) == [each.label for each in world.manifests]
    assert transactions(world.mirrored) == transactions(world.repository)


def description_bytes(world: World) -> int:
    """What is copied when the places are opened, before a run begins."""
    first = (layout.DESCRIPTION, layout.RESCUE_GUIDE, layout.RESCUE_PROGRAM)
    return sum(
        len(data) for key, data in content(world.primary).items() if key.startswith((*first, "keyring/"))
    )


def test_a_second_run_copies_nothing(world: World) -> None:
    filled(world).run()
    assert (world.run().objects, world.run().backups) == (0, ())


def test_what_came_since_is_copied(world: World) -> None:
    filled(world).run()
    world.take_incremental(world.manifests[-1])
    world.archive_file(3)
    world.run()
    assert content(world.mirror) == content(world.primary)


class Ordered(ToldStore):
    """Notes what is put, in order."""

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__(inner)
        self.order: list[str] = []

    def after(self, operation: str, key: str) -> None:
        if operation == "put":
            self.order.append(key)


def test_data_comes_before_what_names_it(world: World) -> None:
    filled(world)
    mirror = Ordered(world.mirror)
    world.run(mirror=mirror)
    at = {key: number for number, key in enumerate(mirror.order)}
    for manifest in world.manifests:
        mine = at[layout.manifest(manifest.backup)]
        packs = [key for key in at if key.startswith(layout.packs_and_parts(manifest.backup))]
        keys = [key for key in at if key.startswith(layout.wrapped_keys(manifest.backup))]
        assert packs and keys
        assert max(at[key] for key in keys) < min(at[key] for key in packs)
        assert max(at[key] for key in packs) < mine
        assert all(at[layout.manifest(need)] < mine for need in manifest.foundations())
    segments = [key for key in mirror.order if layout.parse_segment(key)]
    assert at[layout.epoch_opened("s1", 1)] < at[segments[0]]
    for made in world.files:
        ours = [key for key in segments if key.startswith(layout.binlog("s1", made.name))]
        assert ours == sorted(ours)


def test_what_is_there_is_not_copied_again(world: World) -> None:
    full = world.take_full()
    whole = MemoryStore()
    world.run(mirror=whole)
    for info in whole.list(""):
        if not info.key.startswith(("manifests/", "leases/")):
            world.mirror.put(info.key, whole.get(info.key))
    mirror = Ordered(world.mirror)
    world.run(mirror=mirror)
    assert [key for key in mirror.order if key.startswith(("data/", "manifests/"))] == [
        layout.manifest(full.backup)
    ]


def test_composed_segments_take_the_place_of_their_pieces_there_too(world: World) -> None:
    made = world.archive_file(1, pieces=6)
    world.run()
    assert len(names(world.mirror, "archive/s1/000001/binlogs/")) > 3
    ShardArchive(world.repository, "s1", level=1).compose(made.name)
    world.run()
    assert content(world.mirror) == content(world.primary)
    assert_readable(world)


def test_what_the_policy_of_the_mirror_would_not_keep_is_not_copied(world: World) -> None:
    old = world.take_full()
    world.clock.sleep(40 * 86_400)
    new = [world.take_full(), world.take_full()]
    world.run(retention={"days": 7.0, "minimum_fulls": 1})
    # The one before leads to the first points of the window.
    assert assert_readable(world) == [old.label, *(each.label for each in new)]
    world.mirror = MemoryStore()
    world.clock.sleep(40 * 86_400)
    world.take_full()
    world.run(retention={"days": 7.0, "minimum_fulls": 1})
    assert assert_readable(world) == [new[1].label, world.manifests[-1].label]


def test_what_retention_deletes_in_the_repository_stays_in_the_mirror(world: World) -> None:
    full = world.take_full()
    world.take_full()
    world.run()
    world.primary.delete(layout.manifest(full.backup))
    for name in names(world.primary, layout.packs_and_parts(full.backup)):
        world.primary.delete(name)
    world.run()
    assert assert_readable(world) == [each.label for each in world.manifests]


def test_binlogs_that_the_mirror_would_let_go_are_not_copied(world: World) -> None:
    # The backup holds transactions 1 to 5 for sure, those of the first file.
    made = [world.archive_file(number, uuid=UUID) for number in (1, 2, 3)]
    world.clock.sleep(100 * 86_400)
    world.take_full()
    world.run(retention={"days": 7.0})
    assert not ShardArchive(world.mirrored, "s1").file(made[0].name).parts
    assert ShardArchive(world.mirrored, "s1").file(made[1].name).end == len(made[1].data)
    world.run(retention={"days": 365.0})
    assert ShardArchive(world.mirrored, "s1").file(made[0].name).end == len(made[0].data)
    assert world.run(retention={"days": 7.0}).objects == 0


def test_a_backup_that_the_mirror_is_pruning_is_not_brought_back(world: World) -> None:
    full = world.take_full()
    world.run()
    world.mirror.delete(layout.manifest(full.backup))
    world.mirror.put(layout.pruning_mark(full.backup), b'{"format": 1}')
    world.run()
    assert layout.manifest(full.backup) not in content(world.mirror)
    world.mirror.delete(layout.pruning_mark(full.backup))
    world.run()
    assert assert_readable(world) == [full.label]


def test_nothing_is_built_on_what_the_mirror_is_about_to_prune(world: World) -> None:
    full = world.take_full()
    world.run()
    world.mirror.put(layout.pruning_mark(full.backup), b'{"format": 1}')
    incremental = world.take_incremental(full)
    assert (world.run().backups, world.run().refused) == ((), ())
    world.mirror.delete(layout.pruning_mark(full.backup))
    assert [each.label for each in world.run().backups] == [incremental.label]


def test_what_is_held_in_the_repository_is_copied_and_held_in_the_mirror_until_the_same_date(
    world: World,
) -> None:
    short = {"days": 7.0, "minimum_fulls": 1}
    old = world.take_full()
    link = world.take_incremental(old)
    unheard = world.take_full()
    world.clock.sleep(60 * 86_400)
    new = [world.take_full(), world.take_full()]
    until = world.clock.now() + timedelta(days=90)
    placed = Holds(world.repository).place(link.backup, "audit", until, now=world.clock.now(), by="me")
    ended = world.clock.now() + timedelta(seconds=1)
    Holds(world.repository).place(new[1].backup, "short", ended, now=world.clock.now(), by="me")
    world.clock.sleep(20 * 86_400)
    assert world.run(retention=short).refused == ()
    assert assert_readable(world) == [old.label, link.label, new[1].label]
    (held,) = Holds(world.mirrored).all()
    assert (held.backup, held.token, held.until) == (link.backup, placed.token, until)
    assert unheard.label not in assert_readable(world)
    assert world.run(retention=short).objects == 0
    # Whoever could release it in the repository must not reach the mirror so.
    Holds(world.repository).release(link.backup)
    world.run(retention=short)
    assert [each.token for each in Holds(world.mirrored).all()] == [placed.token]


def test_a_hold_that_is_placed_later_follows_its_backup(world: World) -> None:
    full = world.take_full()
    world.run()
    now = world.clock.now()
    Holds(world.repository).place(full.backup, "audit", now + timedelta(days=9), now=now, by="me")
    assert (world.run().objects, world.run().objects) == (1, 0)
    assert [each.reason for each in Holds(world.mirrored).in_force(now)] == ["audit"]


def test_marks_leases_turns_and_outcomes_are_each_places_own(world: World) -> None:
    full = world.take_full()
    world.primary.put(layout.turn("shard", "s1", 4), b"{}")
    world.primary.put(layout.outcome("shard", "s1", "full", world.clock.now(), "0" * 16), b"{}")
    world.primary.put(layout.pruning_mark(full.backup), b'{"format": 1}')
    world.run()
    assert not names(world.mirror, "expired/")
    assert not names(world.mirror, "leases/")
    assert not names(world.mirror, "turns/")
    assert not names(world.mirror, "outcomes/")
    assert not names(world.primary, "leases/")


def test_findings_are_each_places_own(world: World) -> None:
    full = world.take_full()
    world.run()
    here, there = (DamageNotes(each) for each in (world.repository, world.mirrored))
    here.put(layout.pack(full.backup, 0), "frame 0 does not unseal")
    there.put(layout.pack(full.backup, 1), "frame 0 does not unseal")
    world.run()
    assert [each.object for each in here.all()] == [layout.pack(full.backup, 0)]
    assert [each.object for each in there.all()] == [layout.pack(full.backup, 1)]


def test_wrapped_keys_of_a_rotation_and_proofs_follow_later(world: World) -> None:
    full = world.take_full()
    world.run()
    later = layout.wrapped_key(full.backup, "k2")
    world.primary.put(later, world.primary.get(layout.wrapped_key(full.backup, "k1")).replace(b"k1", b"k2"))
    proof = Proof(
        repository_id=full.repository_id,
        shard=full.shard,
        label=full.label,
        proven=True,
        gtid_executed=f"{UUID}:1-7",
        server_version="9.7.4",
        checks=(ProofCheck(name="gtid set", passed=True),),
        finished_at=world.clock.now(),
        created_by="backstay",
    )
    stored = Catalog(world.repository).record_proof(full, proof)
    world.run()
    assert {later, stored} <= content(world.mirror).keys()
    assert Catalog(world.mirrored).backups("s1")[0].proven


def test_in_a_mirror_that_locks_what_a_backup_needs_is_locked_as_long_as_it(world: World) -> None:
    world.mirror = MemoryStore(world.clock, lock=LockTerms("compliance", timedelta(days=10)))
    full = world.take_full()
    world.run()
    first = world.mirror.locked_until(layout.manifest(full.backup))
    world.clock.sleep(5 * 86_400)
    incremental = world.take_incremental(full)
    world.run()
    last = world.mirror.locked_until(layout.pack(incremental.backup, 0))
    for name in (layout.manifest(full.backup), layout.pack(full.backup, 0)):
        until = world.mirror.locked_until(name)
        assert first and last and until
        assert first < last <= until


def reduced(world: World, expired: Manifest, kept: Manifest) -> None:
    """What prune does to a backup of which another needs some pages."""
    marks = Marks(world.repository)
    marks.put(expired.backup, "31 days old")
    marks.begin_reducing(expired.backup)
    marks.set_reduced(expired.backup)
    assert repack(world.repository, expired, [kept], below=1.01).reduced


def test_what_is_left_of_an_expired_backup_comes_with_its_mark_and_serves_there_too(world: World) -> None:
    expired = world.take_full()
    kept = world.take_referring(expired)
    reduced(world, expired, kept)
    assert world.run().refused == ()
    manifest = Catalog(world.mirrored).manifest("s1")
    assert manifest == kept
    check_whole(world.mirrored, read_chain(Catalog(world.mirrored), manifest))
    assert by_overlay(world.mirrored, manifest) == by_overlay(world.repository, manifest)
    assert Marks(world.mirrored).is_reduced(expired.backup)
    assert list(Marks(world.mirrored).all()) == [expired.backup]
    assert world.run().backups == ()


def test_what_shrinks_in_the_repository_stays_whole_in_the_mirror(world: World) -> None:
    expired = world.take_full()
    kept = world.take_referring(expired)
    world.run()
    reduced(world, expired, kept)
    assert world.run().refused == ()
    for manifest in (expired, kept):
        check_whole(world.mirrored, read_chain(Catalog(world.mirrored), manifest))
    assert not Marks(world.mirrored).all()
