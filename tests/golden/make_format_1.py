"""Writes ``format-1/`` beside this file: a repository of format 1, its keys, and what must be restored from it.

It was run once, when format 1 was settled, and refuses to run again: a golden repository is worth something
only as long as nobody writes it anew. Format 2 gets a script and a folder of its own.

    python tests/golden/make_format_1.py
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fleet.blocks import Extent, Stage
from fleet.parallelism import Parallelism
from repository.catalog import Catalog
from repository.keys import FileSource, Keyring, PassphraseSource, create_key_file
from repository.manifest import (
    BackupFacts,
    BinlogBracket,
    Donor,
    FileEntry,
    GtidBracket,
    Lsn,
    Proof,
    ProofCheck,
    Settings,
)
from repository.repository import Repository, tool_version
from repository.stores.filesystem import FilesystemStore
from repository.writer import begin_backup

FOLDER = Path(__file__).with_name("format-1")
PASSPHRASE = "correct horse battery staple ♞"
PAGE = 4096
UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"

Blocks = list[tuple[Stage, tuple[Extent, ...], bytes]]


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


def file_table() -> tuple[FileEntry, ...]:
    """Tablespaces in one and two files, small pages, a hole, redo, a plain file, empty ones, odd names."""
    return (
        FileEntry(number=0, name="ibdata1", size=6 * PAGE, space_id=0, page_size=PAGE),
        FileEntry(number=1, name="ibdata2", size=3 * PAGE, space_id=0, ordinal=1, page_size=PAGE),
        FileEntry(number=2, name="mysql.ibd", size=5 * PAGE, space_id=4294967294, page_size=PAGE),
        FileEntry(number=3, name="shop/orders#p#p2026.ibd", size=9 * PAGE, space_id=12, page_size=PAGE),
        FileEntry(number=4, name="shop/packed.ibd", size=16 * 1024, space_id=13, page_size=1024),
        FileEntry(number=6, name="caf@00e9/t.ibd", size=40 * PAGE, space_id=14, page_size=PAGE),
        FileEntry(number=7, name="undo_001", size=2 * PAGE, space_id=4294967279, page_size=PAGE),
        FileEntry(number=8, name="#innodb_redo/#ib_redo0", size=5 * PAGE),
        FileEntry(number=9, name="ib_buffer_pool", size=777),
        FileEntry(number=10, name="#clone/#status_fix", size=0),
        FileEntry(number=11, name="#clone/#replace_files", size=0),
    )


def blocks(seed: int) -> Blocks:
    """What arrives: data that compresses, data that does not, pages that come again, a file that was dropped."""
    chance = random.Random(seed)
    made: Blocks = []
    for entry in file_table():
        covered = 2 * PAGE if entry.name.startswith("caf") else entry.size
        source = chance.randbytes(covered) if entry.number % 2 else _text(chance, covered)
        for at in range(0, covered, 2 * PAGE):
            piece = source[at : at + 2 * PAGE]
            made.append((Stage.FILE, (Extent(entry.number, at, len(piece)),), piece))
    made.append((Stage.FILE, (Extent(5, 0, PAGE),), _text(chance, PAGE)))
    made.append(
        (Stage.FILE, (Extent(6, 39 * PAGE, 100), Extent(6, 20 * PAGE, PAGE)), _text(chance, PAGE + 100))
    )
    pages = [Extent(file, page * PAGE, PAGE) for file in (0, 2, 3, 5) for page in chance.sample(range(5), 3)]
    pages += [Extent(4, page * 1024, 1024) for page in (1, 5, 6)]
    for at in range(0, len(pages), 5):
        group = tuple(pages[at : at + 5])
        makers = (chance.randbytes, lambda size: _text(chance, size), bytes)
        data = b"".join(chance.choice(makers)(each.length) for each in group)
        made.append((Stage.PAGE, group, data))
    made.append((Stage.PAGE, (Extent(3, 8 * PAGE, PAGE),), chance.randbytes(PAGE)))
    made.append((Stage.REDO, (Extent(8, 2048, 3 * PAGE),), _text(chance, 3 * PAGE)))
    made.append((Stage.REDO, (Extent(8, 0, 2048),), chance.randbytes(2048)))
    made.append((Stage.REDO, (Extent(8, 2048 + 3 * PAGE, 512),), b"trailer".ljust(512, b"\0")))
    return made


def _text(chance: random.Random, size: int) -> bytes:
    words = [b"order", b"paid", b"shipped", b"returned", b"2026-03-01", b"\0\0\0\0"]
    return b" ".join(chance.choice(words) for _ in range(size))[:size]


def content(made: Blocks) -> dict[str, bytes]:
    """The files in the end, by FORMAT.md, section 7, and by none of our readers."""
    files = {entry.number: bytearray(entry.size) for entry in file_table()}
    for _, extents, data in made:
        at = 0
        for extent in extents:
            if extent.file in files:
                files[extent.file][extent.offset : extent.offset + extent.length] = data[
                    at : at + extent.length
                ]
            at += extent.length
    return {entry.name: bytes(files[entry.number]) for entry in file_table()}


def facts() -> BackupFacts:
    return BackupFacts(
        files=file_table(),
        directories=("#clone", "#innodb_redo", "mysql", "shop", "empty_schema"),
        donor=Donor(
            server_uuid=UUID,
            server_name="s1-b",
            host="s1-b.example",
            port=3306,
            version="9.7.4",
            compile_machine="x86_64",
            compile_os="Linux",
        ),
        settings=Settings(
            innodb_page_size=PAGE,
            lower_case_table_names=0,
            innodb_data_file_path="ibdata1:24K;ibdata2:12K:autoextend",
            character_set_server="utf8mb4",
            collation_server="utf8mb4_0900_ai_ci",
            plugins=("clone", "rpl_semi_sync_source"),
            collations=("utf8mb4_0900_ai_ci",),
            variables={"innodb_undo_directory": "./"},
        ),
        lsn=Lsn(start=19_000_000, checkpoint=19_000_512, end=19_012_800),
        gtid=GtidBracket(low=f"{UUID}:1-41", high=f"{UUID}:1-44:nightly:1-2"),
        binlog=BinlogBracket(low_file="b.000007", low_position=157, high_file="b.000007", high_position=902),
    )


def take(repository: Repository, shard: str, clock: FixedClock, made: Blocks) -> str:
    with begin_backup(
        repository,
        shard,
        "full",
        parallelism=Parallelism(upload_threads=2),
        pack_size=24 * 1024,
        level=1,
        clock=clock,
        packs_per_part=2,
    ) as writer:
        lanes = [writer.open_lane(), writer.open_lane()]
        for turn, (stage, extents, data) in enumerate(made):
            lanes[turn % 2].add(stage, extents, memoryview(data))
        for lane in lanes:
            lane.close()
        writer.complete(facts(), seconds={"clone": 1.25})
    return writer.label


def prove(repository: Repository, shard: str, label: str, clock: FixedClock) -> None:
    catalog = Catalog(repository)
    manifest = catalog.manifest(shard, label)
    catalog.record_proof(
        manifest,
        Proof(
            repository_id=repository.repository_id,
            shard=shard,
            label=label,
            proven=True,
            gtid_executed=f"{UUID}:1-43:nightly:1",
            server_version="9.7.4",
            checks=(ProofCheck(name="check table shop.orders", passed=True, detail="OK"),),
            seconds={"fetch": 2.5, "recover": 4.0},
            finished_at=clock.now(),
            created_by=tool_version(),
        ),
    )


def main() -> None:
    if FOLDER.exists():
        sys.exit(f"{FOLDER} exists; a golden repository is never written anew")
    FOLDER.mkdir()
    clock = FixedClock()
    create_key_file(FOLDER / "backup.key")
    (FOLDER / "passphrase").write_text(PASSPHRASE + "\n", "utf-8")
    by_file = FileSource("office-safe", FOLDER / "backup.key")
    by_passphrase = PassphraseSource("in-my-head", lambda: PASSPHRASE)
    store = FilesystemStore(FOLDER / "repository")
    first = Repository.create(store, Keyring([by_file, by_passphrase]), clock)
    second = Repository.open(store, Keyring([by_passphrase, by_file]))
    expected: dict[str, dict[str, dict[str, object]]] = {}
    for repository, shard, seed in ((first, "s1", 1), (first, "s1", 2), (second, "s2", 3)):
        made = blocks(seed)
        label = take(repository, shard, clock, made)
        expected[f"{shard}/{label}"] = {
            name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in content(made).items()
        }
    prove(first, "s1", next(iter(expected)).partition("/")[2], clock)
    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
