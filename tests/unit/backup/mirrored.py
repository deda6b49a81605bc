"""A repository with backups and an archive in memory, and runs of its mirror."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from backup.archive.news import News
from backup.mirror.journal import Journal
from backup.mirror.report import MirrorOutcome
from backup.mirror.run import Mirroring, run_mirror
from fleet.model import Fleet
from repository.archive.archive import ShardArchive
from repository.archive.line import Line
from repository.catalog import Catalog
from repository.keys import Keyring
from repository.manifest import Manifest
from repository.mirror.places import open_places
from repository.repository import Repository
from repository.stores.interface import Store
from repository.stores.memory import MemoryStore
from repository.verify import verify_backup
from tests.unit.repository.archive.archived_binlogs import SOURCE, MadeFile, binlog, open_first
from tests.unit.repository.chained import Donor, take_link, take_referring
from tests.unit.repository.sealed_backups import TickingClock, file_keyring

KEEP_ALL = {"days": 30.0}


@dataclass
class World:
    """A primary, what was put into it, and the place of its mirror."""

    folder: Path
    keyring: Keyring
    clock: TickingClock = field(default_factory=TickingClock)
    primary: MemoryStore = field(default_factory=MemoryStore)
    mirror: MemoryStore = field(default_factory=MemoryStore)
    donor: Donor = field(default_factory=lambda: Donor(random.Random(7)))
    manifests: list[Manifest] = field(default_factory=list[Manifest])
    files: list[MadeFile] = field(default_factory=list[MadeFile])
    news: list[News] = field(default_factory=list[News])

    @classmethod
    def made(cls, folder: Path) -> World:
        world = cls(folder, file_keyring(folder))
        Repository.create(world.primary, world.keyring, world.clock)
        world.donor.create(5, 12)
        return world

    @property
    def repository(self) -> Repository:
        return Repository.open(self.primary, self.keyring)

    @property
    def mirrored(self) -> Repository:
        return Repository.open(self.mirror, self.keyring)

    def take_full(self) -> Manifest:
        self._change()
        self.manifests.append(take_link(self.repository, self.clock, self.donor).manifest)
        return self.manifests[-1]

    def take_incremental(self, base: Manifest) -> Manifest:
        self._change()
        self.manifests.append(take_link(self.repository, self.clock, self.donor, base).manifest)
        return self.manifests[-1]

    def take_referring(self, built_on: Manifest) -> Manifest:
        self._change()
        self.manifests.append(take_referring(self.repository, self.clock, self.donor, built_on).manifest)
        return self.manifests[-1]

    def archive_file(self, number: int, pieces: int = 3, *, uuid: str = SOURCE) -> MadeFile:
        """One more binlog file of five transactions of ``uuid``, closed, in so many segments."""
        archive = ShardArchive(self.repository, "s1", level=1)
        if not archive.epochs():
            open_first(archive)
        previous = self.files[-1].previous | self.files[-1].gtids() if self.files else None
        first = 5 * len(self.files) + 1
        made = MadeFile(binlog(number, created=1_770_000_000 + number), *([previous] if previous else []))
        made.run(uuid, first, first + 4).rotate()
        made.put(archive, made.cuts(pieces), "rotate")
        self.files.append(made)
        return made

    def fleet(self, retention: dict[str, Any] | None = None) -> Fleet:
        shard = {"name": "s1", "servers": [{"name": "s1-a", "host": "127.0.0.1", "region": "eu"}]}
        return Fleet.model_validate(
            {
                "name": "shop",
                "regions": ["eu"],
                "shards": [shard],
                "accounts": {"backup": {"user": "b", "password": {"env": "P"}}},
                "keys": [{"id": "k1", "provider": "file", "file": str(self.folder / "k1.key")}],
                "repository": {"url": f"file://{self.folder}/unused"},
                "mirror": {
                    "url": f"file://{self.folder}/unused-either",
                    "poll_seconds": 0.1,
                    "retention": retention or KEEP_ALL,
                },
            }
        )

    def run(
        self,
        *,
        primary: object = None,
        mirror: object = None,
        recheck: bool = False,
        retention: dict[str, Any] | None = None,
    ) -> MirrorOutcome:
        """One run with ``--once``; other stores may stand in for the two."""
        return run_mirror(self._wish(primary, mirror, retention, once=True, recheck=recheck))

    @contextmanager
    def running(self, *, primary: object = None, mirror: object = None) -> Iterator[threading.Event]:
        """A run without end; stopped when the block is left."""
        wish = self._wish(primary, mirror, None, once=False, recheck=False)
        failures: list[BaseException] = []

        def body() -> None:
            try:
                run_mirror(wish)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=body, daemon=True)
        thread.start()
        try:
            yield wish.cancelled
        finally:
            wish.cancelled.set()
            thread.join(30)
            assert not thread.is_alive()
        assert not failures, failures

    def _wish(
        self,
        primary: object,
        mirror: object,
        retention: dict[str, Any] | None,
        *,
        once: bool,
        recheck: bool,
    ) -> Mirroring:
        source, target = cast(Store, primary or self.primary), cast(Store, mirror or self.mirror)
        return Mirroring(
            self.fleet(retention),
            lambda: open_places(Repository.open(source, self.keyring), target, self.keyring),
            self.clock,
            threading.Event(),
            once=once,
            recheck=recheck,
            progress=self.news.append,
            journal=Journal(self.folder / "journal.json"),
        )

    def _change(self) -> None:
        for _ in range(2):
            self.donor.change(self.donor.files[0], self.donor.chance.randrange(12))


def filled(world: World) -> World:
    """A chain, a full that refers, and two binlog files."""
    full = world.take_full()
    incremental = world.take_incremental(full)
    world.take_referring(incremental)
    world.archive_file(1)
    world.archive_file(2)
    return world


def content(store: MemoryStore, *, without: tuple[str, ...] = ("leases/", "trials/")) -> dict[str, bytes]:
    return {info.key: store.get(info.key) for info in store.list("") if not info.key.startswith(without)}


def assert_readable(world: World) -> list[str]:
    """Whatever is in the mirror is whole; the labels of its backups."""
    mirrored = world.mirrored
    survey = Catalog(mirrored).survey()
    assert not survey.unreadable
    assert [each.broken for each in survey.backups] == [None] * len(survey.backups)
    for backup in survey.backups:
        report = verify_backup(mirrored, Catalog(mirrored).manifest(*backup.name))
        assert report.is_sound, report.damages
    archive = ShardArchive(mirrored, "s1")
    for epoch in archive.epochs():
        for file in archive.files(epoch.epoch):
            assert not file.holes
            assert file.parts[0].first == 0
            for part in file.parts:
                archive.read_part(part)
    return [backup.label for backup in survey.backups]


def transactions(repository: Repository) -> list[object]:
    return [entry.transaction for entry in Line.of(ShardArchive(repository, "s1")).transactions()]
