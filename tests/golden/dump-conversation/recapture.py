"""Records anew the conversations that ``tests/unit/wire/test_dump_conversation.py`` replays.

    python tests/golden/dump-conversation/recapture.py

A real server writes three small files: one plain, one without checksums, one with tagged and compressed
transactions. They are received as an asynchronous archive does, and resumed in the middle; then commits wait
for an archive that answers. What was received is compared with the server's files before it is written here.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from fleet.errors import ToolError
from infra.sandbox.distribution import find_mysql
from infra.sandbox.scratch import ScratchServer, start_scratch_server
from tests.conversations import save
from tests.dump_conversations import OPTIONS, SEMI_SYNC, Heard, RecordingSession, as_session
from wire.binlog.dump import BinlogDump, DumpOptions, StartAt
from wire.session import Session, open_session

HERE = Path(__file__).parent


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="backstay-capture-"))
    try:
        source = start_scratch_server(folder / "source", find_mysql())
        try:
            expected = record_all(source)
        finally:
            source.remove()
    finally:
        shutil.rmtree(folder)
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


def record_all(source: ScratchServer) -> dict[str, object]:
    source.query("CREATE DATABASE app")
    source.query("CREATE TABLE app.t (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(2000))")
    source.query("FLUSH BINARY LOGS")
    run(source, "INSERT INTO app.t (v) VALUES ('a'), ('b')", "UPDATE app.t SET v = 'c'", "DELETE FROM app.t")
    run(source, "SET GLOBAL binlog_checksum = NONE", "INSERT INTO app.t (v) VALUES ('bare')")
    run(source, "SET GLOBAL binlog_checksum = CRC32")
    run(source, "SET GTID_NEXT = 'AUTOMATIC:tag'", "INSERT INTO app.t (v) VALUES ('tagged')")
    run(
        source,
        "SET SESSION binlog_transaction_compression = ON",
        "INSERT INTO app.t (v) VALUES (REPEAT('zip', 500))",
    )
    source.query("FLUSH BINARY LOGS")
    middle = end_of_event((source.datadir / "binlog.000002").read_bytes(), 4)
    return {
        "plain": record(source, "plain", StartAt("binlog.000002", 0), OPTIONS),
        "resumed": record(source, "resumed", StartAt("binlog.000002", middle), OPTIONS),
        "purged": record(source, "purged", StartAt("binlog.000077", 0), OPTIONS),
        "semi-sync": record_semi_sync(source),
    }


def end_of_event(data: bytes, number: int) -> int:
    """The fourth is the second of the first transaction: nothing but an event boundary is needed."""
    at = 4
    for _ in range(number):
        at += int.from_bytes(data[at + 9 : at + 13], "little")
    return at


def record(source: ScratchServer, name: str, start: StartAt, options: DumpOptions) -> dict[str, object]:
    """Up to the second heartbeat; the source's goodbye is not recorded."""
    session, heard, silent = RecordingSession(connect(source)), Heard(), 0
    try:
        with BinlogDump.open(as_session(session), start, options) as dump:
            for batch in dump.batches():
                heard.add(batch)
                silent += not batch.data and not batch.ended_by
                if silent == 2:
                    break
    except ToolError as error:
        heard.error = error
    save(session.events, HERE / f"{name}.zst")
    return facts(source, start, heard)


def record_semi_sync(source: ScratchServer) -> dict[str, object]:
    """Three commits, one after the other, each released by our answer."""
    source.query("SET GLOBAL rpl_semi_sync_source_timeout = 600000")
    source.query("SET GLOBAL rpl_semi_sync_source_enabled = ON")
    start = StartAt(source.query("SHOW BINARY LOG STATUS")[0]["File"], 0)
    session, heard = RecordingSession(connect(source)), Heard()
    with BinlogDump.open(as_session(session), start, SEMI_SYNC) as dump:
        batches = dump.batches()
        heard.add(next(batches))
        for value in ("one", "two", "three"):
            commit = threading.Thread(
                target=source.query, args=("INSERT INTO app.t (v) VALUES (%s)", (value,)), daemon=True
            )
            commit.start()
            while True:
                heard.add(batch := next(batches))
                if batch.ack_wanted:
                    dump.acknowledge(batch.file, batch.end)
                    break
            commit.join()
        source.query("SET GLOBAL rpl_semi_sync_source_enabled = OFF")
    save(session.events, HERE / "semi-sync.zst")
    return facts(source, start, heard)


def facts(source: ScratchServer, start: StartAt, heard: Heard) -> dict[str, object]:
    for name, data in heard.files.items():
        theirs = bytearray((source.datadir / name).read_bytes())
        theirs[21] &= 0xFE
        begun = start.position if name == start.file else 0
        if theirs[begun : begun + len(data)] != data:
            raise SystemExit(f"{name} is not what the source has")
    return {
        "start": [start.file, start.position],
        "files": {name: [len(data), hashlib.sha256(data).hexdigest()] for name, data in heard.files.items()},
        "ended_by": {batch.file: batch.ended_by for batch in heard.batches if batch.ended_by},
        "error": type(heard.error).__name__ if heard.error else None,
    }


def run(source: ScratchServer, *statements: str) -> None:
    connection = source.connect()
    try:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
    finally:
        connection.close()


def connect(source: ScratchServer) -> Session:
    return open_session(source.server, source.archive_account, connect_timeout=5, read_timeout=5)


if __name__ == "__main__":
    main()
