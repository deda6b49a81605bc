from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import ProtocolViolation
from wire.clone.progress import MOST_UNFINISHED, StageProgress


def test_a_block_counts_once_it_was_handed_over() -> None:
    progress = StageProgress(40)
    assert progress.is_new(3, 1)
    progress.handed_over(3, 2)
    assert not progress.is_new(3, 2) and progress.is_new(3, 3) and progress.is_new(4, 1)
    progress.finish(3)
    assert not progress.is_new(3, 9)


@pytest.mark.parametrize("chunk", [0, 41, 2**32 - 1])
def test_a_chunk_that_the_stage_does_not_have_is_a_violation(chunk: int) -> None:
    with pytest.raises(ProtocolViolation, match="of 40"):
        StageProgress(40).is_new(chunk, 1)


@given(st.integers(1, 100), st.data())
def test_the_summary_names_what_is_not_to_be_sent_again(chunks: int, data: st.DataObject) -> None:
    done = data.draw(st.sets(st.integers(1, chunks)))
    unfinished = data.draw(st.dictionaries(st.integers(1, chunks), st.integers(1, 64)))
    progress = StageProgress(chunks)
    for chunk, block in unfinished.items():
        progress.handed_over(chunk, block)
    for chunk in done:
        progress.finish(chunk)
    left = {chunk: block for chunk, block in unfinished.items() if chunk not in done}
    summary = progress.summary()
    assert dict(summary.unfinished) == left
    assert len(summary.words) == -(-chunks // 32)
    marked = {
        word * 32 + bit + 1
        for word, value in enumerate(summary.words)
        for bit in range(32)
        if value >> bit & 1
    }
    assert marked == done | set(left)


def test_unfinished_chunks_that_the_donor_could_not_take_are_sent_again_whole() -> None:
    progress = StageProgress(1000)
    for chunk in range(1, 400):
        progress.handed_over(chunk, 5)
    summary = progress.summary()
    assert len(summary.unfinished) == MOST_UNFINISHED
    assert sum(word.bit_count() for word in summary.words) == MOST_UNFINISHED
    assert not progress.is_new(399, 5), "its first blocks are passed over when they come again"
