"""Writes ``chain-1/`` beside this file: a full, incrementals, and fulls that refer, with what must come back.

It was run once, when chains were settled, and refuses to run again: a golden repository is worth something
only as long as nobody writes it anew.

    python tests/golden/make_chain_1.py
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fleet.blocks import Extent, Stage
from fleet.parallelism import Parallelism
from repository.catalog import Catalog
from repository.chain import Chain, read_chain
from repository.index import PackRef, Record
from repository.keys import FileSource, Keyring, create_key_file
from repository.manifest import (
    BackupFacts,
    Base,
    BinlogBracket,
    DamagedPage,
    Donor,
    FileEntry,
    GtidBracket,
    Lsn,
    Manifest,
    Settings,
)
from repository.overlay import Overlay, PageMap
from repository.reader import BackupReader
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore
from repository.writer import BackupWriter, begin_backup

FOLDER = Path(__file__).with_name("chain-1")
PAGE = 4096
UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
REDO, POOL = "#innodb_redo/#ib_redo0", "ib_buffer_pool"


class FixedClock:
    """Moves a second at a time from a day that everybody remembers."""

    def __init__(self) -> None:
        self._now = datetime(2026, 3, 1, 2, 14, 59, tzinfo=UTC)

    def now(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now

    def monotonic(self) -> float:
        return self._now.timestamp()

    def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


@dataclass
class Tablespace:
    """A tablespace file as the server has it, and which of its pages changed since the last backup."""

    name: str
    space_id: int
    pages: list[bytes]
    ordinal: int = 0
    page_size: int = PAGE
    changed: set[int] = field(default_factory=set[int])


class Server:
    """What is backed up, and what happens to it."""

    def __init__(self) -> None:
        self.chance = random.Random(1)
        self.lsn = 19_000_000
        self.files = [
            self.made("ibdata1", 0, 6),
            self.made("ibdata2", 0, 3, ordinal=1),
            self.made("mysql.ibd", 4294967294, 5),
            self.made("undo_001", 4294967279, 4),
            self.made("shop/orders.ibd", 12, 40),
            self.made("shop/packed.ibd", 13, 16, page_size=1024),
            self.made("shop/gone.ibd", 14, 6),
        ]

    def made(
        self, name: str, space_id: int, pages: int, *, ordinal: int = 0, page_size: int = PAGE
    ) -> Tablespace:
        content = [self.page(page_size) for _ in range(pages)]
        return Tablespace(name, space_id, content, ordinal, page_size)

    def page(self, size: int) -> bytes:
        words = [b"order", b"paid", b"shipped", b"returned", b"2026-03-01", b"\0\0\0\0"]
        if self.chance.random() < 0.4:
            return self.chance.randbytes(size)
        return b" ".join(self.chance.choice(words) for _ in range(size))[:size]

    def file(self, name: str) -> Tablespace:
        return next(each for each in self.files if each.name == name)

    def change(self, name: str, *pages: int) -> None:
        file = self.file(name)
        for page in pages:
            while len(file.pages) <= page:
                file.pages.append(bytes(file.page_size))
            file.pages[page] = self.page(file.page_size)
            file.changed.add(page)
        self.lsn += 1000

    def before_the_first_incremental(self) -> None:
        """Changes, growth with a hole, a rename, an undo tablespace truncated, a table dropped, a new one."""
        self.change("ibdata1", 0, 5)
        self.change("shop/orders.ibd", 0, 3, 4, 5, 17, 42)
        self.change("shop/packed.ibd", 7)
        self.file("shop/orders.ibd").name = "shop/orders_2025.ibd"
        self.files.remove(self.file("undo_001"))
        self.files.append(self.made("undo_001", 4294967278, 2))
        self.files.remove(self.file("shop/gone.ibd"))
        new = self.made("shop/new.ibd", 15, 7)
        new.pages[2:5] = [bytes(PAGE)] * 3
        self.files.append(new)

    def before_the_second_incremental(self) -> None:
        """Pages changed again and others; the dropped table's id is back, with zeros where that had data."""
        self.change("shop/orders_2025.ibd", 4, 18, 43)
        self.change("shop/packed.ibd", 7, 8, 19)
        again = self.made("shop/again.ibd", 14, 6)
        again.pages[1:5] = [bytes(PAGE)] * 4
        self.files.append(again)

    def before_the_full_that_refers(self) -> None:
        """One page within an extent of many, so that the rest is referred to in pieces."""
        self.change("mysql.ibd", 2)
        self.change("shop/orders_2025.ibd", 10, 44)

    def before_the_last_incremental(self) -> None:
        self.change("shop/again.ibd", 3)
        self.change("ibdata2", 0, 3)


