"""A donor whose pages change between backups, and the plainest reader of a chain: oldest link first."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fleet.blocks import Extent, Stage
from fleet.parallelism import Parallelism
from repository.catalog import Catalog
from repository.chain import Chain, read_chain
from repository.index import PackRef, Record
from repository.manifest import Base, FileEntry, Lsn, Manifest
from repository.overlay import Overlay, PageMap
from repository.reader import BackupReader
from repository.repository import Repository
from repository.writer import BackupWriter, begin_backup
from tests.unit.repository.sealed_backups import TickingClock, facts

Block = tuple[Stage, tuple[Extent, ...], bytes]
REDO_BYTES = 3072


@dataclass
class File:
    """A tablespace file of the donor: what identifies it, what it is called now, and its pages."""

    space_id: int
    ordinal: int
    page_size: int
    name: str
    pages: list[bytes] = field(default_factory=list[bytes])


@dataclass
class Donor:
    """A server as a backup sees it. Every page that is changed is remembered for the next incremental."""

    chance: random.Random
    files: list[File] = field(default_factory=list[File])
    last: set[int] = field(default_factory=set[int])
    changed: set[tuple[int, int, int]] = field(default_factory=set[tuple[int, int, int]])
    lsn: int = 1000

    def create(self, space_id: int, pages: int, *, ordinal: int = 0, page_size: int = 1024) -> File:
        made = File(
            space_id, ordinal, page_size, f"shop/t{space_id}.{ordinal}.{self.chance.getrandbits(40)}.ibd"
        )
        made.pages = [self._page(page_size) for _ in range(pages)]
        self.files.append(made)
        return made

    def change(self, file: File, page: int) -> None:
        while len(file.pages) <= page:
            file.pages.append(bytes(file.page_size))
        file.pages[page] = self._page(file.page_size)
        self.changed.add((file.space_id, file.ordinal, page))
        self.lsn += 10

    def drop(self, file: File) -> None:
        self.files.remove(file)

    def unused_id(self) -> int:
        """Ids come back now and then, as those of undo tablespaces do, but never in the next backup."""
        taken = {file.space_id for file in self.files} | self.last
        return self.chance.choice([number for number in range(1, 60) if number not in taken])

    def backed_up(self) -> None:
        self.last = {file.space_id for file in self.files}
        self.changed = set()
        self.lsn += 100

    def content(self, redo: bytes, pool: bytes) -> dict[str, bytes]:
        return {
            "ib_buffer_pool": pool,
            "#innodb_redo/#ib_redo0": redo,
            **{file.name: b"".join(file.pages) for file in self.files},
        }

    def _page(self, size: int) -> bytes:
        return self.chance.choice((self.chance.randbytes, lambda many: b"page" * (many // 4), bytes))(size)


@dataclass(frozen=True)
class Taken:
    """A backup that was taken, and what must be restored of it."""

    manifest: Manifest
    content: Mapping[str, bytes]


def file_table(donor: Donor) -> tuple[dict[tuple[int, int], int], tuple[FileEntry, ...]]:
    """New numbers for every backup, as a clone gives them: by space, and the whole table."""
    numbers = list(range(2, 2 + 3 * len(donor.files), 3))
    donor.chance.shuffle(numbers)
    by_space = {
        (file.space_id, file.ordinal): number for file, number in zip(donor.files, numbers, strict=True)
    }
    entries = [
        FileEntry(
            number=by_space[file.space_id, file.ordinal],
            name=file.name,
            size=len(file.pages) * file.page_size,
            space_id=file.space_id,
            ordinal=file.ordinal,
            page_size=file.page_size,
        )
        for file in donor.files
    ]
    plain = (
        FileEntry(number=0, name="ib_buffer_pool", size=333),
        FileEntry(number=1, name="#innodb_redo/#ib_redo0", size=REDO_BYTES),
    )
    return by_space, (*plain, *entries)


def blocks(
    donor: Donor, numbers: Mapping[tuple[int, int], int], wanted: Callable[[File, int], bool]
) -> Iterator[Block]:
    """The pages that are ``wanted``: runs of the file stage in extents of many pages, some anew as pages."""
    chance = donor.chance
    again: list[tuple[Extent, bytes]] = []
    for file in donor.files:
        number, size = numbers[file.space_id, file.ordinal], file.page_size
        run: list[int] = []
        for page in range(len(file.pages) + 1):
            if page < len(file.pages) and wanted(file, page):
                run.append(page)
                if len(run) < chance.randrange(1, 12):
                    continue
            if run:
                torn = [chance.randbytes(size) if chance.random() < 0.2 else None for _ in run]
                data = b"".join(made or file.pages[at] for made, at in zip(torn, run, strict=True))
                yield Stage.FILE, (Extent(number, run[0] * size, len(data)),), data
                again += [
                    (Extent(number, at * size, size), file.pages[at])
                    for made, at in zip(torn, run, strict=True)
                    if made
                ]
                run = []
    yield Stage.FILE, (Extent(9999, 0, 1024),), chance.randbytes(1024)
    for at in range(0, len(again), 5):
        group = again[at : at + 5]
        yield Stage.PAGE, tuple(extent for extent, _ in group), b"".join(data for _, data in group)


def take_link(
    repository: Repository, clock: TickingClock, donor: Donor, base: Manifest | None = None
) -> Taken:
    """A full of the donor; with ``base``, an incremental on it."""
    with begin_link(repository, clock, "incremental" if base else "full") as writer:
        numbers, table = file_table(donor)
        old = {(entry.space_id, entry.ordinal) for entry in base.files} if base else set()
        content = _fill(writer, donor, numbers, lambda file, page: _is_new(donor, file, page, base, old))
        lsn = Lsn(start=donor.lsn - 5, checkpoint=donor.lsn, end=donor.lsn + 5)
        known = {"lsn": lsn, "base": base and Base(label=base.label, checkpoint_lsn=base.lsn.checkpoint)}
        manifest = writer.complete(facts(table, **known))
    donor.backed_up()
    return Taken(manifest, content)


def take_referring(
    repository: Repository,
    clock: TickingClock,
    donor: Donor,
    built_on: Manifest,
    *,
    chain: Chain | None = None,
) -> Taken:
    """A full that stores what changed since ``built_on``, and refers to the rest."""
    chain = chain or read_chain(Catalog(repository), built_on)
    with begin_link(repository, clock, "full") as writer:
        numbers, table = file_table(donor)
        old = {(entry.space_id, entry.ordinal) for entry in built_on.files}
        stored = PageMap()

        def wanted(file: File, page: int) -> bool:
            size = file.page_size
            new = _is_new(donor, file, page, built_on, old)
            return new and bool(stored.claim((file.space_id, file.ordinal), size, page * size, size))

        content = _fill(writer, donor, numbers, wanted)
        spaces = {entry.number: entry for entry in table if entry.space_id is not None}
        for pack, records in overlaid(repository, chain, Overlay(chain, spaces, stored)):
            writer.refer(pack, [record._replace(stage=Stage.FILE) for record in records])
        lsn = Lsn(start=donor.lsn - 5, checkpoint=donor.lsn, end=donor.lsn + 5)
        manifest = writer.complete(facts(table, lsn=lsn, built_on=built_on.label))
    donor.backed_up()
    return Taken(manifest, content)


def overlaid(
    repository: Repository, chain: Chain, overlay: Overlay
) -> Iterator[tuple[PackRef, list[Record]]]:
    """All that the overlay yields, by part and pack; the parts of a pass come in any order."""
    reader = BackupReader(repository, chain.newest)
    chance = random.Random(len(chain.parts))
    for pass_ in overlay.passes:
        for part in chance.sample(pass_.parts, len(pass_.parts)):
            index = reader.index_part(part.reference, chain.links[part.link].backup)
            by_pack: dict[int, list[Record]] = {}
            for record in overlay.records(pass_, part, index):
                by_pack.setdefault(record.pack, []).append(record)
            yield from ((index.packs[at], records) for at, records in by_pack.items())


def by_overlay(
    repository: Repository, manifest: Manifest, files: Sequence[int] | None = None
) -> dict[str, bytes]:
    """The files through the overlay, each byte written once."""
    chain = read_chain(Catalog(repository), manifest)
    entries = {entry.number: entry for entry in manifest.files if files is None or entry.number in files}
    made = {number: bytearray(entry.size) for number, entry in entries.items()}
    written = {number: bytearray(entry.size) for number, entry in entries.items()}
    overlay = Overlay(chain, entries)
    reader = BackupReader(repository, manifest)
    for pack, records in overlaid(repository, chain, overlay):
        frames = {frame.number: bytes(frame.data) for frame in reader.frames(pack, [r.span for r in records])}
        for record in records:
            end = record.offset + record.length
            piece = frames[record.frame][record.skip : record.skip + record.length]
            assert len(piece) == record.length
            assert not any(written[record.file][record.offset : end])
            made[record.file][record.offset : end] = piece
            written[record.file][record.offset : end] = b"\1" * record.length
    for number, marks in written.items():
        gaps = list(overlay.gaps(number))
        assert all(length > 0 for _, length in gaps)
        assert sum(length for _, length in gaps) == marks.count(0)
        assert not any(any(marks[at : at + length]) for at, length in gaps)
    return {entry.name: bytes(made[number]) for number, entry in entries.items()}


def oldest_first(repository: Repository, manifest: Manifest) -> dict[str, bytes]:
    """The files by making each link's whole data directory of the one before it, from the full on."""
    links = [manifest]
    while base := links[-1].base:
        links.append(Catalog(repository).manifest(manifest.shard, base.label))
    spaces: dict[tuple[int, int], bytearray] = {}
    made: dict[int, bytearray] = {}
    for link in reversed(links):
        made = {}
        for entry in link.files:
            old = b"" if entry.space_id is None else spaces.get((entry.space_id, entry.ordinal), b"")
            made[entry.number] = bytearray(old[: entry.size].ljust(entry.size, b"\0"))
        _apply(BackupReader(repository, link), made)
        spaces = {
            (entry.space_id, entry.ordinal): made[entry.number]
            for entry in link.files
            if entry.space_id is not None
        }
    return {entry.name: bytes(made[entry.number]) for entry in manifest.files}


