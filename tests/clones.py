"""Sinks for clones in tests: one forgets, one lays out a data directory by the repository's rules."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from pathlib import Path

from fleet.blocks import Block, Extent, Stage
from wire.clone.client import CloneOutcome


class Forgetting:
    """Counts bytes and gives every buffer back."""

    def __init__(self) -> None:
        self.bytes = 0
        self.calls: list[str] = []
        self.lock = threading.Lock()

    def put(self, block: Block, stream: int) -> None:
        with self.lock:
            self.bytes += len(block.data)
        block.release()

    def has_room(self) -> bool:
        return True

    def before_ack(self, stage: Stage) -> None:
        self.calls.append(f"ack {stage.name}")

    def stage_started(self, stage: Stage, estimate_bytes: int) -> None:
        self.calls.append(f"start {stage.name}")


class Keeping(Forgetting):
    """Keeps every block in a file beside ``directory``; ``lay_out`` makes the data directory from them."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory
        directory.parent.mkdir(parents=True, exist_ok=True)
        self._path = directory.parent / f"{directory.name}.blocks"
        self._heap = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self._end = 0
        self._records: list[tuple[Stage, Extent, int]] = []

    def put(self, block: Block, stream: int) -> None:
        data = bytes(block.data)
        assert sum(extent.length for extent in block.extents) == len(data) <= 4 * 1024 * 1024
        with self.lock:
            begin, self._end = self._end, self._end + len(data)
        os.pwrite(self._heap, data, begin)
        for extent in block.extents:
            self._records.append((block.stage, extent, begin))
            begin += extent.length
        super().put(block, stream)

    def refuse_overlaps(self) -> None:
        """The repository's format forbids that two records of one stage hold the same byte."""
        runs: dict[tuple[Stage, int], list[Extent]] = defaultdict(list)
        for stage, extent, _ in self._records:
            runs[stage, extent.file].append(extent)
        for key, extents in runs.items():
            end = 0
            for extent in sorted(extents, key=lambda extent: extent.offset):
                assert extent.offset >= end, f"{key}: {extent} begins before {end}"
                end = extent.offset + extent.length

    def lay_out(self, outcome: CloneOutcome) -> Path:
        """Apply the records in the order of stages, as a restore does; the directory is new."""
        self.refuse_overlaps()
        self.directory.mkdir(mode=0o750)
        for name in outcome.directories:
            (self.directory / name).mkdir(mode=0o750)
        places: dict[int, tuple[int, int]] = {}
        for file in outcome.files:
            place = os.open(self.directory / file.name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o640)
            os.ftruncate(place, file.size)
            places[file.index] = place, file.size
        for _, extent, position in sorted(self._records, key=lambda record: record[0]):
            if extent.file not in places:
                continue  # dropped while the clone ran
            place, size = places[extent.file]
            assert extent.offset + extent.length <= size, f"{extent} does not fit into {size} bytes"
            os.pwrite(place, os.pread(self._heap, extent.length, position), extent.offset)
        for place, _ in places.values():
            os.close(place)
        self.close()
        return self.directory

    def close(self) -> None:
        os.close(self._heap)
        self._path.unlink(missing_ok=True)
