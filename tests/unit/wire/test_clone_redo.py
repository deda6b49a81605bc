from __future__ import annotations

import pytest

from fleet.errors import ProtocolViolation
from wire.clone.redo import RedoLog

SIZE = 1024 * 1024


def header() -> bytearray:
    data = bytearray(2048)
    data[0:8] = (6).to_bytes(4, "big") + (77).to_bytes(4, "big")
    data[8:16] = (1_000_000).to_bytes(8, "big")
    data[520:528] = (1_000_500).to_bytes(8, "big")
    return data


def block(used: int) -> memoryview:
    return memoryview(bytearray(4) + used.to_bytes(2, "big") + bytearray(506))


def log(*blocks: tuple[int, int, memoryview]) -> RedoLog:
    redo = RedoLog()
    head = memoryview(header())
    for number, offset, data in blocks:
        redo.block(number, offset, data)
    redo.header(head)
    redo.block(0, 0, head)
    return redo


def test_the_log_ends_in_its_last_block() -> None:
    facts = log((0, 2048, memoryview(bytearray(1024))), (0, 3072, block(100))).facts({0: SIZE})
    assert (facts.start_lsn, facts.checkpoint_lsn) == (1_000_000, 1_000_500)
    assert facts.end_lsn == 1_000_000 + 1024 + 100


def test_the_log_goes_on_behind_the_header_of_the_next_file() -> None:
    redo = log(
        (1, 2048, block(0x8000 | 60)),
        (0, 2048, memoryview(bytearray(SIZE - 2048))),
        (1, 0, memoryview(bytearray(2048))),
    )
    assert redo.facts({0: SIZE, 1: SIZE}).end_lsn == 1_000_000 + SIZE - 2048 + 60


def test_a_log_without_its_header_is_a_violation() -> None:
    redo = RedoLog()
    redo.block(0, 2048, block(1))
    with pytest.raises(ProtocolViolation, match="without its header"):
        redo.facts({0: SIZE})


def test_a_log_with_a_gap_is_a_violation() -> None:
    with pytest.raises(ProtocolViolation, match="2560 of 4608 bytes of redo file 0"):
        log((0, 4096, block(1))).facts({0: SIZE})
    with pytest.raises(ProtocolViolation, match="of those announced"):
        log((2, 2048, block(1))).facts({0: SIZE, 2: SIZE})


def test_a_header_has_its_size() -> None:
    with pytest.raises(ProtocolViolation, match="2048 bytes, not 512"):
        RedoLog().header(memoryview(bytearray(512)))
