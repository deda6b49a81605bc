"""Chains and fulls that refer: how they are written, followed, listed and verified, and how they break."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from chained import Donor, Taken, begin_link, by_overlay, oldest_first, overlaid, take_link, take_referring
from sealed_backups import TickingClock, differing, facts, flipped, names, replace, sample, take

from fleet.blocks import Extent, Stage
from fleet.errors import KeyUnusable, ObjectDamaged, ObjectMissing, ProtocolViolation
from fleet.parallelism import Parallelism
from repository import layout
from repository.catalog import Catalog
from repository.chain import Chain, read_chain
from repository.codec import encode_document
from repository.index import PackRef, Record
from repository.manifest import Base, FileEntry, Manifest
from repository.overlay import Overlay, PageMap
from repository.reader import BackupReader
from repository.repository import Repository
from repository.seal import Identity, ObjectKind, seal_object
from repository.stores.memory import MemoryStore
from repository.verify import verify_backup
from repository.writer import begin_backup


@pytest.fixture
def donor() -> Donor:
    made = Donor(random.Random(4))
    for space_id, pages in ((0, 30), (5, 50), (6, 20)):
        made.create(space_id, pages)
    return made


@pytest.fixture
def links(repository: Repository, ticking: TickingClock, donor: Donor) -> list[Taken]:
    """A full, two incrementals on it, and a full that refers to them."""
    taken = [take_link(repository, ticking, donor)]
    for step in (take_link, take_link, take_referring):
        for page in range(3):
            donor.change(donor.files[1], 7 * page + len(taken))
        donor.change(donor.files[0], 30 + len(taken))
        taken.append(step(repository, ticking, donor, taken[-1].manifest))
    return taken


def seal_anew(repository: Repository, store: MemoryStore, manifest: Manifest, **changes: object) -> Manifest:
    """Put another manifest in its place, as no writer would."""
    changed = manifest.model_copy(update=changes)
    name = layout.manifest(manifest.backup)
    identity = Identity(repository.repository_id, name, ObjectKind.MANIFEST)
    document = encode_document(changed.model_dump_json().encode(), 1)
    replace(store, name, seal_object(identity, repository.backup_key(manifest.backup), document))
    return changed


def test_a_chain_goes_down_to_a_full(repository: Repository, links: list[Taken]) -> None:
    full, first, second, referring = (each.manifest for each in links)
    catalog = Catalog(repository)
    assert read_chain(catalog, full).links == (full,)
    assert read_chain(catalog, referring).links == (referring,)
    chain = read_chain(catalog, second)
    assert chain.newest == second
    assert chain.links == (second, first, full)
    assert [part.number for part in chain.parts] == list(range(len(chain.parts)))
    assert [part.link for part in chain.parts] == sorted(part.link for part in chain.parts)
    assert [part.reference for part in chain.parts] == [*second.index, *first.index, *full.index]


def test_links_share_what_is_the_same_in_their_file_tables(
    repository: Repository, links: list[Taken]
) -> None:
    chain = read_chain(Catalog(repository), links[2].manifest)
    plain = [next(entry for entry in link.files if entry.name == "ib_buffer_pool") for link in chain.links]
    assert plain[0] is plain[1] is plain[2]


def test_the_manifest_says_what_it_takes_to_read_it(links: list[Taken]) -> None:
    full, first, second, referring = (each.manifest for each in links)
    assert [each.kind for each in (full, first, second, referring)] == [
        "full",
        "incremental",
        "incremental",
        "full",
    ]
    assert (full.needs.read, full.refers_to, full.base) == ((), (), None)
    assert (first.needs.read, first.refers_to) == (("incremental",), ())
    assert first.base == Base(label=full.label, checkpoint_lsn=full.lsn.checkpoint)
    assert (referring.needs.read, referring.base, referring.built_on) == (("referring",), None, second.label)
    assert [each.label for each in referring.refers_to] == [full.label, first.label, second.label]
    pages = sum(entry.size for entry in referring.files if entry.space_id is not None)
    assert 0.9 * pages < referring.sizes.referred_bytes < pages
    assert referring.sizes.stored_bytes < 0.5 * full.sizes.stored_bytes


def test_passes_go_from_the_newest_link_to_the_oldest(repository: Repository, links: list[Taken]) -> None:
    overlay = Overlay(read_chain(Catalog(repository), links[2].manifest))
    file, page, redo = Stage
    assert [(each.link, each.stage) for each in overlay.passes] == [
        (0, redo),
        (0, page),
        (0, file),
        (1, page),
        (1, file),
        (2, page),
        (2, file),
    ]


def test_a_subset_of_the_files_is_read_alone(repository: Repository, links: list[Taken]) -> None:
    manifest = links[2].manifest
    wanted = next(entry for entry in manifest.files if entry.space_id == 5)
    found = by_overlay(repository, manifest, [wanted.number])
    assert found == {wanted.name: links[2].content[wanted.name]}


def test_what_is_claimed_already_is_not_yielded(repository: Repository, links: list[Taken]) -> None:
    chain = read_chain(Catalog(repository), links[2].manifest)
    wanted = {entry.number: entry for entry in chain.newest.files if entry.space_id == 5}
    claimed = PageMap()
    claimed.claim((5, 0), 1024, 3 * 1024, 40 * 1024)
    found = [
        record
        for _, records in overlaid(repository, chain, Overlay(chain, wanted, claimed))
        for record in records
    ]
    covered = {at for record in found for at in range(record.offset, record.offset + record.length, 1024)}
    assert covered == {at * 1024 for at in (*range(3), *range(43, 50))}
    assert all(record.digest == b"" or record.length % 1024 == 0 for record in found)
    assert any(record.digest == b"" for record in found)


@pytest.mark.parametrize(
    "changes", [{"size": 10 * 1024}, {"size": 90 * 1024, "number": 77, "name": "new.ibd"}]
)
def test_files_of_a_backup_that_builds_on_it_have_its_numbers_and_sizes(
    repository: Repository, links: list[Taken], changes: dict[str, object]
) -> None:
    chain = read_chain(Catalog(repository), links[2].manifest)
    (old,) = (entry for entry in chain.newest.files if entry.space_id == 5)
    new = old.model_copy(update=changes)
    overlay = Overlay(chain, {new.number: new})
    found = [record for _, records in overlaid(repository, chain, overlay) for record in records]
    assert {record.file for record in found} == {new.number}
    assert sum(record.length for record in found) == min(new.size, old.size)
    assert list(overlay.gaps(new.number)) == (
        [(old.size, new.size - old.size)] if new.size > old.size else []
    )


def test_a_missing_base_is_named_with_the_backup_that_needs_it(
    repository: Repository, store: MemoryStore, links: list[Taken]
) -> None:
    full, first, second, _ = (each.manifest for each in links)
    kept = store.get(layout.manifest(full.backup))
    store.delete(layout.manifest(full.backup))
    with pytest.raises(ObjectMissing, match=rf"{full.backup}, the base of {first.backup}, is not there"):
        read_chain(Catalog(repository), second)
    replace(store, layout.manifest(full.backup), flipped(kept, 8 * 90))
    with pytest.raises(ObjectDamaged, match=rf"{full.backup}, the base of {first.backup}, cannot be read: "):
        read_chain(Catalog(repository), second)
    replace(store, layout.manifest(full.backup), kept)
    store.delete(layout.wrapped_key(full.backup, "k1"))
    with pytest.raises(ObjectMissing, match=rf"{full.backup}, .* is not there: .* has no wrapped key"):
        read_chain(Catalog(repository), second)


def test_a_base_whose_key_is_not_at_hand_is_named(
    repository: Repository, store: MemoryStore, links: list[Taken]
) -> None:
    full, _, second, _ = (each.manifest for each in links)
    name = layout.wrapped_key(full.backup, "k1")
    replace(store, name.replace("k1", "k2"), store.get(name))
    store.delete(name)
    with pytest.raises(KeyUnusable, match=rf"{full.backup}, .* cannot be read: .* is wrapped by k2"):
        read_chain(Catalog(repository), second)


def test_a_base_that_is_another_than_it_was_is_damage(
    repository: Repository, store: MemoryStore, links: list[Taken]
) -> None:
    full, first, second, _ = (each.manifest for each in links)
    base = Base(label=full.label, checkpoint_lsn=full.lsn.checkpoint + 1)
    seal_anew(repository, store, first, base=base)
    with pytest.raises(ObjectDamaged, match=rf"checkpoint LSN {base.checkpoint_lsn}, but that backup has"):
        read_chain(Catalog(repository), second)
    survey = Catalog(repository).survey()
    assert [bool(each.broken) for each in survey.backups] == [False, True, True, False]


def test_a_chain_without_end_is_damage(
    repository: Repository, store: MemoryStore, links: list[Taken]
) -> None:
    first, second = links[1].manifest, links[2].manifest
    seal_anew(repository, store, first, base=Base(label=second.label, checkpoint_lsn=second.lsn.checkpoint))
    with pytest.raises(ObjectDamaged, match=r"has no end: .* after 2 links"):
        read_chain(Catalog(repository), second)
    survey = Catalog(repository).survey()
    assert "has no end" in (survey.backups[2].broken or "")


def test_a_page_size_that_changes_is_damage(
    repository: Repository, store: MemoryStore, links: list[Taken]
) -> None:
    full, _, second, _ = (each.manifest for each in links)
    table = tuple(
        entry.model_copy(update={"page_size": 2048}) if entry.space_id == 5 else entry for entry in full.files
    )
    seal_anew(repository, store, full, files=table)
    with pytest.raises(ObjectDamaged, match=r"tablespace 5 has pages of 2048 bytes in .*full, and of 1024"):
        read_chain(Catalog(repository), second)


def test_the_same_file_of_a_tablespace_cannot_stand_twice_in_a_link(links: list[Taken]) -> None:
    full = links[0].manifest
    twin = FileEntry(number=500, name="twin.ibd", size=0, space_id=5, page_size=1024)
    with pytest.raises(ObjectDamaged, match=r"twin\.ibd are the same file of one tablespace"):
        Overlay(Chain((full.model_copy(update={"files": (*full.files, twin)}),)))


def test_a_piece_of_a_page_is_damage_in_a_chain_and_fine_in_a_full(
    repository: Repository, ticking: TickingClock, donor: Donor
) -> None:
    """Early fulls may have such records; of a chain nobody could tell whose the rest of the page is."""
    full = take(repository, ticking, sample())
    assert differing(by_overlay(repository, full), sample().content()) == []
    with begin_link(repository, ticking, "incremental") as writer:
        lane = writer.open_lane()
        lane.add(Stage.FILE, (Extent(2, 0, 10),), memoryview(bytes(10)))
        lane.close()
        base = Base(label=full.label, checkpoint_lsn=full.lsn.checkpoint)
        link = writer.complete(facts(full.files, base=base))
    with pytest.raises(ObjectDamaged, match="file 2 does not hold whole pages"):
        by_overlay(repository, link)


def test_a_record_beyond_the_end_of_its_file_is_damage(
    repository: Repository, store: MemoryStore, links: list[Taken]
) -> None:
    full, _, second, _ = (each.manifest for each in links)
    table = tuple(
        entry.model_copy(update={"size": 1024}) if entry.space_id == 6 else entry for entry in full.files
    )
    seal_anew(repository, store, full, files=table)
    with pytest.raises(ObjectDamaged, match="a record lies beyond the end of file"):
        by_overlay(repository, second)


def test_a_list_tells_what_each_backup_builds_on(repository: Repository, links: list[Taken]) -> None:
    full, first, second, referring = Catalog(repository).backups()
    assert (full.base, full.built_on, full.refers) == (None, None, False)
    assert (first.base, second.base) == (full.label, first.label)
    assert (referring.base, referring.built_on, referring.refers) == (None, second.label, True)
    assert [each.broken for each in (full, first, second, referring)] == [None] * 4


def test_a_list_tells_which_chains_are_broken(
    repository: Repository, store: MemoryStore, ticking: TickingClock, links: list[Taken]
) -> None:
    full, first, second, referring = (each.manifest for each in links)
    other = take(repository, ticking, sample())
    kept = store.get(layout.manifest(first.backup))
    store.delete(layout.manifest(first.backup))
    survey = Catalog(repository).survey("s1")
    assert {each.label: each.broken for each in survey.backups} == {
        full.label: None,
        second.label: f"{first.backup}, which {second.backup} needs, is not there",
        referring.label: f"{first.backup}, which {referring.backup} needs, is not there",
        other.label: None,
    }
    replace(store, layout.manifest(first.backup), flipped(kept, 8 * 90))
    survey = Catalog(repository).survey("s1")
    assert [each.label for each in survey.unreadable] == [first.label]
    reasons = [each.broken for each in survey.backups if each.broken]
    assert len(reasons) == 2
    assert all(f"{first.backup}, which s1/" in each and "cannot be read" in each for each in reasons)


def test_a_full_can_refer_to_a_backup_of_another_shard(
    repository: Repository, store: MemoryStore, ticking: TickingClock, links: list[Taken]
) -> None:
    full = links[0].manifest
    chain = read_chain(Catalog(repository), full)
    with begin_link(repository, ticking, "full", shard="s2") as writer:
        for pack, records in overlaid(repository, chain, Overlay(chain)):
            writer.refer(pack, records)
        made = writer.complete(facts(full.files))
    assert (made.sizes.stored_bytes > 0, made.sizes.packs, len(made.index) > 0) == (True, 0, True)
    assert differing(by_overlay(repository, made), dict(links[0].content)) == []
    assert [each.broken for each in Catalog(repository).survey("s2").backups] == [None]
    store.delete(layout.manifest(full.backup))
    (broken,) = Catalog(repository).survey("s2").backups
    assert broken.broken == f"{full.backup}, which {made.backup} needs, is not there"


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_base_that_is_removed_while_the_backup_runs_ends_it(
    repository: Repository,
    store: MemoryStore,
    ticking: TickingClock,
    donor: Donor,
    links: list[Taken],
    number: int,
) -> None:
    gone = layout.manifest(links[number].manifest.backup)
    kept = store.get(gone)
    store.delete(gone)
    before = names(store)
    second = links[2].manifest
    if number == 2:
        with pytest.raises(ObjectMissing, match=r"s1/.*-incremental, which .* builds on, was removed while"):
            take_link(repository, ticking, donor, second)
    else:
        # A full that refers needs every backup whose packs it names.
        chain = Chain(tuple(each.manifest for each in (links[2], links[1], links[0])))
        with pytest.raises(ObjectMissing, match=r"which .* builds on, was removed while the backup ran"):
            take_referring(repository, ticking, donor, second, chain=chain)
    assert names(store) == before
    replace(store, gone, kept)


def test_a_writer_refers_in_fulls_only_to_others_and_after_its_own_data(
    repository: Repository, ticking: TickingClock, links: list[Taken]
) -> None:
    full = links[0].manifest
    pack, record = some_record(repository, full)
    with (
        begin_link(repository, ticking, "incremental") as writer,
        pytest.raises(ValueError, match="refer to"),
    ):
        writer.refer(pack, [record])
    with begin_link(repository, ticking, "full") as writer:
        lane = writer.open_lane()
        with pytest.raises(ValueError, match="a lane is still open"):
            writer.refer(pack, [record])
        lane.close()
        with pytest.raises(ValueError, match="refer to"):
            writer.refer(pack.model_copy(update={"label": writer.label}), [record])


def test_more_than_a_file_can_hold_is_refused_when_it_is_referred_to(
    repository: Repository, ticking: TickingClock, links: list[Taken]
) -> None:
    full = links[0].manifest
    pack, record = some_record(repository, full)
    size = next(entry.size for entry in full.files if entry.number == record.file)
    with begin_link(repository, ticking, "full") as writer:
        writer.refer(pack, [record._replace(offset=size)])
        with pytest.raises(ProtocolViolation, match="data for it arrived up to byte"):
            writer.complete(facts(full.files))


def some_record(repository: Repository, manifest: Manifest) -> tuple[PackRef, Record]:
    for part in BackupReader(repository, manifest).index_parts():
        for record in part.records():
            if record.file > 1 and record.file != 9999:
                return part.packs[record.pack], record
    raise AssertionError("the backup holds no page")


def test_a_pack_that_is_named_again_stands_once_in_a_part(
    repository: Repository, ticking: TickingClock, links: list[Taken]
) -> None:
    full = links[0].manifest
    pack, record = some_record(repository, full)
    half = record.length // 2
    with begin_link(repository, ticking, "full") as writer:
        writer.refer(pack, [record._replace(length=half, digest=b"")])
        rest = {"offset": record.offset + half, "length": record.length - half, "skip": record.skip + half}
        writer.refer(pack, [record._replace(**rest, digest=b"")])
        made = writer.complete(facts(full.files, built_on=full.label))
    (part,) = BackupReader(repository, made).index_parts()
    assert part.packs == (pack,)
    assert [(each.length, each.digest) for each in part.records()] == [
        (half, b""),
        (record.length - half, b""),
    ]


def test_a_label_can_be_of_an_earlier_second(repository: Repository, ticking: TickingClock) -> None:
    at = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    labels: list[str] = []
    for _ in range(2):
        with begin_backup(
            repository,
            "s1",
            "full",
            parallelism=Parallelism(upload_threads=1),
            pack_size=9999,
            level=1,
            clock=ticking,
            at=at,
        ) as writer:
            made = writer.complete(facts(()), unchanged_bytes=7, skipped_bytes=9)
        labels.append(made.label)
        assert made.timings.started_at.month == 3
        assert (made.sizes.received_bytes, made.sizes.unchanged_bytes, made.sizes.skipped_bytes) == (7, 7, 9)
    assert labels == ["20260203T040506Z-full", "20260203T040507Z-full"]


def test_links_of_every_kind_verify(repository: Repository, store: MemoryStore, links: list[Taken]) -> None:
    for each in links:
        report = verify_backup(repository, each.manifest)
        assert report.damages == ()
        assert report.records == each.manifest.sizes.records
    names_of_base = {"manifests"} | {layout.manifest(each.manifest.backup) for each in links}
    store.delete(layout.manifest(links[0].manifest.backup))
    for each in links[1:]:
        (damage,) = verify_backup(repository, each.manifest).damages
        assert damage.name in names_of_base
        assert damage.name == layout.manifest(links[0].manifest.backup)


def test_damage_in_a_pack_of_another_backup_is_found_where_it_is_referred_to(
    repository: Repository, store: MemoryStore, links: list[Taken]
) -> None:
    full, first, _, referring = (each.manifest for each in links)
    for pack in names(store, f"data/s1/{full.label}/p"):
        kept = store.get(pack)
        replace(store, pack, flipped(kept, 8 * (len(kept) // 2)))
        named = {ref.name for part in BackupReader(repository, referring).index_parts() for ref in part.packs}
        found = {damage.name for damage in verify_backup(repository, referring).damages}
        assert found <= {pack}
        assert not found or pack in named
        # An incremental is sound if its own objects are, and the manifests that it builds on.
        assert verify_backup(repository, first).damages == ()
        store.delete(pack)
        if pack in named:
            assert {damage.name for damage in verify_backup(repository, referring).damages} == {pack}
        replace(store, pack, kept)


@pytest.mark.parametrize("changes", [{"offset": 1}, {"skip": 1}, {"length": 1}, {"digest": bytes(15) + b"1"}])
def test_a_record_that_refers_to_other_bytes_is_damage(
    repository: Repository, ticking: TickingClock, links: list[Taken], changes: dict[str, int | bytes]
) -> None:
    full = links[0].manifest
    pack, record = some_record(repository, full)
    wrong = {
        name: value if isinstance(value, bytes) else getattr(record, name) + 1024 * value
        for name, value in changes.items()
    }
    with begin_link(repository, ticking, "full") as writer:
        writer.refer(pack, [record._replace(**wrong)])
        files = [entry.model_copy(update={"size": 10**6}) for entry in full.files]
        made = writer.complete(facts(tuple(files)))
    (damage,) = verify_backup(repository, made).damages
    assert damage.name == pack.name


def test_the_plain_reading_of_the_format_agrees(repository: Repository, links: list[Taken]) -> None:
    for each in links:
        assert differing(oldest_first(repository, each.manifest), dict(each.content)) == []
        assert differing(by_overlay(repository, each.manifest), dict(each.content)) == []
