"""Dumps of a real source, recorded once: our every byte is the same again, and what we make of theirs too."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conversations import Event, Replayer, load
from tests.dump_conversations import (
    OPTIONS,
    SEMI_SYNC,
    Heard,
    Script,
    ScriptedSession,
    as_session,
    hear,
    said_by_source,
)
from wire.binlog.dump import BinlogDump, StartAt

GOLDEN = Path(__file__).parents[2] / "golden" / "dump-conversation"
EXPECTED: dict[str, dict[str, Any]] = json.loads((GOLDEN / "expected.json").read_text())


def recorded(name: str) -> list[Event]:
    return load(GOLDEN / f"{name}.zst")


def check(heard: Heard, expected: dict[str, Any]) -> None:
    files = {name: [len(data), hashlib.sha256(data).hexdigest()] for name, data in heard.files.items()}
    assert files == expected["files"]
    assert {batch.file: batch.ended_by for batch in heard.batches if batch.ended_by} == expected["ended_by"]


@pytest.mark.parametrize("name", ["plain", "resumed", "semi-sync"])
def test_a_recorded_dump_gives_the_recorded_files(name: str) -> None:
    expected = EXPECTED[name]
    heard = hear(said_by_source(recorded(name)), StartAt(*expected["start"]))
    # The recording ends where we left; to this client the source hangs up.
    assert type(heard.error).__name__ == "ServerUnreachable"
    check(heard, expected)
    if name == "plain":
        assert [batch.checksum for batch in heard.batches if batch.ended_by] == [1, 0, 1]
        assert list(heard.files) == sorted(heard.files)


def test_a_recorded_refusal_is_a_gap() -> None:
    heard = hear(said_by_source(recorded("purged")), StartAt(*EXPECTED["purged"]["start"]))
    assert type(heard.error).__name__ == "BinlogGone" == EXPECTED["purged"]["error"]
    assert not heard.batches


@pytest.mark.parametrize(("name", "options"), [("plain", OPTIONS), ("semi-sync", SEMI_SYNC)])
def test_every_byte_of_ours_is_as_recorded(name: str, options: Any) -> None:
    events = recorded(name)
    source = Replayer(events)
    session = ScriptedSession(source.connect().detach().socket)
    heard = Heard()
    with BinlogDump.open(as_session(session), StartAt(*EXPECTED[name]["start"]), options) as dump:
        for batch in dump.batches():
            heard.add(batch)
            if batch.ack_wanted:
                dump.acknowledge(batch.file, batch.end)
            if {name: len(data) for name, data in heard.files.items()} == {
                name: size for name, (size, _) in EXPECTED[name]["files"].items()
            }:
                break
        source.finish()
    check(heard, EXPECTED[name])


def test_what_the_source_must_know_is_said_before_the_dump_in_both_vocabularies() -> None:
    script = Script(said_by_source(recorded("semi-sync")))
    with BinlogDump.open(script.session, StartAt(*EXPECTED["semi-sync"]["start"]), SEMI_SYNC):
        pass
    script.finish()
    for word in ("source_binlog_checksum", "master_binlog_checksum", "replica_uuid", "slave_uuid"):
        assert f"@{word} = " in script.said[0]
    assert script.said[1] == "SET @rpl_semi_sync_replica = 1, @rpl_semi_sync_slave = 1"
