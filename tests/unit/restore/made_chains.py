"""Chains of made-up backups: a server whose pages change in between, written by the real writer."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from fleet.blocks import Extent, Stage
from fleet.clock import SystemClock
from fleet.parallelism import Parallelism
from repository.catalog import Catalog
from repository.chain import read_chain
from repository.manifest import Base, FileEntry, Manifest
from repository.overlay import Overlay, PageMap
from repository.reader import BackupReader
from repository.repository import Repository
from repository.writer import BackupWriter, begin_backup
from tests.unit.restore.made_backups import PAGE, UUID, made_facts
from wire.clone.pages import PageSize, stamp_checksum

_BEGAN = datetime(2026, 3, 1, 2, 15, tzinfo=UTC)
_REDO = "#innodb_redo/#ib_redo0"
_POOL = "ib_buffer_pool"

Wanted = Callable[["MadeTablespace", int], bool]


def made_page(noise: bytes) -> bytes:
    """``noise`` as an index page with the checksum that InnoDB would give it."""
    page = bytearray(noise)
    page[24:26] = (17855).to_bytes(2, "big")
    page[-4:] = page[20:24]
    stamp_checksum(memoryview(page), PageSize(len(page), len(page)))
    return bytes(page)


@dataclass
class MadeTablespace:
    """A tablespace file; ``changed`` are the pages that the next incremental must hold."""

    space_id: int
    pages: list[bytes]
    changed: set[int] = field(default_factory=set[int])


class MadeServer:
    """A data directory that lives. Every draw comes from ``seed``."""

    def __init__(self, seed: int = 1, *, pages: int = 60) -> None:
        self.chance = random.Random(seed)
        self.backups = 0
        self.files = {
            "ibdata1": self._made(0, pages // 3),
            "mysql.ibd": self._made(4_294_967_294, pages // 2),
            "shop/orders.ibd": self._made(5, 2 * pages),
            "shop/stock.ibd": self._made(6, pages),
            "undo_001": self._made(4_294_967_279, 10),
        }
        self._plain = {_POOL: b"", _REDO: b""}
        self._next_space = 7

    def live(self) -> None:
        """What happens between two backups: changes, growth, DDL, and a new redo log."""
        for made in self.files.values():
            for number in self.chance.sample(range(len(made.pages)), len(made.pages) // 6 + 1):
                self._change(made, number)
        orders = self.files["shop/orders.ibd"]
        for _ in range(self.chance.randrange(12)):
            orders.pages.append(bytes(PAGE))
            if self.chance.random() < 0.6:
                self._change(orders, len(orders.pages) - 1)
        # Truncated: a new space id under the old name. Renamed: the old id under a new one.
        self.files["undo_001"] = self._made(4_294_967_278 - self.backups, 5 + self.chance.randrange(9))
        self.files[f"shop/stock{self.backups}.ibd"] = self.files.pop(
            next(name for name in self.files if name.startswith("shop/stock"))
        )
        self.files[f"shop/new{self.backups}.ibd"] = self._made(self._next_space, self.chance.randrange(1, 9))
        self._next_space += 1
        if self.backups > 1:
            self.files.pop(f"shop/new{self.backups - 2}.ibd", None)

    def content(self) -> dict[str, bytes]:
        """What a restore of the last backup must bring."""
        made = {name: b"".join(each.pages) for name, each in self.files.items()}
        return dict(sorted((made | self._plain | {"#clone/#status_fix": b""}).items()))

    def full(self, repository: Repository, **facts: object) -> Manifest:
        """Everything is stored."""
        with self._begin(repository, "full") as writer:
            self._fill(writer, lambda made, number: any(made.pages[number]))
            return self._complete(writer, **facts)

    def incremental(self, repository: Repository, base: Manifest) -> Manifest:
        """What changed since ``base``, which must be the backup before."""
        with self._begin(repository, "incremental") as writer:
            self._fill(writer, lambda made, number: number in made.changed)
            return self._complete(writer, base=Base(label=base.label, checkpoint_lsn=base.lsn.checkpoint))

    def referring_full(self, repository: Repository, built_on: Manifest) -> Manifest:
        """What changed since the backup before; the rest is referred to."""
        chain = read_chain(Catalog(repository), built_on)
        stored = PageMap()
        for made in self.files.values():
            for number in made.changed:
                stored.claim((made.space_id, 0), PAGE, number * PAGE, PAGE)
        with self._begin(repository, "full") as writer:
            self._fill(writer, lambda made, number: number in made.changed)
            spaces = {entry.number: entry for entry in self._table() if entry.space_id is not None}
            overlay = Overlay(chain, spaces, stored)
            reader = BackupReader(repository, built_on)
            for pass_ in overlay.passes:
                for part in pass_.parts:
                    index = reader.index_part(part.reference, chain.links[part.link].backup)
                    for record in overlay.records(pass_, part, index):
                        writer.refer(index.packs[record.pack], [record._replace(stage=Stage.FILE)])
            return self._complete(writer, built_on=built_on.label)

    def _made(self, space_id: int, count: int) -> MadeTablespace:
        pages = [
            self._page() if not number or self.chance.random() < 0.7 else bytes(PAGE)
            for number in range(count)
        ]
        return MadeTablespace(space_id, pages, {number for number, page in enumerate(pages) if any(page)})

    def _page(self) -> bytes:
        return made_page(self.chance.randbytes(PAGE))

    def _change(self, made: MadeTablespace, number: int) -> None:
        made.pages[number] = self._page() if self.chance.random() < 0.9 else bytes(PAGE)
        made.changed.add(number)

    def _begin(self, repository: Repository, kind: str) -> AbstractContextManager[BackupWriter]:
        self._plain = {_POOL: self.chance.randbytes(5000), _REDO: self.chance.randbytes(6 * PAGE)}
        self.backups += 1
        return begin_backup(
            repository,
            "s1",
            kind,
            parallelism=Parallelism(upload_threads=2),
            pack_size=6 * PAGE,
            level=1,
            clock=SystemClock(),
            packs_per_part=5,
            at=_BEGAN + timedelta(hours=6 * self.backups),
        )

    def _table(self) -> tuple[FileEntry, ...]:
        """New numbers for every backup, as a clone gives them."""
        sizes = {name: len(made.pages) * PAGE for name, made in self.files.items()}
        sizes |= {name: len(data) for name, data in self._plain.items()} | {"#clone/#status_fix": 0}
        numbers = list(range(len(sizes)))
        random.Random(self.backups).shuffle(numbers)
        return tuple(
            FileEntry(
                number=number,
                name=name,
                size=size,
                space_id=self.files[name].space_id if name in self.files else None,
                page_size=PAGE if name in self.files else None,
            )
            for number, (name, size) in zip(numbers, sizes.items(), strict=True)
        )

    def _fill(self, writer: BackupWriter, wanted: Wanted) -> None:
        lanes = [writer.open_lane(), writer.open_lane()]
        numbers = {entry.name: entry.number for entry in self._table()}
        later: list[tuple[Extent, bytes]] = []
        turn = 0
        for name, made in self.files.items():
            run: list[int] = []
            for number in range(len(made.pages) + 1):
                if number < len(made.pages) and wanted(made, number):
                    run.append(number)
                    if len(run) < 7:
                        continue
                if run:
                    turn += 1
                    lanes[turn % 2].add(*self._block(numbers[name], made, run, later))
                    run = []
        for at in range(0, len(later), 3):
            group = later[at : at + 3]
            data = b"".join(each for _, each in group)
            lanes[at % 2].add(Stage.PAGE, [extent for extent, _ in group], memoryview(data))
        pool, redo = self._plain[_POOL], self._plain[_REDO]
        lanes[0].add(Stage.FILE, [Extent(numbers[_POOL], 0, len(pool))], memoryview(pool))
        lanes[1].add(Stage.REDO, [Extent(numbers[_REDO], 2048, len(redo) - 2048)], memoryview(redo)[2048:])
        lanes[1].add(Stage.REDO, [Extent(numbers[_REDO], 0, 2048)], memoryview(redo)[:2048])
        for lane in lanes:
            lane.close()

    def _block(
        self, file: int, made: MadeTablespace, run: Sequence[int], later: list[tuple[Extent, bytes]]
    ) -> tuple[Stage, list[Extent], memoryview]:
        """A run of pages (with gaps, so of several extents), some of which were older when they were read."""
        extents: list[Extent] = []
        data = b""
        for number in run:
            page = made.pages[number]
            if self.chance.random() < 0.2:
                later.append((Extent(file, number * PAGE, PAGE), page))
                page = self._page()
            data += page
            if extents and extents[-1].offset + extents[-1].length == number * PAGE:
                extents[-1] = Extent(file, extents[-1].offset, extents[-1].length + PAGE)
            else:
                extents.append(Extent(file, number * PAGE, PAGE))
        return Stage.FILE, extents, memoryview(data)

    def _complete(self, writer: BackupWriter, **changes: object) -> Manifest:
        facts = made_facts({}, low=f"{UUID}:1-5", high=f"{UUID}:1-9")
        facts = facts.model_copy(update={"files": self._table(), **changes})
        for made in self.files.values():
            made.changed = set()
        return writer.complete(facts)


def made_chain(repository: Repository, server: MadeServer, links: int = 5) -> list[Manifest]:
    """A full and incrementals on it, oldest first; ``server.content()`` is that of the last."""
    taken = [server.full(repository)]
    while len(taken) < links:
        server.live()
        taken.append(server.incremental(repository, taken[-1]))
    return taken
