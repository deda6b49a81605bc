"""The transaction reader over files that were made to order."""

from __future__ import annotations

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.errors import BinlogUnreadable
from fleet.transaction import Gtid, Kind, Transaction
from tests.made_binlogs import BEGIN, COMMIT, UUID, Body, MadeFile, query, rows, table_map, xid
from wire.binlog.events import ANONYMOUS, ChecksumAlgorithm, EventType, make_event
from wire.binlog.fields import packed
from wire.binlog.transactions import TransactionReader, Unfinished
from wire.binlog.walk import walk, whole_events

NONE, CRC32 = ChecksumAlgorithm.NONE, ChecksumAlgorithm.CRC32
INSERT = (BEGIN, table_map("t"), rows(EventType.WRITE_ROWS), xid())
TAGGED = Gtid(UUID, "tag", 8)


def read(file: MadeFile) -> list[Transaction]:
    return TransactionReader().feed(bytes(file.data), 0)


def kinds(file: MadeFile) -> list[tuple[Kind, tuple[str, ...]]]:
    return [(found.kinds, found.tables) for found in read(file)]


def refused(file: MadeFile, match: str) -> None:
    with pytest.raises(BinlogUnreadable, match=match):
        read(file)


@pytest.mark.parametrize("checksum", ChecksumAlgorithm)
def test_a_transaction_is_told_with_place_time_and_tables(checksum: ChecksumAlgorithm) -> None:
    file = MadeFile(checksum)
    start = file.position
    file.transaction(1, INSERT)
    (found,) = read(file)
    assert found == Transaction(
        Gtid(UUID, "", 1), file.clock, start, file.position - start, Kind.INSERT, ("app.t",)
    )


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (EventType.WRITE_ROWS_V1, Kind.INSERT),
        (EventType.UPDATE_ROWS_V1, Kind.UPDATE),
        (EventType.DELETE_ROWS_V1, Kind.DELETE),
        (EventType.UPDATE_ROWS, Kind.UPDATE),
        (EventType.PARTIAL_UPDATE_ROWS, Kind.UPDATE),
        (EventType.DELETE_ROWS, Kind.DELETE),
        (EventType.ROWS_QUERY, Kind.EMPTY),
        (EventType.VIEW_CHANGE, Kind.EMPTY),
        (EventType.BEGIN_LOAD_QUERY, Kind.STATEMENT | Kind.INSERT),
    ],
)
def test_every_kind_of_event_inside_is_known(kind: EventType, told: Kind) -> None:
    file = MadeFile()
    file.transaction(1, (BEGIN, rows(kind), xid()))
    assert kinds(file) == [(told, ())]


def test_an_event_that_is_newer_than_this_tool_is_passed_over() -> None:
    file = MadeFile()
    file.add(99, b"between")  # type: ignore[arg-type]
    file.transaction(1, (BEGIN, (99, b"inside"), xid()))  # type: ignore[arg-type]
    assert kinds(file) == [(Kind.EMPTY, ())]


def test_a_gtid_with_nothing_is_an_empty_transaction() -> None:
    file = MadeFile()
    file.transaction(1, ())
    file.transaction(2, (BEGIN, COMMIT))
    file.transaction(3, (), since="5.7")
    file.transaction(4, (), since="5.6")
    file.rotate()
    assert kinds(file) == [(Kind.EMPTY, ())] * 4


def test_the_commit_time_is_this_servers_and_never_the_original_one() -> None:
    file = MadeFile()
    file.transaction(1, INSERT, original=1_600_000_000_000_000)
    file.transaction(TAGGED, INSERT, original=1_600_000_000_000_000)
    first, second = read(file)
    assert (first.committed_at_us, second.committed_at_us) == (file.clock - 1000, file.clock)
    assert second.gtid == TAGGED


def test_a_log_without_commit_times_is_told_by_the_seconds_of_its_headers() -> None:
    file = MadeFile()
    file.transaction(1, INSERT, since="5.7")
    (found,) = read(file)
    assert found.committed_at_us == file.clock // 1_000_000 * 1_000_000


