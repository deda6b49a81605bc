"""Binlog files of real servers through the archive: cut, put, composed, verified, streamed, rescued."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from archived_binlogs import CREATED, EMPTY, SOURCE

from fleet.gtid import GtidSet
from repository.archive.archive import ShardArchive
from repository.archive.columns import gtids_of
from repository.archive.line import Line
from repository.archive.segment import SegmentDraft
from repository.archive.stream import stream
from repository.archive.verify import verify_archive
from repository.layout import BinlogFile
from wire.binlog.header import MAGIC
from wire.binlog.transactions import TransactionReader
from wire.binlog.walk import walk

GOLDEN = Path(__file__).parents[3] / "golden" / "binlogs"
FACTS: dict[str, dict[str, Any]] = json.loads((GOLDEN / "facts.json").read_text("utf-8"))
NAMES = [name for name in FACTS if FACTS[name]["gtids"] and (GOLDEN / f"{name}.binlog").exists()]


@pytest.mark.parametrize("name", NAMES)
def test_a_real_file_goes_through_the_archive(archive: ShardArchive, name: str) -> None:
    data = (GOLDEN / f"{name}.binlog").read_bytes()
    previous = GtidSet.parse(FACTS[name]["previous_gtids"])
    edges = [at for at, _, _ in walk(memoryview(data), len(MAGIC))][1:]
    cuts = sorted({0, len(data), *random.Random(name).sample(edges, min(6, len(edges)))})
    file = BinlogFile(1, SOURCE, "binlog.000001", CREATED)
    executed, reader, made = previous, TransactionReader(), []
    for start, end in pairwise(cuts):
        found = reader.feed(data[start:end], start)
        draft = SegmentDraft(file, start, data[start:end], None, previous, executed, found)
        archive.put(archive.seal(draft))
        executed |= gtids_of(found)
        made += found
    assert verify_archive(archive).damages == ()
    line = Line.of(archive)
    assert [entry.transaction for entry in line.transactions()] == made
    assert line.gtids == GtidSet.parse(FACTS[name]["gtids"])
    # Up to the end of the last transaction; before the first, format description and Previous_gtids alone.
    expected = data[4 : made[-1].start + made[-1].length]
    assert b"".join(chunk.data for chunk in stream(line, EMPTY) if chunk) == expected
    last = made[-1].gtid.as_set()
    first, *rest = [chunk for chunk in stream(line, line.gtids - last) if chunk]
    assert (first.start, bytes(first.data)) == (4, data[4 : made[0].start])
    assert b"".join(chunk.data for chunk in rest) == data[made[-1].start : made[-1].start + made[-1].length]
    assert archive.compose(file, finished=True) == len(data)
    assert verify_archive(archive).is_sound
    assert archive.data(archive.file(file).segments[0]) == data
