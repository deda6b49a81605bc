"""Backups of made-up data directories, written by the real writer into a store in memory."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from fleet.blocks import Extent, Stage
from fleet.clock import SystemClock
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
from repository.repository import Repository
from repository.stores.interface import Store
from repository.stores.memory import MemoryStore
from repository.writer import begin_backup

PAGE = 16 * 1024
UUID = "287fdf40-e6c2-11f1-ac64-02fc00000001"


@dataclass
class MadeFile:
    """A file as a clone sends it: bytes by offset that FILE brings, and that PAGE or REDO bring over them."""

    size: int
    first: dict[int, bytes] = field(default_factory=dict)
    then: dict[int, bytes] = field(default_factory=dict)
    redo: dict[int, bytes] = field(default_factory=dict)
    space_id: int | None = None
    page_size: int | None = None

    def held_bytes(self) -> int:
        """How many of its bytes the backup holds, each counted once."""
        held = bytearray(self.size)
        for stage in (self.first, self.then, self.redo):
            for offset, data in stage.items():
                held[offset : offset + len(data)] = b"\x01" * len(data)
        return held.count(1)

    def content(self) -> bytes:
        """What must be restored."""
        made = bytearray(self.size)
        for stage in (self.first, self.then, self.redo):
            for offset, data in stage.items():
                made[offset : offset + len(data)] = data
        return bytes(made)


def made_data_directory(seed: int = 1, *, pages: int = 40) -> dict[str, MadeFile]:
    """Tablespaces with zeros in them, pages that come twice, redo with its header last, small and empty
    files.
    """
    chance = random.Random(seed)

    def tablespace(space_id: int, count: int) -> MadeFile:
        made = MadeFile(count * PAGE, space_id=space_id, page_size=PAGE)
        for number in range(0, count, 3):
            block = b"".join(
                bytes(PAGE) if number and chance.random() < 0.3 else chance.randbytes(PAGE)
                for _ in range(min(3, count - number))
            )
            made.first[number * PAGE] = block
        for number in chance.sample(range(count), count // 5):
            made.then[number * PAGE] = chance.randbytes(PAGE) if chance.random() < 0.8 else bytes(PAGE)
        return made

    redo = MadeFile(20 * PAGE)
    for at in range(2048, 9 * PAGE, 4096):
        redo.redo[at] = chance.randbytes(min(4096, 9 * PAGE - at))
    redo.redo[0] = chance.randbytes(2048)
    new_file = MadeFile(64 * PAGE, space_id=9, page_size=PAGE)
    new_file.first[0] = chance.randbytes(PAGE)
    new_file.then[3 * PAGE] = chance.randbytes(PAGE)
    return {
        "ibdata1": tablespace(0, pages),
        "mysql.ibd": tablespace(4_294_967_294, pages // 2),
        "shop/orders.ibd": tablespace(5, 3 * pages),
        "shop/archive/old.ibd": tablespace(6, 17),
        "shop/grown.ibd": new_file,
        "ib_buffer_pool": MadeFile(6366, {0: chance.randbytes(6366)}),
        "#innodb_redo/#ib_redo0": redo,
        "#clone/#status_fix": MadeFile(0),
    }


def made_repository(store: Store | None = None, *, key: Path | None = None) -> Repository:
    """A new repository, in memory and with a key that nobody keeps unless they are given."""
    with TemporaryDirectory() as folder:
        path = key or Path(folder) / "key"
        create_key_file(path)
        return Repository.create(store or MemoryStore(), Keyring([FileSource("k1", path)]), SystemClock())


def write_made_backup(
    repository: Repository,
    files: Mapping[str, MadeFile],
    *,
    low: str = f"{UUID}:1-5",
    high: str = f"{UUID}:1-9",
) -> Manifest:
    """Write ``files`` with two lanes, small packs and small index parts, and pages of a dropped file."""
    numbers = {name: number for number, name in enumerate(files)}
    with begin_backup(
        repository,
        "s1",
        "full",
        parallelism=Parallelism(upload_threads=2),
        pack_size=4 * PAGE,
        level=1,
        clock=SystemClock(),
        packs_per_part=7,
    ) as writer:
        lanes = [writer.open_lane(), writer.open_lane()]
        lanes[0].add(Stage.FILE, [Extent(999, 0, PAGE)], memoryview(os.urandom(PAGE)))
        turn = 0
        for stage, of in ((Stage.FILE, "first"), (Stage.PAGE, "then"), (Stage.REDO, "redo")):
            for name, made in files.items():
                for offset, data in getattr(made, of).items():
                    turn += 1
                    lanes[turn % 2].add(stage, [Extent(numbers[name], offset, len(data))], memoryview(data))
        for lane in lanes:
            lane.close()
        return writer.complete(made_facts(files, low=low, high=high))


def made_facts(files: Mapping[str, MadeFile], *, low: str, high: str, version: str = "9.7.4") -> BackupFacts:
    """What the one who takes a backup knows of it."""
    return BackupFacts(
        files=tuple(
            FileEntry(
                number=number, name=name, size=made.size, space_id=made.space_id, page_size=made.page_size
            )
            for number, (name, made) in enumerate(files.items())
        ),
        directories=("mysql", "#clone", "#innodb_redo", "shop", "shop/archive", "empty"),
        donor=Donor(
            server_uuid=UUID,
            server_name="a",
            host="localhost",
            port=3306,
            version=version,
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
        lsn=Lsn(start=1, checkpoint=2, end=3),
        gtid=GtidBracket(low=low, high=high),
        binlog=BinlogBracket(low_file="b.1", low_position=4, high_file="b.1", high_position=5),
    )


def directory_content(root: Path) -> dict[str, bytes]:
    """Every file below ``root`` with its bytes."""
    return {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
    }


def expected_content(files: Mapping[str, MadeFile]) -> dict[str, bytes]:
    """What ``directory_content`` must give after a restore."""
    return dict(sorted((name, made.content()) for name, made in files.items()))
