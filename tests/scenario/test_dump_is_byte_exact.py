"""What a dump receives is what lies on the source's disk, byte for byte, however it is written and cut."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from struct import pack, unpack_from
from zlib import crc32

import pytest

from fleet.errors import ServerUnreachable
from fleet.gtid import GtidSet
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.scratch import ScratchServer, start_scratch_server
from tests.scenario.dumps import (
    Archived,
    CuttingProxy,
    allow_plain_archive,
    archive_connector,
    assert_same_file,
    close_file,
    current_file,
    event_ends,
    idle,
    new_options,
    new_server,
    receive,
    up_to,
)
from tests.scenario.test_clone_of_encrypted_data import give_keyring, keyring_distribution
from wire.binlog.dump import BinlogDump, StartAt, find_file
from wire.binlog.header import ChecksumAlgorithm
from wire.session import open_session

__all__ = ["keyring_distribution"]
pytestmark = pytest.mark.mysql

BIG = 40 << 20


@pytest.fixture(scope="module")
def source(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[ScratchServer]:
    with new_server(mysql_distribution, scratch_directory, {"max-allowed-packet": "128M"}) as server:
        server.query("CREATE DATABASE app")
        server.query("CREATE TABLE app.t (id INT AUTO_INCREMENT PRIMARY KEY, v LONGTEXT, KEY (v(20)))")
        close_file(server)
        yield server


def insert(source: ScratchServer, rows: int = 3, *, length: int = 200) -> None:
    for _ in range(rows):
        source.query("INSERT INTO app.t (v) VALUES (REPEAT('x', %s))", (length,))


def many(source: ScratchServer, *statements: str) -> None:
    """On one connection."""
    connection = source.connect()
    try:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
    finally:
        connection.close()


def test_every_kind_of_transaction_is_the_same_on_both_sides(source: ScratchServer) -> None:
    first = current_file(source)
    kinds = {
        "plain": ["INSERT INTO app.t (v) VALUES ('a'), ('b')", "UPDATE app.t SET v = 'c' LIMIT 1"],
        "compressed": [
            "SET SESSION binlog_transaction_compression = ON",
            "INSERT INTO app.t (v) VALUES (REPEAT('zip', 5000))",
        ],
        "tagged": ["SET GTID_NEXT = 'AUTOMATIC:a_tag'", "INSERT INTO app.t (v) VALUES ('tagged')"],
        "xa": [
            "XA START 'x', 'branch', 7",
            "INSERT INTO app.t (v) VALUES ('xa')",
            "XA END 'x', 'branch', 7",
            "XA PREPARE 'x', 'branch', 7",
            "XA COMMIT 'x', 'branch', 7",
        ],
        "ddl": ["CREATE TABLE app.other (id INT)", "DROP TABLE app.other"],
        "statement": ["SET SESSION binlog_format = STATEMENT", "INSERT INTO app.t (v) VALUES (RAND())"],
    }
    closed = []
    for statements in kinds.values():
        many(source, *statements)
        closed.append(close_file(source))
    with BinlogDump.open(archive_connector(source)(), StartAt(first, 0), new_options()) as dump:
        archived = receive(dump, up_to(closed[-1]))
    assert list(archived.ended_by) == closed
    for name in closed:
        assert_same_file(source, name, archived)


def test_a_transaction_of_40_mb_is_one_event_and_one_batch(source: ScratchServer) -> None:
    first = current_file(source)
    insert(source, 2)
    insert(source, 1, length=BIG)
    insert(source, 2)
    # Around the lengths at which a packet is exactly full, so that an empty one follows it, or a tiny one.
    rows_head = 4 + 8 + 9
    for length in range(0xFFFFFF - 60 - rows_head, 0xFFFFFF - 19, 7):
        insert(source, 1, length=length)
    closed = close_file(source)
    sizes = list[int]()

    def done(archived: Archived) -> bool:
        assert archived.last is not None
        sizes.append(len(archived.last.data))
        return closed in archived.ended_by

    with BinlogDump.open(archive_connector(source)(), StartAt(first, 0), new_options()) as dump:
        archived = receive(dump, done)
    assert_same_file(source, closed, archived)
    assert BIG < max(sizes) < BIG + 200
    assert all(size <= 1 << 20 for size in sizes if size < 0xFFFF00)


def test_a_file_without_checksums_between_two_with_them(source: ScratchServer) -> None:
    first = current_file(source)
    insert(source)
    try:
        source.query("SET GLOBAL binlog_checksum = NONE")  # it rotates
        bare = current_file(source)
        insert(source)
    finally:
        source.query("SET GLOBAL binlog_checksum = CRC32")
    insert(source)
    last = close_file(source)
    with BinlogDump.open(archive_connector(source)(), StartAt(first, 0), new_options()) as dump:
        archived = receive(dump, up_to(last))
    assert list(archived.ended_by) == [first, bare, last]
    for name in archived.ended_by:
        assert_same_file(source, name, archived)

    # Resumed inside of it, up to a heartbeat: the first rotate has a checksum, the heartbeat has none.
    ends = event_ends((source.datadir / bare).read_bytes())
    source.query("SET GLOBAL binlog_checksum = NONE")
    try:
        insert(source)
        for file, position in ((bare, ends[3]), (current_file(source), 0)):
            with BinlogDump.open(archive_connector(source)(), StartAt(file, position), new_options()) as dump:
                resumed = [batch for batch, _ in zip(dump.batches(), range(2), strict=False)]
            assert (resumed[0].start, resumed[0].checksum) == (position, ChecksumAlgorithm.NONE)
        with BinlogDump.open(
            archive_connector(source)(), StartAt(current_file(source), 0), new_options()
        ) as dump:
            receive(dump, idle)
    finally:
        source.query("SET GLOBAL binlog_checksum = CRC32")


@pytest.mark.slow
def test_encrypted_binlogs_arrive_plain(
    keyring_distribution: MysqlDistribution,
    scratch_directory: Path,
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="e", dir=scratch_directory))
    source = start_scratch_server(folder, keyring_distribution, owner=scratch_directory)
    try:
        source.stop()
        give_keyring(source.datadir, folder / "keyring")
        source.start(binlog_encryption="ON")
        first = current_file(source)
        source.query("CREATE DATABASE app")
        source.query("CREATE TABLE app.t (id INT AUTO_INCREMENT PRIMARY KEY, v LONGTEXT)")
        insert(source, 5)
        closed = close_file(source)
        with BinlogDump.open(archive_connector(source)(), StartAt(first, 0), new_options()) as dump:
            archived = receive(dump, up_to(closed))
        plain = bytes(archived.files[closed])
        on_disk = (source.datadir / closed).read_bytes()
        assert on_disk[:4] == b"\xfdbin"
        assert len(on_disk) == len(plain) + 512
        ends = event_ends(plain)
        assert (plain[:4], ends[-1]) == (b"\xfebin", len(plain))
        for end in ends[1:-1:5]:
            with BinlogDump.open(archive_connector(source)(), StartAt(closed, end), new_options()) as dump:
                batch = next(dump.batches())
            assert (batch.start, bytes(batch.data)) == (end, plain[end:])
    finally:
        source.remove()


def test_it_resumes_at_every_event_of_a_file(source: ScratchServer) -> None:
    name = current_file(source)
    many(source, "BEGIN", *["INSERT INTO app.t (v) VALUES ('a')"] * 4, "COMMIT")
    insert(source, 1)
    assert close_file(source) == name
    whole = (source.datadir / name).read_bytes()
    connect, options = archive_connector(source), new_options()
    with BinlogDump.open(connect(), StartAt(name, 0), options) as dump:
        created = receive(dump, up_to(name)).last.created  # type: ignore[union-attr]
    ends = event_ends(whole)
    assert len(ends) > 15
    for end in ends:
        with BinlogDump.open(connect(), StartAt(name, end, created), options) as dump:
            archived = Archived()
            archived.files[name] = bytearray(whole[:end])
            if end < len(whole):
                receive(dump, up_to(name), archived)
                assert_same_file(source, name, archived)
            else:
                # Everything is there, also the rotate: the source goes on with the next file.
                batches = dump.batches()
                batch = next(batches)
                assert (batch.file, batch.start, batch.ended_by) == (name, end, "torn")
                assert next(batches).start == 0


def test_a_network_that_breaks_after_any_number_of_bytes_costs_nothing(source: ScratchServer) -> None:
    name = current_file(source)
    insert(source, 30, length=2000)
    assert close_file(source) == name
    size = (source.datadir / name).stat().st_size
    tls = allow_plain_archive(source)
    options, archived, cuts = new_options(), Archived(), 0
    with CuttingProxy(source.port) as proxy:
        connect = archive_connector(source, tls=tls, port=proxy.port)
        # The login and the first packets take 600 bytes; each connection brings a little more than the last.
        limit = 40
        while name not in archived.ended_by:
            limit += 97 if limit < 2000 else 1009
            proxy.allow(limit)
            try:
                with BinlogDump.open(connect(), archived.next(name), options) as dump:
                    receive(dump, up_to(name), archived)
            except ServerUnreachable:
                cuts += 1
    assert_same_file(source, name, archived)
    assert cuts > 20
    assert limit < size


def test_it_resumes_beyond_4_gib(source: ScratchServer) -> None:
    name = current_file(source)
    many(source, "BEGIN", *["INSERT INTO app.t (v) VALUES ('a')"] * 4, "COMMIT")
    insert(source, 2)
    assert close_file(source) == name
    path = source.datadir / name
    whole = path.read_bytes()
    ends = event_ends(whole)
    # The same file with a hole before its transactions, so that they cross the limit: a server only seeks.
    first = ends[1]
    begin = 2**32 - 150
    moved = b"".join(moved_event(whole[at:end], begin - first) for at, end in pairwise(ends[1:]))
    with path.open("r+b") as file:
        file.truncate(first)
        file.seek(begin)
        file.write(moved)
    assert path.stat().st_size > 2**32
    for end in [first, *ends[2:-1:4]]:
        start = StartAt(name, begin + end - first)
        with BinlogDump.open(archive_connector(source)(), start, new_options()) as dump:
            batch = next(dump.batches())
        assert (batch.start, batch.ended_by) == (start.position, "rotate")
        assert bytes(batch.data) == moved[end - first :]


def moved_event(event: bytes, distance: int) -> bytes:
    """The event as it would be further on in its file."""
    (log_pos,) = unpack_from("<I", event, 13)
    moved = event[:13] + pack("<I", (log_pos + distance) % 2**32) + event[17:-4]
    return moved + pack("<I", crc32(moved))


def test_over_a_socket_and_without_tls_it_is_the_same(source: ScratchServer) -> None:
    name = current_file(source)
    insert(source)
    assert close_file(source) == name
    plain = archive_connector(source, tls=allow_plain_archive(source))
    local = source.server.model_copy(update={"socket": source.socket})
    account = source.archive_account
    for connect in (plain, lambda: open_session(local, account, connect_timeout=5, read_timeout=5)):
        with BinlogDump.open(connect(), StartAt(name, 0), new_options()) as dump:
            assert_same_file(source, name, receive(dump, up_to(name)))


def test_a_crash_ends_a_file_without_a_word_and_a_shutdown_with_one(source: ScratchServer) -> None:
    connect, options, archived = archive_connector(source), new_options(), Archived()
    insert(source)
    crashed = current_file(source)
    with BinlogDump.open(connect(), StartAt(crashed, 0), options) as dump:
        receive(dump, idle, archived)
        source.kill()
        with pytest.raises(ServerUnreachable):
            receive(dump, up_to(crashed), archived)
    source.start()
    insert(source)
    stopped = current_file(source)
    with BinlogDump.open(connect(), archived.next(crashed), options) as dump:
        archived.heartbeats = 0
        receive(dump, idle, archived)
    # A server keeps its dumps for the last 8 seconds of a shutdown, whoever receives; this one has left.
    source.stop()
    source.start()
    with BinlogDump.open(connect(), archived.next(crashed), options) as dump:
        receive(dump, up_to(stopped), archived)
        archived.heartbeats = 0
        receive(dump, idle, archived)
    assert archived.ended_by == {crashed: "torn", stopped: "stop"}
    for name in (crashed, stopped):
        assert_same_file(source, name, archived)
    # A server that lives marks its file as in use; what we keep is the file as it will be when it is closed.
    live = (source.datadir / current_file(source)).read_bytes()
    ours = bytes(archived.files[current_file(source)])
    assert [at for at in range(len(ours)) if ours[at] != live[at]] == [21]


def test_after_a_failover_the_file_to_begin_with_is_found_by_what_is_archived(source: ScratchServer) -> None:
    options, connect = new_options(), archive_connector(source)
    wanted: list[tuple[GtidSet, str]] = []
    for _ in range(3):
        have = GtidSet.parse(source.query("SELECT @@global.gtid_executed AS g")[0]["g"])
        wanted.append((have, current_file(source)))
        many(source, "SET GTID_NEXT = 'AUTOMATIC:other'", "INSERT INTO app.t (v) VALUES ('tagged')")
        insert(source, 1)
        close_file(source)
    for have, file in wanted:
        assert find_file(connect, options, have) == file
        with BinlogDump.open(connect(), StartAt(file, 0), options) as dump:
            assert_same_file(source, file, receive(dump, up_to(file)))
