"""A conversation with a real donor, recorded once: every byte of ours must be the same again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from fleet.clock import SystemClock
from fleet.errors import CloneInterrupted
from tests.clones import Forgetting, Keeping
from tests.conversations import Direction, Event, Replayer, load
from tests.digests import digest_of
from wire.clone.client import CloneClient, CloneOptions

GOLDEN = Path(__file__).parents[2] / "golden" / "clone-conversation"


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return load(GOLDEN / "conversation.zst")


def test_the_recorded_clone_gives_the_recorded_data_directory(events: list[Event], tmp_path: Path) -> None:
    expected = json.loads((GOLDEN / "expected.json").read_text())
    donor = Replayer(events)
    sink = Keeping(tmp_path / "data")
    outcome = CloneClient(donor.connect, CloneOptions(connections=1), SystemClock()).run(sink)
    donor.finish()
    files = [[file.name, file.space_id, file.size, file.page_size] for file in outcome.files]
    assert files == expected["files"]
    assert list(outcome.directories) == expected["directories"]
    redo = asdict(outcome.redo)
    assert [redo["start_lsn"], redo["checkpoint_lsn"], redo["end_lsn"]] == expected["redo"]
    assert sink.calls == expected["calls"]
    assert sum(outcome.bytes_by_stage.values()) < sink.bytes
    sink.lay_out(outcome)
    assert digest_of(tmp_path / "data") == expected["digest"]
    assert outcome.configs["innodb_page_size"] == "16384"
    assert "InnoDB" in outcome.plugins and "utf8mb4_0900_ai_ci" in outcome.collations


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.99])
def test_a_conversation_that_ends_early_is_an_interrupted_clone(events: list[Event], share: float) -> None:
    """The donor goes away and does not come back: no hang, no half of a clone taken for a whole."""
    donor = Replayer(_beginning(events, share))
    client = CloneClient(donor.connect, CloneOptions(connections=1, resume_wait_seconds=0.2), SystemClock())
    with pytest.raises(CloneInterrupted):
        client.run(Forgetting())


def _beginning(events: list[Event], share: float) -> list[Event]:
    """The first ``share`` of what the donor sent, and all that we said up to then."""
    left = int(share * sum(len(event.data) for event in events if event.direction is Direction.FROM_DONOR))
    beginning: list[Event] = []
    for event in events:
        if event.direction is Direction.FROM_DONOR:
            beginning.append(event._replace(data=event.data[:left]))
            left -= len(event.data)
            if left <= 0:
                break
        else:
            beginning.append(event)
    return beginning
