"""Pieces become wholes, and no byte is ever without a segment that can be read."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from archived_binlogs import SOURCE, MadeFile, binlog, facts, open_first
from hypothesis import given, settings
from hypothesis import strategies as st
from sealed_backups import DyingStore, TickingClock, ToldStore, file_keyring, flipped, names, replace

from fleet.errors import ObjectDamaged, SourceDiverged, StoreUnreachable
from fleet.gtid import GtidSet
from repository import layout
from repository.archive.archive import ShardArchive
from repository.archive.compose import groups
from repository.archive.cover import Part, SegmentRef, cover
from repository.archive.line import Line
from repository.keys import Keyring
from repository.layout import SegmentName
from repository.repository import Repository
from repository.stores.interface import LockTerms
from repository.stores.memory import MemoryStore

NAME = binlog()


def made_file(seed: int = 1) -> MadeFile:
    return MadeFile(NAME, GtidSet.parse(f"{SOURCE}:1-5"), seed).run(SOURCE, 6, 40).rotate()


def check_readable(archive: ShardArchive, made: MadeFile) -> None:
    """Every byte and every transaction, by the public ways."""
    file = archive.file(made.name)
    assert (file.end, file.holes) == (len(made.data), ())
    data = b"".join(
        segment.data[piece.first - segment.header.start : piece.last - segment.header.start]
        for part in file.parts
        for piece, segment in archive.read_part(part)
    )
    assert data == bytes(made.data)
    assert [entry.transaction for entry in Line.of(archive).transactions()] == made.transactions


def segments(store: MemoryStore) -> list[str]:
    return names(store, "archive/s1/000001/binlogs/")


def test_a_closed_file_becomes_one_object(archive: ShardArchive, store: MemoryStore) -> None:
    made = made_file()
    made.put(archive, made.cuts(7), "rotate")
    before = [archive.header(ref) for ref in archive.file(NAME).segments]
    assert archive.compose(NAME) == len(made.data)
    (ref,) = archive.file(NAME).segments
    assert segments(store) == [layout.segment("s1", ref.name)]
    header = archive.header(ref)
    assert (header.closed, header.transactions) == ("rotate", 35)
    assert (header.gtids_before, header.previous_gtids) == (before[0].gtids_before, before[0].previous_gtids)
    check_readable(archive, made)
    assert archive.compose(NAME) == 0


def test_a_file_that_grows_waits_for_enough_pieces(archive: ShardArchive, store: MemoryStore) -> None:
    made = made_file()
    cuts = made.cuts(12)
    made.put(archive, cuts[:5])
    assert archive.compose(NAME) == 0
    made.put(archive, cuts[4:])
    assert archive.compose(NAME, min_pieces=12) == len(made.data)
    assert archive.compose(NAME) == 0
    check_readable(archive, made)


def test_a_file_that_is_over_and_does_not_say_so_is_composed_when_told(
    archive: ShardArchive,
) -> None:
    made = made_file()
    made.put(archive, made.cuts(3))
    assert archive.compose(NAME) == 0
    assert archive.compose(NAME, finished=True) == len(made.data)
    check_readable(archive, made)


def test_large_files_become_objects_of_the_wanted_size(archive: ShardArchive) -> None:
    made = made_file()
    made.put(archive, made.cuts(60), "rotate")
    target = len(made.data) // 3
    archive.compose(NAME, target_bytes=target)
    file = archive.file(NAME)
    assert 3 <= len(file.parts) <= 5
    assert all(part.last - part.first <= target for part in file.parts)
    check_readable(archive, made)


def test_nothing_is_composed_over_a_hole(archive: ShardArchive, store: MemoryStore) -> None:
    made = made_file()
    cuts = made.cuts(9)
    made.put(archive, cuts, "rotate")
    store.delete(layout.segment("s1", SegmentName.of(NAME, cuts[3], cuts[4])))
    archive.compose(NAME)
    assert [(part.first, part.last) for part in archive.file(NAME).parts] == [
        (0, cuts[3]),
        (cuts[4], cuts[-1]),
    ]


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_two_archivers_that_cut_at_different_places_do_no_harm(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Each goes on from the end that it sees, which may be behind; now and then somebody composes."""
    chance = random.Random(seed)
    store = MemoryStore()
    repository = Repository.create(store, file_keyring(tmp_path_factory.getbasetemp()), TickingClock())
    one, two = ShardArchive(repository, "s1", level=1), ShardArchive(repository, "s1", level=1)
    one.open_epoch(facts(), TickingClock())
    made = made_file(seed)
    while (end := one.file(NAME).end) < len(made.data):
        archive = chance.choice((one, two))
        known = [edge for edge in made.edges if edge != 4 and edge <= end]
        start = chance.choice(known[-4:])
        stop = chance.choice([edge for edge in made.edges if edge > max(start, 4)][:9])
        archive.put(archive.seal(made.draft(start, stop, "rotate" if stop == len(made.data) else None)))
        if not chance.randrange(6):
            archive.compose(NAME, min_pieces=2)
    check_readable(one, made)
    one.compose(NAME)
    one.compose(NAME)
    check_readable(two, made)
    assert len(segments(store)) == 1