def table(server: Server, shift: int) -> dict[str, FileEntry]:
    """The file table, by name; every clone gives other numbers."""
    entries = [
        FileEntry(number=100 + shift, name=POOL, size=777),
        FileEntry(number=101 + shift, name=REDO, size=5 * PAGE),
        FileEntry(number=102 + shift, name="#clone/#status_fix", size=0),
    ]
    for number, file in enumerate(server.files):
        entries.append(
            FileEntry(
                number=(number + shift) % 20,
                name=file.name,
                size=len(file.pages) * file.page_size,
                space_id=file.space_id,
                ordinal=file.ordinal,
                page_size=file.page_size,
            )
        )
    return {entry.name: entry for entry in entries}


def facts(server: Server, files: dict[str, FileEntry], **more: object) -> BackupFacts:
    server.lsn += 5000
    known: dict[str, object] = {
        "files": tuple(files.values()),
        "directories": ("#clone", "#innodb_redo", "mysql", "shop", "empty_schema"),
        "donor": Donor(
            server_uuid=UUID,
            server_name="s1-b",
            host="s1-b.example",
            port=3306,
            version="9.7.4",
            compile_machine="x86_64",
            compile_os="Linux",
        ),
        "settings": Settings(
            innodb_page_size=PAGE,
            lower_case_table_names=0,
            innodb_data_file_path="ibdata1:24K;ibdata2:12K:autoextend",
            character_set_server="utf8mb4",
            collation_server="utf8mb4_0900_ai_ci",
        ),
        "lsn": Lsn(start=server.lsn, checkpoint=server.lsn + 512, end=server.lsn + 900, log_uuid=77),
        "gtid": GtidBracket(low=f"{UUID}:1-{server.lsn}", high=f"{UUID}:1-{server.lsn + 3}"),
        "binlog": BinlogBracket(low_file="b.7", low_position=157, high_file="b.7", high_position=902),
    }
    return BackupFacts.model_validate(known | more)


def begin(repository: Repository, clock: FixedClock, kind: str, at: datetime | None = None) -> BackupWriter:
    return begin_backup(
        repository,
        "s1",
        kind,
        parallelism=Parallelism(upload_threads=2),
        pack_size=24 * 1024,
        level=1,
        clock=clock,
        packs_per_part=2,
        at=at,
    )


def send(
    server: Server,
    writer: BackupWriter,
    files: dict[str, FileEntry],
    wanted: Callable[[Tablespace, int], bool],
) -> dict[str, bytes]:
    """Store the wanted pages: in extents of up to nine pages, every fifth torn, and then again as a page."""
    lane, count = writer.open_lane(), 0
    again: list[tuple[Extent, bytes]] = []
    for file in server.files:
        size, number = file.page_size, files[file.name].number
        for first, last in runs([wanted(file, page) for page in range(len(file.pages))]):
            content = file.pages[first:last]
            for page in range(first, last):
                count += 1
                if count % 5 == 0:
                    again.append((Extent(number, page * size, size), file.pages[page]))
                    content[page - first] = server.chance.randbytes(size)
            extent = Extent(number, first * size, (last - first) * size)
            lane.add(Stage.FILE, (extent,), memoryview(b"".join(content)))
    lane.add(Stage.FILE, (Extent(9999, 0, PAGE),), memoryview(server.page(PAGE)))
    for at in range(0, len(again), 3):
        group = again[at : at + 3]
        lane.add(
            Stage.PAGE, tuple(each for each, _ in group), memoryview(b"".join(data for _, data in group))
        )
    pool, redo = server.chance.randbytes(777), server.page(3 * PAGE).ljust(5 * PAGE, b"\0")
    lane.add(Stage.FILE, (Extent(files[POOL].number, 0, 777),), memoryview(pool))
    lane.add(
        Stage.REDO, (Extent(files[REDO].number, 2048, 3 * PAGE - 2048),), memoryview(redo)[2048 : 3 * PAGE]
    )
    lane.add(Stage.REDO, (Extent(files[REDO].number, 0, 2048),), memoryview(redo)[:2048])
    lane.close()
    content = {file.name: b"".join(file.pages) for file in server.files}
    return content | {POOL: pool, REDO: redo, "#clone/#status_fix": b""}


def runs(marks: list[bool]) -> Iterator[tuple[int, int]]:
    """First and behind the last of each run of True, nine at most."""
    first: int | None = None
    for at, mark in enumerate([*marks, False]):
        if first is not None and (not mark or at - first == 9):
            yield first, at
            first = None
        if mark and first is None:
            first = at