def _apply(reader: BackupReader, made: Mapping[int, bytearray]) -> None:
    for stage in Stage:
        for part in reader.index_parts():
            for pack, records in part.by_pack():
                mine = [record for record in records if record.stage is stage and record.file in made]
                for frame in reader.frames(pack, [record.span for record in mine]):
                    for record in mine:
                        if record.frame == frame.number:
                            piece = frame.data[record.skip : record.skip + record.length]
                            made[record.file][record.offset : record.offset + record.length] = piece


def begin_link(repository: Repository, clock: TickingClock, kind: str, *, shard: str = "s1") -> BackupWriter:
    """A writer whose packs and index parts are so small that there are several."""
    return begin_backup(
        repository,
        shard,
        kind,
        parallelism=Parallelism(upload_threads=2),
        pack_size=6 * 1024,
        level=1,
        clock=clock,
        packs_per_part=3,
    )


def _fill(
    writer: BackupWriter,
    donor: Donor,
    numbers: Mapping[tuple[int, int], int],
    wanted: Callable[[File, int], bool],
) -> dict[str, bytes]:
    lanes = [writer.open_lane(), writer.open_lane()]
    for turn, (stage, extents, data) in enumerate(blocks(donor, numbers, wanted)):
        lanes[turn % 2].add(stage, extents, memoryview(data))
    redo, pool = donor.chance.randbytes(REDO_BYTES), donor.chance.randbytes(333)
    lanes[0].add(Stage.FILE, (Extent(0, 0, len(pool)),), memoryview(pool))
    lanes[1].add(Stage.REDO, (Extent(1, 512, REDO_BYTES - 512),), memoryview(redo)[512:])
    lanes[1].add(Stage.REDO, (Extent(1, 0, 512),), memoryview(redo)[:512])
    for lane in lanes:
        lane.close()
    return donor.content(redo, pool)


def _is_new(
    donor: Donor, file: File, page: int, base: Manifest | None, old: set[tuple[int | None, int]]
) -> bool:
    if base is None or (file.space_id, file.ordinal, page) in donor.changed:
        return True
    return (file.space_id, file.ordinal) not in old and any(file.pages[page])