@pytest.mark.parametrize("unheard", [False, True])
def test_a_crash_at_any_call_of_the_store_loses_nothing(keyring: Keyring, unheard: bool) -> None:
    """Opening, putting and composing: killed at call 1, 2, 3...; then everything is there, and goes on."""
    at, is_through = 0, False
    while not is_through:
        at += 1
        store = MemoryStore()
        Repository.create(store, keyring, TickingClock())
        made = made_file()
        cuts = made.cuts(4)
        dying = DyingStore(store, at + 2, unheard=unheard, forever=True)
        confirmed = 0
        try:
            repository = Repository.open(dying, keyring)
            archive = ShardArchive(repository, "s1", level=1)
            archive.open_epoch(facts(), TickingClock())
            for start, end in pairwise(cuts):
                archive.put(archive.seal(made.draft(start, end, "rotate" if end == cuts[-1] else None)))
                confirmed = end
            archive.compose(NAME)
            is_through = True
        except StoreUnreachable:
            pass
        archive = ShardArchive(Repository.open(store, keyring), "s1", level=1)
        epoch = archive.open_epoch(facts(), TickingClock())
        assert [each.epoch for each in archive.epochs()] == [epoch.epoch] == [1]
        end = archive.file(NAME).end
        assert confirmed <= end
        # The next archiver cuts elsewhere.
        for start, stop in pairwise(cuts):
            if stop > end:
                archive.put(
                    archive.seal(made.draft(max(start, end), stop, "rotate" if stop == cuts[-1] else None))
                )
        check_readable(archive, made)
        archive.compose(NAME)
        check_readable(archive, made)
        assert len(segments(store)) == 1
    assert at > 20


def test_an_object_that_cannot_be_read_back_costs_no_piece(archive: ShardArchive, store: MemoryStore) -> None:
    made = made_file()
    made.put(archive, made.cuts(5), "rotate")
    pieces = segments(store)
    put, broken = store.put, []

    def put_damaged(key: str, data: bytearray, **options: object) -> object:
        options.pop("sha256")
        broken.append(key)
        return put(key, flipped(bytes(data), 8 * len(data) - 77), **options)  # pyright: ignore[reportArgumentType]

    store.put = put_damaged  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ObjectDamaged, match=r"000000000000-"):
        archive.compose(NAME)
    assert len(broken) == 1
    assert set(pieces) <= set(segments(store))
    # Until somebody takes it away, the pieces still give every byte.
    check_readable_but_headers(archive, made)


