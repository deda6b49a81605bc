"""Chains of small backups, as a donor would give them whose files change, grow, go and are renamed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from fleet.blocks import Extent, Stage
from fleet.parallelism import Parallelism
from repository.layout import parse_label
from repository.manifest import (
    BackupFacts,
    Base,
    BinlogBracket,
    Donor,
    FileEntry,
    GtidBracket,
    Lsn,
    Manifest,
    Settings,
)
from repository.reader import BackupReader
from repository.repository import Repository
from repository.writer import begin_backup

PAGE = 1024
UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
ZEROS = bytes(PAGE)

Block = tuple[Stage, tuple[Extent, ...], bytes]


class PassingClock:
    """A minute passes with every look, so each backup has a label of its own."""

    def __init__(self) -> None:
        self._now = datetime(2026, 3, 1, 2, 15, tzinfo=UTC)

    def now(self) -> datetime:
        self._now += timedelta(minutes=1)
        return self._now

    def monotonic(self) -> float:
        return self._now.timestamp()

    def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


@dataclass
class ChangingDonor:
    """Tablespaces by id, as pages; ``taken`` says which of them each page's newest backup saw."""

    chance: random.Random
    names: dict[int, str] = field(default_factory=dict)
    spaces: dict[int, list[bytes]] = field(default_factory=dict)
    redo: bytes = b""
    checkpoint: int = 100
    next_space: int = 1

    def create(self, pages: int) -> int:
        space, self.next_space = self.next_space, self.next_space + 1
        self.names[space] = f"shop/t{space}.ibd"
        self.spaces[space] = [self._page() if self.chance.random() < 0.8 else ZEROS for _ in range(pages)]
        return space

    def change(self) -> set[tuple[int, int]]:
        """What happens between two backups; the pages (space, number) that changed."""
        changed: set[tuple[int, int]] = set()
        for space, pages in self.spaces.items():
            pages.extend([ZEROS] * self.chance.randrange(3))
            for page in self.chance.sample(range(len(pages)), len(pages) // 4):
                pages[page] = self._page()
                changed.add((space, page))
        gone = self.chance.choice(list(self.spaces))
        del self.spaces[gone], self.names[gone]
        renamed = self.chance.choice(list(self.spaces))
        self.names[renamed] = f"moved/t{renamed}.ibd"
        new = self.create(self.chance.randrange(1, 20))
        changed |= {(new, page) for page, data in enumerate(self.spaces[new]) if data != ZEROS}
        return {one for one in changed if one[0] in self.spaces}

    def content(self) -> dict[str, bytes]:
        files = {self.names[space]: b"".join(pages) for space, pages in self.spaces.items()}
        return files | {"#innodb_redo/#ib_redo0": self.redo, "mark": b""}

    def files(self) -> tuple[FileEntry, ...]:
        """Numbers are new each time, as with every clone."""
        spaces = list(self.spaces)
        self.chance.shuffle(spaces)
        tables = [
            FileEntry(number=n, name=self.names[s], size=len(pages) * PAGE, space_id=s, page_size=PAGE)
            for n, (s, pages) in enumerate((s, self.spaces[s]) for s in spaces)
        ]
        redo = FileEntry(number=len(spaces), name="#innodb_redo/#ib_redo0", size=len(self.redo))
        return (*tables, redo, FileEntry(number=len(spaces) + 1, name="mark", size=0))

    def _page(self) -> bytes:
        # Half of it compresses, and no two pages are equal.
        return self.chance.randbytes(PAGE // 2) + bytes(PAGE // 2)


def a_donor(seed: int) -> ChangingDonor:
    donor = ChangingDonor(random.Random(seed))
    for _ in range(4):
        donor.create(donor.chance.randrange(5, 60))
    return donor


def take_full(repository: Repository, clock: PassingClock, donor: ChangingDonor) -> Manifest:
    """A full that stores every page; some come as zeros first, and right in the page stage."""
    every = {(space, page) for space, pages in donor.spaces.items() for page in range(len(pages))}
    return _take(repository, clock, donor, every, None)


def take_incremental(
    repository: Repository, clock: PassingClock, donor: ChangingDonor, base: Manifest
) -> Manifest:
    """Let the donor change, and store what did."""
    return _take(repository, clock, donor, donor.change(), base)


def take_chain(repository: Repository, clock: PassingClock, donor: ChangingDonor, links: int) -> Manifest:
    """A full and ``links - 1`` incrementals on it; the newest."""
    newest = take_full(repository, clock, donor)
    for _ in range(links - 1):
        newest = take_incremental(repository, clock, donor, newest)
    return newest


def _take(
    repository: Repository,
    clock: PassingClock,
    donor: ChangingDonor,
    pages: set[tuple[int, int]],
    base: Manifest | None,
) -> Manifest:
    donor.redo = donor.chance.randbytes(700)
    donor.checkpoint += 100
    files = donor.files()
    kind = "incremental" if base else "full"
    with begin_backup(
        repository,
        "s1",
        kind,
        parallelism=Parallelism(upload_threads=2),
        pack_size=8 * PAGE,
        level=1,
        clock=clock,
        packs_per_part=3,
    ) as writer:
        lanes = [writer.open_lane() for _ in range(2)]
        for turn, (stage, extents, data) in enumerate(_blocks(donor, files, pages)):
            lanes[turn % 2].add(stage, extents, memoryview(data))
        for lane in lanes:
            lane.close()
        return writer.complete(_facts(donor, files, base))


def _blocks(donor: ChangingDonor, files: tuple[FileEntry, ...], pages: set[tuple[int, int]]) -> list[Block]:
    numbers = {entry.space_id: entry.number for entry in files if entry.space_id is not None}
    late = set(donor.chance.sample(sorted(pages), len(pages) // 5))
    first: list[Block] = []
    for space, page in sorted(pages):
        # A page that comes again is torn in the file stage.
        data = donor.chance.randbytes(PAGE) if (space, page) in late else donor.spaces[space][page]
        first.append((Stage.FILE, (Extent(numbers[space], page * PAGE, PAGE),), data))
    again = [
        (Stage.PAGE, (Extent(numbers[space], page * PAGE, PAGE),), donor.spaces[space][page])
        for space, page in sorted(late)
    ]
    redo = next(entry.number for entry in files if entry.name.startswith("#innodb_redo"))
    last: list[Block] = [
        (Stage.REDO, (Extent(redo, 512, 188),), donor.redo[512:]),
        (Stage.REDO, (Extent(redo, 0, 512),), donor.redo[:512]),
    ]
    return [*_joined(first), *_joined(again), *last]


def _joined(blocks: list[Block]) -> list[Block]:
    """Neighbouring pages of a file are one extent, and some extents one block, as on the wire."""
    extents: list[tuple[Stage, Extent, bytes]] = []
    for stage, (extent,), data in blocks:
        _, known, held = extents[-1] if extents else (stage, Extent(-1, 0, 0), b"")
        follows = known.file == extent.file and known.offset + known.length == extent.offset
        if follows and known.length < 6 * PAGE:
            extents[-1] = (stage, Extent(known.file, known.offset, known.length + PAGE), held + data)
        else:
            extents.append((stage, extent, data))
    groups = [extents[at : at + 3] for at in range(0, len(extents), 3)]
    return [(g[0][0], tuple(one[1] for one in g), b"".join(one[2] for one in g)) for g in groups]


def _facts(donor: ChangingDonor, files: tuple[FileEntry, ...], base: Manifest | None) -> BackupFacts:
    at = donor.checkpoint
    return BackupFacts(
        files=files,
        directories=("shop", "moved", "#innodb_redo"),
        donor=Donor(
            server_uuid=UUID,
            server_name="s1-b",
            host="db-b.example",
            port=3306,
            version="9.7.4",
            compile_machine="x86_64",
            compile_os="Linux",
        ),
        settings=Settings(
            innodb_page_size=PAGE,
            lower_case_table_names=0,
            innodb_data_file_path="ibdata1:12M:autoextend",
            character_set_server="utf8mb4",
            collation_server="utf8mb4_0900_ai_ci",
        ),
        lsn=Lsn(start=at, checkpoint=at + 1, end=at + 2),
        gtid=GtidBracket(low=f"{UUID}:1-{at}", high=f"{UUID}:1-{at + 5}"),
        binlog=BinlogBracket(low_file="b.1", low_position=at, high_file="b.1", high_position=at),
        base=Base(label=base.label, checkpoint_lsn=base.lsn.checkpoint) if base else None,
    )


def restored(repository: Repository, manifest: Manifest) -> dict[str, bytes]:
    """The files of a backup that is complete by itself, by the plainest reading of FORMAT.md, section 7."""
    reader = BackupReader(repository, manifest)
    made = {entry.number: bytearray(entry.size) for entry in manifest.files}
    parts = list(reader.index_parts())
    for stage in Stage:
        for part in parts:
            for pack, records in part.by_pack():
                spans = [record.span for record in records if record.stage is stage]
                for frame in reader.frames(pack, spans):
                    for record in records:
                        if record.stage is stage and record.frame == frame.number:
                            piece = frame.data[record.skip : record.skip + record.length]
                            made[record.file][record.offset : record.offset + record.length] = piece
    return {entry.name: bytes(made[entry.number]) for entry in manifest.files}


def differing(left: dict[str, bytes], right: dict[str, bytes]) -> list[str]:
    """Names whose bytes are not the same: short enough to read when a test fails."""
    return sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))


def second_of(label: str) -> datetime:
    parsed = parse_label(label)
    assert parsed
    return parsed.at