@pytest.mark.parametrize("since", ["5.6", "5.7"])
def test_without_a_length_the_events_tell_where_a_transaction_ends(since: str) -> None:
    file = MadeFile()
    starts = []
    for number, events in enumerate(
        (
            INSERT,
            (query("CREATE TABLE a (i INT)"),),
            (BEGIN, query("INSERT INTO b VALUES (1)"), query("SAVEPOINT s"), query("ROLLBACK TO s"), COMMIT),
            (query("XA START 'x'"), *INSERT[1:3], query("XA END 'x'"), (EventType.XA_PREPARE, b"\0" * 13)),
            (query("XA COMMIT 'x'"),),
            ((EventType.INTVAR, b"\2" + bytes(8)), query("INSERT INTO c VALUES (1)")),
        ),
        start=1,
    ):
        starts.append(file.position)
        file.transaction(number, events, since=since)
    file.rotate()
    found = read(file)
    assert [transaction.start for transaction in found] == starts
    assert [(transaction.kinds, transaction.tables) for transaction in found] == [
        (Kind.INSERT, ("app.t",)),
        (Kind.DDL, ("app.a",)),
        (Kind.INSERT | Kind.STATEMENT, ("app.b",)),
        (Kind.INSERT | Kind.XA, ("app.t",)),
        (Kind.XA, ()),
        (Kind.INSERT | Kind.STATEMENT, ("app.c",)),
    ]


def test_an_anonymous_transaction_has_the_gtid_that_is_none() -> None:
    file = MadeFile()
    file.transaction(Gtid(ANONYMOUS.uuid, "", 0), INSERT, anonymous=True)
    (found,) = read(file)
    assert (found.gtid, found.kinds) == (ANONYMOUS, Kind.INSERT)


def test_ddl_keeps_the_beginning_of_its_text_and_no_password() -> None:
    file = MadeFile()
    file.transaction(1, (query("DROP TABLE `t`, other.u /* generated by server */"),))
    file.transaction(2, (query(f"CREATE TABLE t (i INT COMMENT '{'x' * 300}')"),))
    file.transaction(3, (query("CREATE USER u IDENTIFIED WITH 'x' AS 'hash'"),))
    file.transaction(4, (BEGIN, query("CREATE TABLE t (i INT) START TRANSACTION"), *INSERT[1:]))
    first, second, third, fourth = read(file)
    assert first.tables == ("app.t", "other.u")
    assert first.statement == "DROP TABLE `t`, other.u /* generated by server */"
    assert len(second.statement) == 200
    assert third.statement == "CREATE USER u ..."
    assert fourth.kinds == Kind.DDL | Kind.INSERT
    assert fourth.statement.startswith("CREATE TABLE t")


def test_a_statement_of_many_megabytes_is_read_by_its_beginning() -> None:
    file = MadeFile()
    file.transaction(1, (BEGIN, query("INSERT INTO t VALUES ('" + "x" * 20_000_000 + "')"), COMMIT))
    assert kinds(file) == [(Kind.STATEMENT | Kind.INSERT, ("app.t",))]


def payload(events: list[Body], *, frames: int = 1, uncompressed: int = 0, compressed: bool = True) -> Body:
    plain = b"".join(make_event(kind, body, checksum=NONE) for kind, body in events)
    size = len(plain) // frames + 1
    parts = [plain[at : at + size] for at in range(0, len(plain), size)]
    data = b"".join(map(zstandard.compress, parts)) if compressed else plain
    fields = b""
    for number, value in ((1, len(data)), (2, 0 if compressed else 255), (3, len(plain) + uncompressed)):
        fields += packed(number) + packed(len(packed(value))) + packed(value)
    return EventType.TRANSACTION_PAYLOAD, fields + b"\0" + data


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("compressed", [True, False])
def test_a_payload_is_read_whatever_its_frames(frames: int, compressed: bool) -> None:
    events = [BEGIN, table_map("t"), rows(EventType.WRITE_ROWS, 3_000_000), table_map("u"), xid()]
    file = MadeFile()
    file.transaction(1, (payload(events, frames=frames, compressed=compressed),))
    file.transaction(2, (payload([*events[:2], xid()], frames=frames, compressed=compressed),), since="5.7")
    assert kinds(file) == [(Kind.INSERT, ("app.t", "app.u")), (Kind.EMPTY, ("app.t",))]