def check_readable_but_headers(archive: ShardArchive, made: MadeFile) -> None:
    data = b"".join(
        segment.data[piece.first - segment.header.start : piece.last - segment.header.start]
        for part in archive.file(made.name).parts
        for piece, segment in archive.read_part(part)
    )
    assert data == bytes(made.data)


def test_spare_segments_go_only_if_their_bytes_are_held_by_others(
    archive: ShardArchive, store: MemoryStore
) -> None:
    made = made_file()
    made.put(archive, [0, made.edges[30], len(made.data)], "rotate")
    draft = made.draft(made.edges[10], made.edges[20])
    archive.put(archive.seal(draft._replace(data=flipped(bytes(draft.data), 8 * len(draft.data) - 1))))
    with pytest.raises(SourceDiverged, match=r"binlog\.000001: two segments hold different bytes"):
        archive.compose(NAME)
    assert len(segments(store)) == 3
    (spare,) = archive.file(NAME).spare
    store.delete(layout.segment("s1", spare.name))
    archive.put(archive.seal(draft))
    damaged = layout.segment("s1", spare.name)
    replace(store, damaged, flipped(store.get(damaged), 700))
    archive.compose(NAME)
    assert damaged in segments(store)
    check_readable(archive, made)


def test_pieces_stay_when_the_whole_is_damaged(archive: ShardArchive, store: MemoryStore) -> None:
    made = made_file()
    made.put(archive, made.cuts(5), "rotate")
    pieces = segments(store)
    made.put(archive, [0, len(made.data)], "rotate")
    (whole,) = set(segments(store)) - set(pieces)
    content = store.get(whole)
    replace(store, whole, flipped(content, 8 * len(content) - 77))
    archive.compose(NAME)
    assert segments(store) == sorted([*pieces, whole])
    check_readable_but_headers(archive, made)
    replace(store, whole, content)
    archive.compose(NAME)
    assert segments(store) == [whole]


def test_a_list_that_is_behind_is_seen_through(keyring: Keyring) -> None:
    """The newest objects are not listed yet; neither archiver nor reader takes harm."""
    store = LaggingStore()
    archive = ShardArchive(Repository.create(store, keyring, TickingClock()), "s1", level=1)
    archive.open_epoch(facts(), TickingClock())
    assert [epoch.epoch for epoch in archive.epochs()] == [1]
    made = made_file()
    cuts = made.cuts(6)
    made.put(archive, cuts[:4])
    listed = segments(store)
    store.hidden = {key for key in listed if f"/{cuts[1]:012d}-" in key}
    assert archive.file(NAME).holes == ()
    store.hidden = {key for key in listed if not key.endswith(f"-{cuts[1]:012d}")}
    assert archive.file(NAME).end == cuts[1]
    # It goes on from what it sees, with cuts of its own.
    later = [edge for edge in made.edges if edge > cuts[1]][4::9]
    made.put(archive, sorted({cuts[1], *later, len(made.data)}))
    store.hidden = set()
    check_readable(archive, made)
    archive.compose(NAME, finished=True)
    check_readable(archive, made)


