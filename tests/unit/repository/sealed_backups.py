"""Small backups with everything in them that real ones have, and stores that fail on purpose."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fleet.blocks import Extent, Stage
from fleet.errors import StoreUnreachable, ToolError
from fleet.parallelism import Parallelism
from repository.keys import FileSource, Keyring, create_key_file
from repository.manifest import (
    BackupFacts,
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
from repository.stores.interface import Buffer, ObjectInfo, Page, Stored
from repository.stores.memory import MemoryStore
from repository.writer import BackupWriter, begin_backup

PAGE = 1024
UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
DROPPED_FILE = 99


class TickingClock:
    """Every look at it is a second later, so labels differ."""

    def __init__(self) -> None:
        self._now = datetime(2026, 3, 1, 2, 15, tzinfo=UTC)

    def now(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now

    def monotonic(self) -> float:
        return self._now.timestamp()

    def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


@dataclass
class Sample:
    """What a donor sends: blocks in order of stages, and what the files must be in the end."""

    files: tuple[FileEntry, ...]
    blocks: list[tuple[Stage, tuple[Extent, ...], bytes]] = field(default_factory=list)

    def content(self) -> dict[str, bytes]:
        made = {entry.number: bytearray(entry.size) for entry in self.files}
        for _, extents, data in self.blocks:
            at = 0
            for extent in extents:
                if extent.file in made:
                    end = extent.offset + extent.length
                    made[extent.file][extent.offset : end] = data[at : at + extent.length]
                at += extent.length
        return {entry.name: bytes(made[entry.number]) for entry in self.files}


def sample(seed: int = 1, *, pages: int = 24) -> Sample:
    """Tablespaces that compress well and not at all, a hole, an empty file, a dropped one, pages and redo."""
    chance = random.Random(seed)
    files = (
        FileEntry(number=0, name="ibdata1", size=pages * PAGE, space_id=0, page_size=PAGE),
        FileEntry(number=1, name="shop/orders.ibd", size=pages * PAGE, space_id=7, page_size=PAGE),
        FileEntry(number=2, name="shop/holes.ibd", size=64 * PAGE, space_id=8, page_size=PAGE),
        FileEntry(number=3, name="shop/empty.ibd", size=0, space_id=9, page_size=PAGE),
        FileEntry(number=5, name="#innodb_redo/#ib_redo0", size=8 * PAGE),
        FileEntry(number=6, name="#clone/#status_fix", size=0),
    )
    made = Sample(files)
    text = b"".join(b"%d:%d;" % (number, chance.getrandbits(8)) for number in range(pages * PAGE))
    for number, source in ((0, text), (1, chance.randbytes(pages * PAGE))):
        for at in range(0, pages * PAGE, 3 * PAGE):
            data = source[at : at + min(3 * PAGE, pages * PAGE - at)]
            made.blocks.append((Stage.FILE, (Extent(number, at, len(data)),), data))
    made.blocks.append(
        (Stage.FILE, (Extent(2, 40 * PAGE, PAGE), Extent(2, 0, 10)), chance.randbytes(PAGE + 10))
    )
    made.blocks.append((Stage.FILE, (Extent(DROPPED_FILE, 0, PAGE),), bytes(PAGE)))
    some = sorted(chance.sample(range(pages), pages // 2))
    pieces = [Extent(number, page * PAGE, PAGE) for page in some for number in (0, 1, DROPPED_FILE)]
    for at in range(0, len(pieces), 8):
        group = tuple(pieces[at : at + 8])
        data = b"".join(chance.choice((chance.randbytes(PAGE), bytes(PAGE))) for _ in group)
        made.blocks.append((Stage.PAGE, group, data))
    made.blocks.append((Stage.REDO, (Extent(5, 2048, 3000),), chance.randbytes(3000)))
    made.blocks.append((Stage.REDO, (Extent(5, 0, 512),), b"header" + bytes(506)))
    return made


def facts(files: tuple[FileEntry, ...], **changes: object) -> BackupFacts:
    """What the one who takes a backup knows."""
    known: dict[str, object] = {
        "files": files,
        "directories": ("mysql", "shop", "#clone"),
        "donor": Donor(
            server_uuid=UUID,
            server_name="s1-b",
            host="10.0.0.2",
            port=3306,
            version="9.7.4",
            compile_machine="x86_64",
            compile_os="Linux",
        ),
        "settings": Settings(
            innodb_page_size=16384,
            lower_case_table_names=0,
            innodb_data_file_path="ibdata1:12M:autoextend",
            character_set_server="utf8mb4",
            collation_server="utf8mb4_0900_ai_ci",
        ),
        "lsn": Lsn(start=1, checkpoint=2, end=3),
        "gtid": GtidBracket(low=f"{UUID}:1-5", high=f"{UUID}:1-9"),
        "binlog": BinlogBracket(low_file="b.1", low_position=4, high_file="b.1", high_position=9),
    }
    return BackupFacts.model_validate(known | changes)


def file_keyring(folder: Path, key_id: str = "k1") -> Keyring:
    """A keyring of one key in a file, made if it is not there."""
    path = folder / f"{key_id}.key"
    if not path.exists():
        create_key_file(path)
    return Keyring([FileSource(key_id, path)])


def begin(
    repository: Repository,
    clock: TickingClock,
    *,
    shard: str = "s1",
    pack_size: int = 6 * PAGE,
    packs_per_part: int = 3,
    uploads: int = 2,
) -> BackupWriter:
    return begin_backup(
        repository,
        shard,
        "full",
        parallelism=Parallelism(upload_threads=uploads),
        pack_size=pack_size,
        level=1,
        clock=clock,
        packs_per_part=packs_per_part,
    )


def fill(writer: BackupWriter, made: Sample, *, lanes: int = 2) -> None:
    """Send all blocks through lanes in turn, and close them."""
    opened = [writer.open_lane() for _ in range(lanes)]
    for turn, (stage, extents, data) in enumerate(made.blocks):
        opened[turn % lanes].add(stage, extents, memoryview(data))
    for lane in opened:
        lane.close()


def take(
    repository: Repository,
    clock: TickingClock,
    made: Sample,
    *,
    shard: str = "s1",
    lanes: int = 2,
    uploads: int = 2,
) -> Manifest:
    """A whole backup; one that fails is abandoned."""
    with begin(repository, clock, shard=shard, uploads=uploads) as writer:
        fill(writer, made, lanes=lanes)
        return writer.complete(facts(made.files))


def restored(repository: Repository, manifest: Manifest, **options: int) -> dict[str, bytes]:
    """The files of a backup by the plainest reading of FORMAT.md, section 7."""
    reader = BackupReader(repository, manifest, **options)
    made = {entry.number: bytearray(entry.size) for entry in manifest.files}
    for stage in Stage:
        for part in reader.index_parts():
            for pack, records in part.by_pack():
                wanted = {record.frame: record.span for record in records if record.stage is stage}
                for frame in reader.frames(pack, list(wanted.values())):
                    for record in records:
                        if record.frame == frame.number and record.file in made:
                            piece = frame.data[record.skip : record.skip + record.length]
                            made[record.file][record.offset : record.offset + record.length] = piece
    return {entry.name: bytes(made[entry.number]) for entry in manifest.files}


def names(store: MemoryStore, prefix: str = "") -> list[str]:
    return sorted(info.key for info in store.list(prefix))


def replace(store: MemoryStore, name: str, data: bytes) -> None:
    """Change an object behind everybody's back."""
    store.put(name, data, if_absent=False)


