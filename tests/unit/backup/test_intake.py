"""What comes from a donor: sifted, penned in, and in the spool exactly once."""

import random
import threading
from pathlib import Path

from backup.intake import Intake
from backup.segments import SealedSegments
from backup.sifting import HeldPages
from backup.spool import Spool
from fleet.blocks import Block, Extent, Stage
from repository.manifest import FileEntry
from tests.unit.backup.test_sifting import CHECKPOINT, PLAIN, page, torn
from wire.clone.outcome import SpaceFile

PAGE = 16384


def made(folder: Path, *, held: bool = True, memory_bytes: int = 1 << 20) -> tuple[Intake, Spool]:
    spool = Spool(folder, memory_bytes=memory_bytes, disk_bytes=0, patience_seconds=0.01)
    intake = Intake(
        spool,
        SealedSegments(folder, 1 << 20),
        HeldPages(CHECKPOINT, frozenset({(7, 0)})) if held else None,
        lambda file: SpaceFile(7, 0, PLAIN) if file == 3 else None,
        on_stage_start=lambda stage, estimate: None,
        on_stage_end=lambda stage: None,
        on_bytes=lambda count: None,
    )
    return intake, spool


def put(intake: Intake, stage: Stage, offset: int, *pages: bytes, file: int = 3) -> None:
    data = b"".join(pages)
    extents = (Extent(file, offset, len(data)),)
    intake.put(Block(stage, extents, memoryview(bytearray(data)), lambda: None), 0)


def stored(spool: Spool) -> dict[tuple[Stage, int, int], bytes]:
    """Every page of file 3 that is in the spool, by stage and number; other files by offset."""
    spool.close()
    found: dict[tuple[Stage, int, int], bytes] = {}
    while (block := spool.take()) is not None:
        begin = 0
        for file, offset, length in block.extents:
            for at in range(0, length, PAGE):
                key = (block.stage, file, (offset + at) // PAGE)
                assert key not in found
                end = begin + at + min(PAGE, length - at)
                found[key] = bytes(block.data[begin + at : end])
            begin += length
        block.release()
    return found


def test_a_changed_page_that_comes_again_is_stored_in_its_newer_version_alone(tmp_path: Path) -> None:
    intake, spool = made(tmp_path)
    old, new, newer = page(PLAIN, 5), page(PLAIN, CHECKPOINT + 1), page(PLAIN, CHECKPOINT + 9)
    put(intake, Stage.FILE, 0, old, new, new, torn(PLAIN, CHECKPOINT + 2))
    put(intake, Stage.PAGE, PAGE, newer)
    put(intake, Stage.PAGE, 3 * PAGE, newer)
    put(intake, Stage.REDO, 0, b"redo", file=9)
    intake.finish()
    assert stored(spool) == {
        (Stage.FILE, 3, 2): new,
        (Stage.PAGE, 3, 1): newer,
        (Stage.PAGE, 3, 3): newer,
        (Stage.REDO, 9, 0): b"redo",
    }
    assert intake.unstored_bytes == 3 * PAGE
    assert intake.suspects.damaged([FileEntry(number=3, name="t.ibd", size=4 * PAGE)]) == ()
    assert [intake.stored.map.holds((7, 0), number) for number in range(4)] == [False, True, True, True]


def test_a_page_that_comes_again_unchanged_is_the_bases(tmp_path: Path) -> None:
    """A donor that tracks pages sends what it noted before the base, too."""
    intake, spool = made(tmp_path)
    old, new = page(PLAIN, CHECKPOINT - 1), page(PLAIN, CHECKPOINT)
    put(intake, Stage.FILE, 0, old, old, torn(PLAIN, 5), old, old)
    pages = (old, old, old, new, bytes(PAGE))
    extents = tuple(Extent(3, number * PAGE, PAGE) for number in range(5))
    intake.put(Block(Stage.PAGE, extents, memoryview(bytearray(b"".join(pages))), lambda: None), 0)
    released: list[int] = []
    lone = memoryview(bytearray(old))
    intake.put(Block(Stage.PAGE, (Extent(3, 9 * PAGE, PAGE),), lone, lambda: released.append(1)), 0)
    put(intake, Stage.PAGE, PAGE, old, file=9)
    intake.finish()
    assert stored(spool) == {
        # The first page may bring a key; the third was damaged at first; the fifth has no LSN.
        (Stage.PAGE, 3, 0): old,
        (Stage.PAGE, 3, 2): old,
        (Stage.PAGE, 3, 3): new,
        (Stage.PAGE, 3, 4): bytes(PAGE),
        (Stage.PAGE, 9, 1): old,
    }
    assert released == [1]
    assert [intake.stored.map.holds((7, 0), number) for number in range(5)] == [True, False, True, True, True]
    assert intake.suspects.damaged([FileEntry(number=3, name="t.ibd", size=5 * PAGE)]) == ()


def test_the_end_of_a_stage_never_waits_for_the_store(tmp_path: Path) -> None:
    """The donor waits meanwhile: what was gathered stays where it is until the clone is complete."""
    intake, spool = made(tmp_path, memory_bytes=1)
    new = page(PLAIN, CHECKPOINT)
    put(intake, Stage.REDO, 0, b"fills the memory", file=9)
    put(intake, Stage.FILE, 0, page(PLAIN, 1), new)
    ended = threading.Thread(target=intake.before_ack, args=(Stage.FILE,))
    ended.start()
    ended.join(5)
    assert not ended.is_alive()
    spool.fail(KeyboardInterrupt())


def test_a_stored_full_keeps_every_byte_as_it_comes(tmp_path: Path) -> None:
    intake, spool = made(tmp_path, held=False)
    chance = random.Random(3)
    pages = [page(PLAIN, chance.randrange(1, 99), seed) for seed in range(5)] + [bytes(PAGE)]
    put(intake, Stage.FILE, 0, *pages)
    put(intake, Stage.PAGE, 0, pages[1])
    intake.finish()
    found = stored(spool)
    assert [found[Stage.FILE, 3, number] for number in range(6)] == pages
    assert found[Stage.PAGE, 3, 0] == pages[1]
    assert intake.unstored_bytes == 0