class LaggingStore(MemoryStore):
    """Gets and puts at once, lists without what is ``hidden``."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden: set[str] = set()

    def list_page(self, prefix: str, token: str | None = None) -> object:  # pyright: ignore[reportIncompatibleMethodOverride]
        page = super().list_page(prefix, token)
        return page._replace(objects=[info for info in page.objects if info.key not in self.hidden])


SPANS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20)), max_size=12)


@given(SPANS)
def test_the_cover_holds_every_byte_once_and_only_what_is_there(spans: list[tuple[int, int]]) -> None:
    refs = {SegmentRef(SegmentName.of(NAME, start, start + length), 1) for start, length in spans}
    file = cover(NAME, refs)
    read = [byte for part in file.parts for byte in range(part.first, part.last)]
    assert read == sorted({byte for ref in refs for byte in range(ref.start, ref.end)})
    assert all(part.segment.start <= part.first < part.last == part.segment.end for part in file.parts)
    assert {*file.segments, *file.spare} == refs and not {*file.segments} & {*file.spare}
    missing = {byte for first, last in file.holes for byte in range(first, last)}
    assert missing == set(range(max(read, default=-1) + 1)) - set(read)
    assert file.end == next((byte for byte in range(99) if byte not in read), 99)


def test_the_whole_is_read_and_not_its_pieces() -> None:
    whole, *pieces = [
        SegmentRef(SegmentName.of(NAME, *span), 1)
        for span in ((0, 30), (0, 10), (10, 20), (20, 30), (30, 40))
    ]
    assert cover(NAME, [*pieces, whole]).parts == (Part(whole, 0, 30), Part(pieces[3], 30, 40))
    assert cover(NAME, [whole, *pieces]).spare == tuple(pieces[:3])


@given(st.lists(st.integers(1, 100), min_size=1, max_size=300), st.booleans())
def test_groups_are_neighbours_of_bounded_size(sizes: list[int], is_over: bool) -> None:
    parts, at = [], 0
    for size in sizes:
        parts.append(Part(SegmentRef(SegmentName.of(NAME, at, at + size), 1), at, at + size))
        at += size
    for group in groups(parts, 250, 8, is_over):
        assert len(group) >= 2
        assert group[-1].last - group[0].first <= 250
        assert parts[parts.index(group[0]) :][: len(group)] == group
        assert is_over or 2 * (group[0].last - group[0].first) <= group[-1].last - group[0].first


def test_a_byte_of_a_growing_file_is_written_anew_a_few_times_only() -> None:
    parts: list[Part] = []
    written = 0
    for at in range(5000):
        parts.append(Part(SegmentRef(SegmentName.of(NAME, at, at + 1), 1), at, at + 1))
        for group in list(groups(parts, 4000, 8, False)):
            first, last = group[0].first, group[-1].last
            written += last - first
            place = parts.index(group[0])
            parts[place : place + len(group)] = [
                Part(SegmentRef(SegmentName.of(NAME, first, last), 1), first, last)
            ]
    assert written < 12 * 5000
    assert len(parts) < 60


def test_a_shard_reads_with_the_key_of_each_epoch(tmp_path: Path, archive: ShardArchive) -> None:
    second = archive.open_epoch(facts(1), TickingClock())
    made = MadeFile(binlog(epoch=second.epoch)).run(SOURCE, 1, 3)
    made.put(archive, [0, len(made.data)])
    assert archive.data(archive.files(2)[0].segments[0]) == bytes(made.data)
    assert archive.files(1) == []


def test_pieces_that_are_locked_stay_and_are_not_tried_again_while_their_file_grows(
    tmp_path: Path, ticking: TickingClock
) -> None:
    lock = LockTerms("compliance", timedelta(days=2))
    store = ToldStore(MemoryStore(ticking, lock=lock))
    archive = ShardArchive(Repository.create(store, file_keyring(tmp_path), ticking), "s1", level=1)
    open_first(archive)
    made = made_file()
    cuts = made.cuts(12)
    made.put(archive, cuts[:9])
    before = segments(store.inner)
    assert archive.compose(NAME, min_pieces=2) > 0
    assert {*before} < {*segments(store.inner)}
    assert archive.locked.until is not None
    refused: list[str] = []
    store.before = lambda operation, key: refused.append(key) if operation == "delete" else None
    made.put(archive, cuts[8:11])
    archive.compose(NAME, min_pieces=2)
    assert not {*refused} & {*before}
    assert archive.file(NAME).holes == ()
    made.put(archive, cuts[10:], "rotate")
    archive.compose(NAME)
    check_readable(archive, made)
    ticking.sleep(3 * 86400)
    for spare in archive.file(NAME).spare:
        store.delete(layout.segment("s1", spare.name))
    check_readable(archive, made)