def test_a_payload_that_lies_about_its_size_is_refused() -> None:
    for lie in (1, -1, 10**12):
        file = MadeFile()
        file.transaction(1, (payload(list(INSERT), uncompressed=lie),))
        refused(file, "a TRANSACTION_PAYLOAD event at 2[0-9]* ")


def test_a_payload_of_garbage_is_refused() -> None:
    kind, body = payload(list(INSERT))
    file = MadeFile()
    file.transaction(1, ((kind, body[:-20] + bytes(20)),))
    refused(file, "a TRANSACTION_PAYLOAD event at 2")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(1, 400), min_size=1, max_size=40), st.sampled_from(ChecksumAlgorithm))
def test_pieces_of_any_size_tell_the_same(sizes: list[int], checksum: ChecksumAlgorithm) -> None:
    file = MadeFile(checksum)
    for number in range(1, 12):
        file.transaction(number, INSERT if number % 3 else (query("DROP TABLE t"),))
    file.rotate()
    data, reader, found, at = bytes(file.data), TransactionReader(), [], 4
    reader.feed(data[:4], 0)
    sizes = [*sizes, len(data)]
    while at < len(data):
        end = whole_events(memoryview(data)[: at + sizes.pop(0)] if sizes else memoryview(data), at)
        found += reader.feed(memoryview(data)[at:end], at)
        at = end
    assert found == read(file)
    assert len(found) == 11


def test_a_transaction_that_spans_pieces_is_unfinished_between_them() -> None:
    file = MadeFile()
    begin = file.position
    gtid = file.transaction(1, (BEGIN, *INSERT[1:3] * 50, xid()))
    places = [at for at, _, _ in walk(file.data, 4)]
    reader = TransactionReader()
    middle = places[20]
    assert reader.feed(file.data[:middle], 0) == []
    assert reader.unfinished == Unfinished(gtid, file.clock, begin)
    (found,) = reader.feed(file.data[middle:], middle)
    assert (found.gtid, found.start, found.length) == (gtid, begin, file.position - begin)
    assert reader.unfinished is None


def test_a_file_that_ends_in_mid_transaction_is_torn_and_the_next_file_begins_anew() -> None:
    torn, following = MadeFile(), MadeFile(NONE)
    torn.transaction(1, INSERT)
    torn.transaction(2, INSERT)
    following.transaction(3, (BEGIN, table_map("u"), xid()))
    last = [at for at, _, _ in walk(torn.data, 4)][-1]
    reader = TransactionReader()
    assert [found.gtid.number for found in reader.feed(torn.data[:last], 0)] == [1]
    assert reader.unfinished
    (found,) = reader.feed(following.data[4:], 4)
    assert (found.gtid.number, found.kinds, found.tables) == (3, Kind.EMPTY, ("app.u",))
    assert reader.checksum is NONE


def test_a_reader_goes_on_in_mid_file_when_told_the_checksum() -> None:
    file = MadeFile(NONE)
    file.transaction(1, INSERT)
    place = file.position
    file.transaction(2, INSERT)
    (found,) = TransactionReader(checksum=NONE).feed(file.data[place:], place)
    assert found.start == place


def test_positions_beyond_four_gibibytes_are_compared_modulo() -> None:
    place = (1 << 32) - 100
    file = MadeFile()
    gone = file.position
    file.transaction(1, INSERT)
    events = [(kind, bytes(file.data[at : at + length])) for at, kind, length in walk(file.data, gone)]
    moved, at = b"", place
    for kind, event in events:
        at += len(event)
        moved += make_event(EventType(kind), event[19:-4], checksum=CRC32, log_pos=at)
    (found,) = TransactionReader().feed(moved, place)
    assert found.start == place


