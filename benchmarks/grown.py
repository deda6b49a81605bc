"""A repository as months of many shards leave it, made without a server: by our own writers, of little data.

Manifests have file tables of real size, archives real segments; packs hold next to nothing, for what reads
them is not what is measured with this.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from fleet.blocks import Extent, Stage
from fleet.clock import SystemClock
from fleet.gtid import GtidSet
from fleet.parallelism import Parallelism
from fleet.transaction import Gtid, Kind, Transaction
from repository.archive.archive import ShardArchive
from repository.archive.ledger import EpochFacts
from repository.archive.segment import MAGIC, SegmentDraft
from repository.keys import FileSource, Keyring
from repository.layout import BinlogFile
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
from repository.stores.filesystem import FilesystemStore
from repository.writer import begin_backup

KEY_ID = "benchmark"
PAGE = 16384
EVENT_BYTES = 300
EMPTY = GtidSet()


@dataclass(frozen=True)
class Growth:
    """How much there is. ``files``: of a backup's file table; ``segments``: of a shard's archive in a day,
    which is one binlog file; each has so many ``transactions``. Of ``rebase_every`` fulls one is stored.
    """

    shards: int = 8
    days: int = 30
    incrementals: int = 4
    files: int = 2000
    segments: int = 10
    transactions: int = 100
    rebase_every: int = 7

    @property
    def backups(self) -> int:
        return self.shards * self.days * (1 + self.incrementals)


class SetClock:
    """The time that it was set to; durations are real."""

    def __init__(self, now: datetime) -> None:
        self.set_to = now
        self._real = SystemClock()

    def now(self) -> datetime:
        return self.set_to

    def monotonic(self) -> float:
        return self._real.monotonic()

    def sleep(self, seconds: float) -> None:
        self._real.sleep(seconds)


def shard_names(growth: Growth) -> list[str]:
    """``shard-1`` and so on."""
    return [f"shard-{number + 1}" for number in range(growth.shards)]


def grow(folder: Path, key: Path, growth: Growth, now: datetime) -> None:
    """Make a new repository in ``folder``, whose backups and binlogs end at ``now``; two shards at a time."""
    Repository.create(FilesystemStore(folder), _keyring(key), SystemClock())
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(partial(grow_shard, folder, key, growth, now), shard_names(growth)):
            pass


def grow_shard(folder: Path, key: Path, growth: Growth, now: datetime, shard: str) -> None:
    """The days of one shard."""
    repository = Repository.open(FilesystemStore(folder), _keyring(key))
    life = _ShardLife(repository, shard, growth, now - timedelta(days=growth.days))
    for day in range(growth.days):
        life.live(day)


class _ShardLife:
    def __init__(self, repository: Repository, shard: str, growth: Growth, began: datetime) -> None:
        self._repository = repository
        self._shard = shard
        self._growth = growth
        self._began = began
        self._chance = random.Random(shard)
        self._uuid = str(_uuid(self._chance))
        self._files = tuple(file_table(growth.files))
        self._archive = ShardArchive(repository, shard, level=1)
        self._archive.open_epoch(
            EpochFacts("first", self._uuid, "db", inherited=EMPTY, parent=None, branch=EMPTY, skipped=EMPTY),
            SetClock(began),
        )
        self._done = 0
        self._checkpoint = 1000
        self._newest: Manifest | None = None
        self._stored: Manifest | None = None

    def live(self, day: int) -> None:
        """A binlog file, whose segments lie between the day's backups."""
        growth = self._growth
        starts = self._began + timedelta(days=day)
        file = BinlogFile(1, self._uuid, f"binlog.{day + 1:06d}", int(starts.timestamp()))
        previous = self._executed()
        position = 0
        every = -(-growth.segments // (growth.incrementals + 1))
        for number in range(growth.segments):
            at = starts + timedelta(days=number / growth.segments)
            if number % every == 0:
                self._back_up(at, day, number // every)
            position = self._segment(file, position, previous, at, last=number == growth.segments - 1)

    def _segment(self, file: BinlogFile, start: int, previous: GtidSet, at: datetime, *, last: bool) -> int:
        begin = start or 126
        count = self._growth.transactions
        end = begin + count * EVENT_BYTES
        data = bytearray(self._chance.randbytes((end - start) // 4)).ljust(end - start, b"\0")
        if start == 0:
            data[: len(MAGIC)] = MAGIC
        first_us = int(at.timestamp() * 1e6)
        size = EVENT_BYTES
        made = [
            Transaction(
                Gtid(self._uuid, "", self._done + 1 + number), first_us + number * 1000,
                begin + number * size, size, Kind.UPDATE, (f"shop.table_{number % 40:02d}",), "",
            )
            for number in range(count)
        ]  # fmt: skip
        draft = SegmentDraft(file, start, data, "rotate" if last else None, previous, self._executed(), made)
        self._archive.put(self._archive.seal(draft))
        self._done += count
        return end

    def _back_up(self, at: datetime, day: int, number: int) -> None:
        self._checkpoint += 100
        kind = "incremental" if number else "full"
        refers = kind == "full" and day % self._growth.rebase_every > 0
        writer = begin_backup(
            self._repository, self._shard, kind, parallelism=Parallelism(upload_threads=1), pack_size=1 << 20,
            level=1, clock=SetClock(at),
        )  # fmt: skip
        with writer:
            lane = writer.open_lane()
            page = memoryview(self._chance.randbytes(PAGE))
            lane.add(Stage.FILE, (Extent(1 if refers or number else 0, 0, PAGE),), page)
            lane.close()
            if refers and self._stored:
                for part in BackupReader(self._repository, self._stored).index_parts():
                    for pack, records in part.by_pack():
                        writer.refer(pack, records)
            base = self._newest if number else None
            built_on = self._newest.label if refers and self._newest else None
            manifest = writer.complete(self._facts(base, built_on))
        self._newest = manifest
        if kind == "full" and not refers:
            self._stored = manifest

    def _facts(self, base: Manifest | None, built_on: str | None) -> BackupFacts:
        executed = str(self._executed())
        return BackupFacts(
            files=self._files,
            directories=("mysql", "shop"),
            donor=Donor(
                server_uuid=self._uuid, server_name="db", host="127.0.0.1", port=3306, version="9.7.4",
                compile_machine="x86_64", compile_os="Linux",
            ),
            settings=Settings(
                innodb_page_size=PAGE, lower_case_table_names=0,
                innodb_data_file_path="ibdata1:12M:autoextend", character_set_server="utf8mb4",
                collation_server="utf8mb4_0900_ai_ci",
            ),
            lsn=Lsn(start=self._checkpoint, checkpoint=self._checkpoint, end=self._checkpoint + 50),
            gtid=GtidBracket(low=executed, high=executed),
            binlog=BinlogBracket(
                low_file="binlog.000001", low_position=4, high_file="binlog.000001", high_position=4
            ),
            base=Base(label=base.label, checkpoint_lsn=base.lsn.checkpoint) if base else None,
            built_on=built_on,
        )  # fmt: skip

    def _executed(self) -> GtidSet:
        return GtidSet.parse(f"{self._uuid}:1-{self._done}") if self._done else EMPTY


def file_table(count: int) -> Iterator[FileEntry]:
    """The system's tablespace and ``count - 1`` tables in forty schemas, a gigabyte each."""
    yield FileEntry(number=0, name="ibdata1", size=12 << 20, space_id=0, page_size=PAGE)
    for number in range(1, count):
        yield FileEntry(
            number=number, name=f"schema_{number % 40:02d}/customer_orders_{number:05d}.ibd", size=1 << 30,
            space_id=number, page_size=PAGE,
        )  # fmt: skip


def _uuid(chance: random.Random) -> str:
    digits = f"{chance.getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _keyring(key: Path) -> Keyring:
    return Keyring([FileSource(KEY_ID, key)])