class ToldStore:
    """Calls ``before`` and ``after`` around every operation of ``inner``; either may raise."""

    def __init__(self, inner: MemoryStore) -> None:
        self.inner = inner
        self.properties = inner.properties
        self.lock = inner.lock

    def before(self, operation: str, key: str) -> None: ...

    def after(self, operation: str, key: str) -> None: ...

    def put(self, key: str, data: Buffer, *, if_absent: bool = True, sha256: bytes | None = None) -> Stored:
        self.before("put", key)
        stored = self.inner.put(key, data, if_absent=if_absent, sha256=sha256)
        self.after("put", key)
        return stored

    def get(self, key: str) -> bytes:
        self.before("get", key)
        return self.inner.get(key)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        self.before("get_range", key)
        return self.inner.get_range(key, offset, length)

    def prolong(self, key: str, until: datetime) -> None:
        self.before("prolong", key)
        self.inner.prolong(key, until)

    def locked_until(self, key: str) -> datetime | None:
        self.before("locked_until", key)
        return self.inner.locked_until(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self.before("list", prefix)
        return self.inner.list(prefix)

    def list_page(self, prefix: str, token: str | None = None) -> Page:
        self.before("list", prefix)
        return self.inner.list_page(prefix, token)

    def stat(self, key: str) -> ObjectInfo:
        self.before("stat", key)
        return self.inner.stat(key)

    def delete(self, key: str) -> None:
        self.before("delete", key)
        self.inner.delete(key)
        self.after("delete", key)

    def describe(self) -> str:
        return self.inner.describe()


class DyingStore(ToldStore):
    """Fails at operation ``at`` (from 1): before it has an effect, or ``unheard``: after, so nobody knows.

    With ``forever`` every later operation fails too, as after a kill.
    """

    def __init__(self, inner: MemoryStore, at: int, *, unheard: bool, forever: bool) -> None:
        super().__init__(inner)
        self.operations = 0
        self._at = at
        self._unheard = unheard
        self._forever = forever
        self._lock = threading.Lock()
        self._current = threading.local()

    def before(self, operation: str, key: str) -> None:
        with self._lock:
            self.operations += 1
            number = self._current.number = self.operations
        if self._forever and number > self._at:
            raise self._error(operation, key)
        if number == self._at and not (self._unheard and operation in {"put", "delete"}):
            raise self._error(operation, key)

    def after(self, operation: str, key: str) -> None:
        if self._current.number == self._at and self._unheard:
            raise self._error(operation, key)

    def _error(self, operation: str, key: str) -> ToolError:
        return StoreUnreachable(f"{operation} {key}: the store is gone")


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def differing(left: Mapping[str, bytes], right: Mapping[str, bytes]) -> list[str]:
    """Names whose bytes are not the same: short enough to read when a test fails."""
    return sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))
