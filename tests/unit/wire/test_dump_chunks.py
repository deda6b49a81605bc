"""However the network cuts a dump into pieces, the batches put together are the file."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.errors import ServerUnreachable
from tests.dump_conversations import CRC, FULL, NONE, REGISTERED, Heard, Stream
from wire.binlog.events import ChecksumAlgorithm, EventType, Place, artificial_rotate
from wire.binlog.incoming import BUFFER_BYTES
from wire.binlog.link import Link
from wire.binlog.reading import Reading


class Pieces:
    """A link whose data comes in pieces of the given lengths, and between them nothing for a moment."""

    peer = "source (scripted)"
    heard_at = 0.0

    def __init__(self, data: bytes, lengths: Iterator[int]) -> None:
        self._left = memoryview(data)
        self._lengths = lengths
        self._piece = self._left[:0]

    def receive(self, view: memoryview, seconds: float) -> int:
        if not self._piece:
            if seconds == 0:
                return 0
            if not self._left:
                raise ServerUnreachable("hung up")
            length = next(self._lengths)
            self._piece, self._left = self._left[:length], self._left[length:]
        taken = self._piece[: len(view)]
        self._piece = self._piece[len(taken) :]
        view[: len(taken)] = taken
        return len(taken)


def read(stream: Stream, lengths: Iterator[int]) -> Heard:
    heard = Heard()
    pieces: Link = Pieces(bytes(stream.data[len(REGISTERED) :]), lengths)  # type: ignore[assignment]
    reading = Reading(pieces, asked="binlog.000001 from 4", period_seconds=1.0)
    reading.begin()
    with pytest.raises(ServerUnreachable, match="hung up"):
        while True:
            heard.add(reading.batch())
    return heard


def forever(seed: int, longest: int) -> Iterator[int]:
    source = random.Random(seed)
    while True:
        yield source.randint(1, longest)


SIZES = st.one_of(
    st.integers(0, 500),
    st.integers(BUFFER_BYTES - 60, BUFFER_BYTES),
    st.sampled_from([FULL - 24, FULL - 23, FULL - 20, FULL]),
)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(SIZES, st.booleans()), max_size=6),
    st.sampled_from([CRC, NONE]),
    st.integers(0, 2**32),
    st.sampled_from([3, 50, 5000, 3 * BUFFER_BYTES]),
)
def test_any_events_in_any_pieces_are_the_file(
    events: list[tuple[int, bool]], checksum: ChecksumAlgorithm, seed: int, longest: int
) -> None:
    # Few bytes at a time, and events of megabytes: it would take too long.
    if longest < 5000:
        events = [(size, alive) for size, alive in events if size <= 500]
    stream = Stream()
    stream.describe(checksum)
    for size, alive in events:
        stream.store(bytes(size))
        if alive:
            stream.alive()
    stream.store((4).to_bytes(8, "little") + b"binlog.000002", EventType.ROTATE)
    stream.send(artificial_rotate(Place("binlog.000002", 4), server_id=1, checksum=checksum))
    heard = read(stream, forever(seed, longest))
    assert heard.files == {stream.file: stream.stored}
    assert [batch.ended_by for batch in heard.batches if batch.ends_file] == ["rotate"]
    large = {size for size, _ in events if size > 500}
    assert all(
        len(batch.data) <= BUFFER_BYTES or any(0 < len(batch.data) - size < 30 for size in large)
        for batch in heard.batches
    )


def test_one_byte_at_a_time_is_enough() -> None:
    stream = Stream()
    stream.describe()
    for size in (0, 1, 300):
        stream.store(bytes(size))
        stream.alive()
    heard = read(stream, iter(lambda: 1, 0))
    assert heard.files == {stream.file: stream.stored}
