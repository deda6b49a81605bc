"""Segments are composed at any moment, by this archiver or another one: who stores the next ones goes on."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backup.archive.parsing import read_front
from backup.archive.place import read_place
from backup.archive.spool import Spool
from backup.archive.uploader import Uploader
from fleet.clock import SystemClock
from fleet.errors import ObjectMissing
from fleet.gtid import GtidSet
from fleet.model import ArchiveConfig
from repository import layout
from repository.archive.archive import ShardArchive
from repository.archive.columns import gtids_of
from repository.archive.segment import SegmentDraft
from repository.repository import Repository
from repository.seal import BackupKey
from repository.stores.memory import MemoryStore
from tests.unit.repository.archive.archived_binlogs import SOURCE, binlog, open_first
from tests.unit.repository.sealed_backups import TickingClock, ToldStore, file_keyring
from wire.binlog.header import MAGIC
from wire.binlog.transactions import TransactionReader
from wire.binlog.walk import walk

GOLDEN = Path(__file__).parents[2] / "golden" / "binlogs"
FACTS = json.loads((GOLDEN / "facts.json").read_text("utf-8"))
NAME = next(name for name in FACTS if FACTS[name]["gtids"] and (GOLDEN / f"{name}.binlog").exists())
DATA = (GOLDEN / f"{NAME}.binlog").read_bytes()
FILE = binlog()
EDGES = [at for at, _, _ in walk(memoryview(DATA), len(MAGIC))][3:]
MIDDLE = EDGES[len(EDGES) // 2]


class ReadWatch(ToldStore):
    """Calls ``at_put`` before a segment is put, ``at_read`` before one is read, with the number of reads."""

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__(inner)
        self.reads = 0
        self.at_read: Callable[[int], None] = lambda _: None
        self.at_put: Callable[[], None] = lambda: None

    def before(self, operation: str, key: str) -> None:
        if layout.parse_segment(key) is None:
            return
        if operation == "put":
            self.at_put()
        else:
            self.reads += 1
            self.at_read(self.reads)


class Scene:
    """An archive as one archiver sees it through ``watch``, and the same one as another archiver sees it."""

    def __init__(self, folder: Path) -> None:
        plain = MemoryStore()
        self.watch = ReadWatch(plain)
        made = Repository.create(plain, file_keyring(folder), TickingClock())
        self.other = ShardArchive(made, "s1")
        self.ours = ShardArchive(Repository(self.watch, made.description, made.keys), "s1")
        open_first(self.other)

    def put_elsewhere(self, end: int) -> None:
        """The other archiver stores the file up to ``end``, event by event."""
        previous = GtidSet.parse(FACTS[NAME]["previous_gtids"])
        reader, executed, start = TransactionReader(), previous, 0
        for at in [*(edge for edge in EDGES if edge < end), end]:
            found = reader.feed(DATA[start:at], start)
            draft = SegmentDraft(FILE, start, DATA[start:at], None, previous, executed, found)
            self.other.put(self.other.seal(draft))
            executed, start = executed | gtids_of(found), at

    def compose_elsewhere(self) -> None:
        assert self.other.compose(FILE, finished=True)


@contextmanager
def uploading(scene: Scene, folder: Path) -> Iterator[tuple[Spool, Uploader]]:
    clock = SystemClock()
    key = BackupKey(bytes(32))
    spool = Spool(folder / "spool", max_bytes=1 << 30, key_of=lambda _: key, scope="r/s1", clock=clock)
    uploader = Uploader(
        scene.ours,
        spool,
        ArchiveConfig(),
        clock,
        tell=lambda *_: None,
        stored=lambda _: None,
        compose=lambda *_: None,
        failed=lambda: None,
    )
    uploader.start()
    try:
        yield spool, uploader
    finally:
        uploader.end(5.0)
        spool.close()


def go_on(scene: Scene, folder: Path, start: int) -> None:
    """Our archiver stores what follows ``start``; then all bytes are there and none is lost."""
    with uploading(scene, folder) as (spool, uploader):
        spool.append(FILE, start, DATA[start:], "rotate")
        uploader.drain(threading.Event())
    found = scene.other.file(FILE)
    assert (found.end, found.holes) == (len(DATA), ())
    scene.other.compose(FILE, finished=True)
    (whole,) = scene.other.file(FILE).segments
    assert scene.other.data(whole) == DATA


def composing_at(scene: Scene, wanted: int) -> Callable[[int], None]:
    def at_read(number: int) -> None:
        if number == wanted:
            scene.compose_elsewhere()

    return at_read


def reads_of(tmp_path: Path, deed: Callable[[Scene, Path], object]) -> int:
    """How often a segment is read when nobody composes."""
    scene = Scene(tmp_path)
    scene.put_elsewhere(MIDDLE)
    deed(scene, tmp_path / "undisturbed")
    return scene.watch.reads


def test_the_rest_of_a_file_is_stored_before_whichever_read_its_pieces_are_composed(tmp_path: Path) -> None:
    def deed(scene: Scene, folder: Path) -> None:
        go_on(scene, folder, MIDDLE)

    count = reads_of(tmp_path, deed)
    assert count > 1
    for number in range(1, count + 1):
        scene = Scene(tmp_path)
        scene.put_elsewhere(MIDDLE)
        scene.watch.at_read = composing_at(scene, number)
        deed(scene, tmp_path / str(number))


def test_the_place_is_read_before_whichever_read_its_pieces_are_composed(tmp_path: Path) -> None:
    def deed(scene: Scene, _: Path) -> None:
        place = read_place(scene.ours)
        assert place is not None
        assert place.newest[SOURCE].end == MIDDLE

    for number in range(1, reads_of(tmp_path, deed) + 1):
        scene = Scene(tmp_path)
        scene.put_elsewhere(MIDDLE)
        scene.watch.at_read = composing_at(scene, number)
        deed(scene, tmp_path)


def test_bytes_that_another_archiver_stored_and_composed_are_stored_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    previous = GtidSet.parse(FACTS[NAME]["previous_gtids"])
    assert read_front(DATA).previous == previous

    def stored_elsewhere() -> None:
        scene.watch.at_put = lambda: None
        reader = TransactionReader()
        found = reader.feed(DATA[:MIDDLE], 0)
        draft = SegmentDraft(FILE, 0, DATA[:MIDDLE], None, previous, previous, found)
        scene.other.put(scene.other.seal(draft))
        executed = previous | gtids_of(found)
        rest = reader.feed(DATA[MIDDLE:], MIDDLE)
        draft = SegmentDraft(FILE, MIDDLE, DATA[MIDDLE:], "rotate", previous, executed, rest)
        scene.other.put(scene.other.seal(draft))

    scene.watch.at_put = stored_elsewhere
    scene.watch.at_read = composing_at(scene, 1)
    with uploading(scene, tmp_path) as (spool, uploader):
        spool.append(FILE, 0, DATA[:MIDDLE], None)
        uploader.drain(threading.Event())
        spool.append(FILE, MIDDLE, DATA[MIDDLE:], "rotate")
        uploader.drain(threading.Event())
    scene.other.compose(FILE, finished=True)
    (whole,) = scene.other.file(FILE).segments
    assert scene.other.data(whole) == DATA


def test_a_segment_that_stays_away_is_told(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.put_elsewhere(MIDDLE)

    def lost(_: int) -> None:
        raise ObjectMissing("it is gone")

    scene.watch.at_read = lost
    with uploading(scene, tmp_path) as (spool, uploader):
        spool.append(FILE, MIDDLE, DATA[MIDDLE:], "rotate")
        with pytest.raises(ObjectMissing, match="it is gone"):
            uploader.drain(threading.Event())
    assert scene.watch.reads == 3