def is_new(file: Tablespace, page: int, base: Manifest) -> bool:
    old = {(entry.space_id, entry.ordinal) for entry in base.files}
    return page in file.changed or ((file.space_id, file.ordinal) not in old and any(file.pages[page]))


def overlaid(
    repository: Repository, chain: Chain, overlay: Overlay
) -> Iterator[tuple[PackRef, list[Record]]]:
    reader = BackupReader(repository, chain.newest)
    for pass_ in overlay.passes:
        for part in pass_.parts:
            index = reader.index_part(part.reference, chain.links[part.link].backup)
            by_pack: dict[int, list[Record]] = {}
            for record in overlay.records(pass_, part, index):
                by_pack.setdefault(record.pack, []).append(record)
            yield from ((index.packs[at], records) for at, records in by_pack.items())


class Making:
    """The backups, one after the other, and what must come back of each."""

    def __init__(self, repository: Repository, clock: FixedClock) -> None:
        self.repository = repository
        self.clock = clock
        self.server = Server()
        self.expected: dict[str, dict[str, bytes]] = {}

    def full(self) -> Manifest:
        files = table(self.server, 0)
        with begin(self.repository, self.clock, "full") as writer:
            content = send(self.server, writer, files, lambda file, page: True)
            return self.done(writer.complete(facts(self.server, files)), content)

    def incremental(self, base: Manifest, shift: int) -> Manifest:
        files = table(self.server, shift)
        with begin(self.repository, self.clock, "incremental") as writer:
            content = send(self.server, writer, files, lambda file, page: is_new(file, page, base))
            known = facts(
                self.server,
                files,
                base=Base(label=base.label, checkpoint_lsn=base.lsn.checkpoint),
                damaged_pages=(DamagedPage(file="mysql.ibd", page=1),),
            )
            return self.done(writer.complete(known, unchanged_bytes=99_328, skipped_bytes=4096), content)

    def referring(self, built_on: Manifest, shift: int) -> Manifest:
        files = table(self.server, shift)
        stored = PageMap()

        def wanted(file: Tablespace, page: int) -> bool:
            new = is_new(file, page, built_on)
            at, size = page * file.page_size, file.page_size
            return new and bool(stored.claim((file.space_id, file.ordinal), size, at, size))

        chain = read_chain(Catalog(self.repository), built_on)
        with begin(self.repository, self.clock, "full") as writer:
            content = send(self.server, writer, files, wanted)
            spaces = {entry.number: entry for entry in files.values() if entry.space_id is not None}
            for pack, records in overlaid(self.repository, chain, Overlay(chain, spaces, stored)):
                writer.refer(pack, [record._replace(stage=Stage.FILE) for record in records])
            made = writer.complete(facts(self.server, files, built_on=built_on.label))
        return self.done(made, content)

    def consolidated(self, newest: Manifest) -> Manifest:
        """A full without a server: everything is referred to, the redo too."""
        chain = read_chain(Catalog(self.repository), newest)
        at = newest.timings.started_at
        with begin(self.repository, self.clock, "full", at) as writer:
            for pack, records in overlaid(self.repository, chain, Overlay(chain)):
                redo = Stage.REDO
                writer.refer(
                    pack,
                    [each if each.stage is redo else each._replace(stage=Stage.FILE) for each in records],
                )
            known = {name: getattr(newest, name) for name in BackupFacts.model_fields}
            known |= {"base": None, "consolidates": newest.label}
            made = writer.complete(BackupFacts.model_validate(known))
        return self.done(made, self.expected[newest.label])

    def done(self, manifest: Manifest, content: dict[str, bytes]) -> Manifest:
        for file in self.server.files:
            file.changed = set()
        self.expected[manifest.label] = content
        return manifest


def main() -> None:
    if FOLDER.exists():
        sys.exit(f"{FOLDER} exists; a golden repository is never written anew")
    FOLDER.mkdir()
    clock = FixedClock()
    create_key_file(FOLDER / "backup.key")
    store = FilesystemStore(FOLDER / "repository")
    keyring = Keyring([FileSource("office-safe", FOLDER / "backup.key")])
    making = Making(Repository.create(store, keyring, clock), clock)
    full = making.full()
    making.server.before_the_first_incremental()
    first = making.incremental(full, 3)
    making.server.before_the_second_incremental()
    second = making.incremental(first, 8)
    making.server.before_the_full_that_refers()
    referring = making.referring(second, 5)
    making.consolidated(second)
    making.server.before_the_last_incremental()
    making.incremental(referring, 11)
    expected = {
        label: {
            name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in content.items()
        }
        for label, content in sorted(making.expected.items())
    }
    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