def test_a_length_that_is_not_the_transactions_is_refused() -> None:
    for says, match in (
        (5, "should end at"),
        (-5, "should end at .* within an event"),
        (-31, "should end at .* behind a WRITE_ROWS event"),
        (1000, "an? XID event ends it at"),
        (-300, "says that it takes"),
    ):
        file = MadeFile()
        file.transaction(1, (BEGIN, table_map("t"), rows(EventType.WRITE_ROWS, 100), xid()), says=says)
        file.transaction(2, INSERT)
        refused(file, match)


@pytest.mark.parametrize("kind", [EventType.GTID, EventType.ROTATE, EventType.STOP, EventType.PREVIOUS_GTIDS])
def test_nothing_comes_between_the_events_of_a_transaction(kind: EventType) -> None:
    for since in ("8.0", "5.7"):
        file = MadeFile()
        file.transaction(1, (BEGIN, table_map("t"), (kind, bytes(60))), since=since)
        refused(file, f"should go on to .* but a {kind.name} event comes")


def test_an_event_of_no_transaction_is_refused() -> None:
    for kind, body in (BEGIN, table_map("t"), rows(EventType.WRITE_ROWS), xid()):
        file = MadeFile()
        file.add(kind, body)
        refused(file, f"a {kind.name} event at {file.position - file.size(body)} belongs to no transaction")


def test_a_begin_that_should_be_the_end_is_refused() -> None:
    file = MadeFile()
    file.transaction(1, (BEGIN,))
    refused(file, "should end at .* behind a QUERY event")


def test_a_wrong_checksum_is_refused_unless_it_was_checked_before() -> None:
    file = MadeFile()
    file.transaction(1, INSERT)
    file.data[-7] ^= 1
    refused(file, "an? XID event at .* has checksum")
    assert len(TransactionReader(verify=False).feed(file.data, 0)) == 1


def test_a_file_in_use_is_read() -> None:
    file = MadeFile(in_use=True)
    file.transaction(1, INSERT)
    assert len(read(file)) == 1


def test_events_in_a_wrong_place_are_refused() -> None:
    file = MadeFile()
    place = file.position
    file.transaction(1, INSERT)
    with pytest.raises(BinlogUnreadable, match=f"a GTID event at {place + 1} ends at .* but at"):
        TransactionReader().feed(file.data[place:], place + 1)
    reader = TransactionReader()
    reader.feed(file.data[:place], 0)
    with pytest.raises(
        BinlogUnreadable, match=f"the events between {place} and {place + 50} of a file are missing"
    ):
        reader.feed(file.data[place:], place + 50)


def test_a_file_that_begins_wrongly_is_refused() -> None:
    file = MadeFile()
    for data, match in (
        (b"\xfdbin" + file.data[4:], "is encrypted"),
        (b"\0\0\0\0" + file.data[4:], "begins with"),
        (b"\xfe", "begins with"),
        (file.data[:4] + file.data[123 - 4 :], "truncated|begins with|says"),
        (file.data[:22], "truncated"),
        (file.data[:100], "cut off"),
    ):
        with pytest.raises(BinlogUnreadable, match=match):
            TransactionReader().feed(data, 0)
    with pytest.raises(BinlogUnreadable, match="begins with a PREVIOUS_GTIDS event"):
        TransactionReader().feed(
            make_event(EventType.PREVIOUS_GTIDS, bytes(8), checksum=CRC32, log_pos=35), 4
        )


def test_tables_are_told_however_many_and_however_wide_they_are() -> None:
    file = MadeFile()
    kind, narrow = table_map("t")
    wide = (kind, narrow + bytes(9000))
    names = [f"t{number}" for number in range(5100)]
    file.transaction(1, (BEGIN, *(table_map(name, number=at) for at, name in enumerate(names)), wide, xid()))
    file.transaction(2, (BEGIN, wide, table_map("t0", number=0), xid()))
    first, second = read(file)
    assert first.tables == tuple(sorted(f"app.{name}" for name in (*names, "t")))
    assert second.tables == ("app.t", "app.t0")
