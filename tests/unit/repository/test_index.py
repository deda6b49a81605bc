from __future__ import annotations

import base64
import struct

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from fleet.blocks import Extent, Stage
from fleet.errors import ObjectDamaged
from repository.codec import FrameEncoder, encode_alone
from repository.index import (
    RECORD_BYTES,
    IndexBuilder,
    PackRecords,
    PackRef,
    Record,
    count_records,
    decode_part,
    encode_part,
    index_identity,
)
from repository.layout import BackupName
from repository.seal import BackupKey, FrameSpan, seal_object

KEY = BackupKey(bytes(32))
WHO = index_identity("0" * 32, BackupName("s1", "20260301T021500Z-full"), 3)


def pack_ref(number: int) -> PackRef:
    return PackRef(
        shard="s1",
        label="20260301T021500Z-full",
        number=number,
        size=1000 + number,
        sha256="ab" * 32,
        frames=2,
        data_key=base64.b64encode(bytes(60)).decode(),
    )


def part_of(packs: list[PackRef], rows: bytearray):
    return decode_part(WHO, KEY, bytes(seal_object(WHO, KEY, encode_part(packs, rows, 1))))


u32 = st.integers(0, 2**32 - 1)
frames = st.tuples(
    st.sampled_from(Stage),
    st.lists(
        st.tuples(u32, st.integers(0, 2**64 - 1), st.binary(min_size=1, max_size=9)), min_size=1, max_size=4
    ),
    st.builds(FrameSpan, u32, u32, u32),
)


@given(st.lists(st.lists(frames, max_size=3), max_size=300))
def test_records_come_back_with_their_packs(packs: list) -> None:
    builder = IndexBuilder(10_000)
    expected: list[Record] = []
    for position, contents in enumerate(packs):
        records = PackRecords()
        for stage, pieces, span in contents:
            extents = [Extent(file, offset, len(data)) for file, offset, data in pieces]
            records.add(stage, extents, memoryview(b"".join(data for _, _, data in pieces)), span)
            skip = 0
            for file, offset, data in pieces:
                digest = xxhash.xxh3_128_digest(data)
                expected.append(Record(stage, file, offset, len(data), position, *span, skip, digest))
                skip += len(data)
        builder.add(pack_ref(position), records.rows)
    taken = builder.take()
    if not packs:
        assert taken is None
        return
    assert taken is not None
    part = part_of(*taken)
    assert part.record_count == count_records(taken[1]) == len(expected)
    assert list(part.records()) == expected
    assert part.packs == tuple(map(pack_ref, range(len(packs))))
    assert [record for _, records in part.by_pack() for record in records] == expected
    assert all(record.span == record[5:8] for record in expected)


def test_a_record_has_the_layout_of_the_format() -> None:
    records = PackRecords()
    records.add(Stage.PAGE, [Extent(7, 2**33, 4)], memoryview(b"data"), FrameSpan(11, 70, 500))
    builder = IndexBuilder(10)
    builder.add(pack_ref(0), bytearray())
    builder.add(pack_ref(1), records.rows)
    taken = builder.take()
    assert taken is not None
    fields = struct.unpack(">BBHIQIIIIII", taken[1][:40])
    assert fields == (3, 0, 0, 7, 2**33, 4, 1, 11, 70, 500, 0)
    assert taken[1][40:] == xxhash.xxh3_128(b"data").digest()
    assert xxhash.xxh3_128(b"data").intdigest() == int.from_bytes(taken[1][40:], "big")


def test_a_part_is_full_by_packs_or_by_records() -> None:
    by_packs = IndexBuilder(2)
    by_packs.add(pack_ref(0), bytearray())
    assert not by_packs.is_full
    by_packs.add(pack_ref(1), bytearray())
    assert by_packs.is_full
    by_records = IndexBuilder(1000, max_records=3)
    by_records.add(pack_ref(0), bytearray(2 * RECORD_BYTES))
    assert not by_records.is_full
    by_records.add(pack_ref(1), bytearray(5 * RECORD_BYTES))
    assert by_records.is_full
    assert by_records.take() is not None
    assert by_records.take() is None


def test_a_large_part_has_many_frames_and_whole_records_in_each() -> None:
    rows = bytearray()
    for number in range(50_000):
        rows += struct.pack(">BBHIQIIIIII16s", 2, 0, 0, 1, number, 1, 0, 0, 0, 0, 0, bytes(16))
    frames = encode_part([pack_ref(0)], rows, 1)
    assert len(frames) == 1 + 3
    part = part_of([pack_ref(0)], rows)
    assert [record.offset for record in part.records()] == list(range(50_000))


@pytest.mark.parametrize(
    "change",
    [{0: 1}, {0: 5}, {1: 2}, {1: 1, 40: 1}, {1: 1, 20: 255}, {2: 1}, {3: 9}, {23: 1}, {20: 255}],
)
def test_a_record_that_nobody_wrote_is_refused(change: dict[int, int]) -> None:
    row = bytearray(struct.pack(">BBHIQIIIIII16s", 2, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, bytes(16)))
    for at, byte in change.items():
        row[at] = byte
    part = part_of([pack_ref(0)], row)
    with pytest.raises(ObjectDamaged, match="i000003 is damaged: a record of stage"):
        list(part.records())


@pytest.mark.parametrize(
    ("contents", "fact"),
    [
        ([b"not json"], "list of packs"),
        ([b"{}"], "list of packs"),
        ([b'{"packs": [{"shard": "s1"}]}'], "list of packs"),
        ([b'{"packs": []}', bytes(57)], "whole records"),
    ],
)
def test_a_malformed_part_is_refused_and_named(contents: list[bytes], fact: str) -> None:
    encoder = FrameEncoder(1)
    data = seal_object(WHO, KEY, [encode_alone(encoder, content) for content in contents])
    with pytest.raises(ObjectDamaged, match=f"i000003 is damaged.*{fact}"):
        decode_part(WHO, KEY, bytes(data))
