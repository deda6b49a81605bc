"""What a replica says, byte by byte, and what its source's errors mean."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.errors import (
    ArchiverReplaced,
    BinlogUnreadable,
    ProtocolViolation,
    ServerRefused,
    ServerUnreachable,
    ServerUnsupported,
    SourceDiverged,
    ToolError,
)
from fleet.gtid import GtidSet, Interval, Origin
from wire.binlog.dump_errors import BinlogGone, source_error
from wire.binlog.dump_messages import acknowledgement, dump, register_replica
from wire.binlog.events import decode_gtid_set
from wire.packet import Reader, ServerError

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"

names = st.from_regex(r"[a-z_.]{1,40}[0-9]{6}", fullmatch=True)
server_ids = st.integers(1, 2**32 - 1)
intervals = st.builds(
    lambda first, length: Interval(first, first + length), st.integers(1, 10**12), st.integers(0, 10**6)
)
gtid_sets = st.lists(
    st.builds(
        Origin,
        st.uuids().map(str),
        st.sampled_from(["", "tag", "a_long_tag_0"]),
        st.lists(intervals, min_size=1, max_size=4).map(tuple),
    ),
    max_size=4,
).map(GtidSet)


@settings(deadline=None)
@given(server_ids, names, st.integers(4, 2**63 - 1), gtid_sets)
def test_a_dump_command_holds_what_it_was_made_of(
    server_id: int, file: str, position: int, have: GtidSet
) -> None:
    reader = Reader(dump(server_id, file=file, position=position, have=have), "the command", "little")
    assert (reader.number(1), reader.number(2), reader.number(4)) == (0x1E, 2, server_id)
    assert reader.counted() == file.encode()
    assert reader.number(8) == position
    assert decode_gtid_set(reader.counted()) == have
    reader.end()


def test_a_dump_by_file_has_an_empty_set_and_one_by_gtids_an_empty_name() -> None:
    assert dump(1, file="b.1", position=9).endswith(
        b"b.1" + (9).to_bytes(8, "little") + b"\x08\0\0\0" + bytes(8)
    )
    by_set = dump(7, have=GtidSet.parse(f"{UUID}:1-3"))
    assert by_set.startswith(bytes.fromhex("1e 0200 07000000 00000000 0400000000000000"))


@settings(deadline=None)
@given(server_ids, st.text("abc.-", max_size=60))
def test_a_registration_holds_id_and_host_and_no_way_back(server_id: int, host: str) -> None:
    reader = Reader(register_replica(server_id, host), "the command", "little")
    assert (reader.number(1), reader.number(4)) == (0x15, server_id)
    assert reader.take(reader.number(1)) == host.encode()
    assert reader.rest() == bytes(12)


def test_a_host_that_the_source_does_not_take_is_refused() -> None:
    with pytest.raises(ProtocolViolation, match="61 bytes"):
        register_replica(1, "h" * 61)


@settings(deadline=None)
@given(names, st.integers(4, 2**63 - 1))
def test_an_acknowledgement_names_file_and_position(file: str, position: int) -> None:
    assert acknowledgement(file, position) == b"\xef" + position.to_bytes(8, "little") + file.encode()


def fatal(text: str, number: int = 1236) -> ToolError:
    return source_error(ServerError(number, "HY000", text), "db-1 (10.0.0.1:3306)", "binlog.000007 from 4711")


EVENTS_READ = (
    "; the first event 'binlog.000001' at 5, the last event read from './binlog.000001' at 158, "
    "the last byte read from './binlog.000001' at 24."
)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("Could not find first log file name in binary log index file", BinlogGone),
        (
            "Could not find first log file name in binary log index file while looking for the oldest binary "
            "log that contains any GTID that is not in the given gtid set",
            BinlogGone,
        ),
        ("could not find next log" + EVENTS_READ, BinlogGone),
        ("Client requested source to start replication from position > file size", SourceDiverged),
        ("Client requested master to start replication from position > file size", SourceDiverged),
        ("Client requested source to start replication from position < 4", SourceDiverged),
        ("Replica has more GTIDs than the source has, using the source's SERVER_UUID.", SourceDiverged),
        (
            "Slave has more GTIDs than the master has, using the master's SERVER_UUID. This may indicate",
            SourceDiverged,
        ),
        (
            "A replica with the same server_uuid/server_id as this replica has connected to the source"
            + EVENTS_READ,
            ArchiverReplaced,
        ),
        (
            "A slave with the same server_uuid/server_id as this slave has connected to the master",
            ArchiverReplaced,
        ),
        ("bogus data in log event" + EVENTS_READ, BinlogUnreadable),
        ("Event crc check failed! Most likely there is event corruption." + EVENTS_READ, BinlogUnreadable),
        ("event read from binlog did not pass crc check" + EVENTS_READ, BinlogUnreadable),
        (
            "binlog truncated in the middle of event; consider out of disk space on source" + EVENTS_READ,
            BinlogUnreadable,
        ),
        (
            "log event entry exceeded max_allowed_packet; Increase max_allowed_packet on source",
            BinlogUnreadable,
        ),
        ("Could not find format_description_event in binlog file", BinlogUnreadable),
        ("I/O error reading log event", BinlogUnreadable),
        ("I/O error reading the header from the binary log", BinlogUnreadable),
        ("Binlog has bad magic number;  It's not a binary log file that can be used", BinlogUnreadable),
        ("Found invalid Format description event in binary log", BinlogUnreadable),
        ("Found invalid event in binary log", BinlogUnreadable),
        ("Found invalid binary log encryption header", BinlogUnreadable),
        ("Failed to decrypt content read from binlog file.", BinlogUnreadable),
        ("Cannot get file password for encrypted replication log file", BinlogUnreadable),
        ("Unrecognized event format. The event appears to originate", BinlogUnreadable),
        ("Failed on my_net_write()", ServerUnreachable),
        ("Found net error", ServerUnreachable),
        ("Could not open log file", BinlogUnreadable),
        ("Binary log is not open", ServerUnsupported),
        ("Binary log is not open and failed to open index file to retrieve next file.", ServerUnsupported),
        (
            "The replication sender thread cannot start in AUTO_POSITION mode: this server has GTID_MODE ="
            " OFF instead of ON.",
            ServerUnsupported,
        ),
        ("Request to dump GTID when @@GLOBAL_.GTID_MODE <> ON.", ServerUnsupported),
        ("Misconfigured source - source server_id is 0", ServerUnsupported),
        ("memory allocation failed reading log event", ServerUnreachable),
        ("Failed to run hook 'transmit_start'", ServerUnreachable),
        ("something new", ServerRefused),
    ],
)
def test_every_text_of_1236_has_its_meaning(text: str, error: type[ToolError]) -> None:
    raised = fatal(text)
    assert type(raised) is error
    assert text[:60] in raised.message
    assert "binlog.000007 from 4711" in raised.message
    assert raised.retryable is (error is ServerUnreachable)
    if error is not ServerUnreachable:
        assert raised.hint


PURGED = (
    "Cannot replicate because the source purged required binary logs. Replicate the missing transactions "
    "from elsewhere, or provision a new replica from backup. Consider increasing the source's binary log "
    "expiration period. "
)


def test_the_transactions_that_a_source_purged_are_read_from_its_words() -> None:
    other = "4e11fa47-71ca-11e1-9e33-c80aa9429562"
    missing = f"{UUID}:4-9,\n{other}:1"
    said = f"The GTID set sent by the replica is '{UUID}:1-3', and the missing transactions are '{missing}'"
    raised = fatal(PURGED + said)
    assert isinstance(raised, BinlogGone)
    assert raised.missing == GtidSet.parse(missing)
    assert raised.exit_code == 35


@pytest.mark.parametrize(
    "said",
    [
        "To find the missing transactions, see the source's error log or the manual for GTID_SUBTRACT.",
        "The missing transactions are 'nonsense'",
        "",
    ],
)
def test_a_source_that_does_not_name_them_has_purged_all_the_same(said: str) -> None:
    raised = fatal(PURGED + said)
    assert isinstance(raised, BinlogGone)
    assert raised.missing is None


@pytest.mark.parametrize("number", [1053, 1317, 3032, 4031])
def test_a_source_that_ends_a_session_is_asked_again(number: int) -> None:
    assert isinstance(fatal("Server shutdown in progress", number), ServerUnreachable)


@pytest.mark.parametrize("number", [1045, 1227])
def test_a_missing_privilege_names_the_file_that_grants_it(number: int) -> None:
    raised = fatal("Access denied", number)
    assert isinstance(raised, ServerRefused)
    assert raised.hint is not None
    assert "accounts.sql" in raised.hint
