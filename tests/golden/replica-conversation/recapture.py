"""Records anew what ``tests/unit/wire/test_replica_conversation.py`` replays: what a replica says to a source.

    python tests/golden/replica-conversation/recapture.py

A real server fetches the files of ``tests/golden/binlogs`` from our replication source, first from nothing,
then once more from where it was; a proxy between them writes down its packets. It must have all transactions
at the end.
"""

from __future__ import annotations

import json
import shutil
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from fleet.gtid import GtidSet
from infra.sandbox.distribution import find_mysql
from infra.sandbox.template import find_template
from restore.mysqld import PrivateServer
from restore.program import DataShape
from tests.sources import BinlogFile, FileFeed
from wire import replica_admin
from wire.binlog.source import ReplicationSource

HERE = Path(__file__).parent
NAMES = ("plain", "compressed", "tagged", "unchecked", "xa", "ddl", "minimal")
UUID = "00000000-1111-2222-3333-444444444444"
SERVER_ID = 4_000_000_001


def main() -> None:
    distribution = find_mysql()
    facts = json.loads((HERE.parent / "binlogs" / "facts.json").read_text())
    # A copy of their own, since the conversation names the GTIDs that are in them.
    for name in NAMES:
        shutil.copy(HERE.parent / "binlogs" / f"{name}.binlog", HERE)
    files = [BinlogFile(name, (HERE / f"{name}.binlog").read_bytes()) for name in NAMES]
    start = GtidSet.parse(facts["plain"]["previous_gtids"])
    end = GtidSet.parse(facts["minimal"]["previous_gtids"]) | GtidSet.parse(facts["minimal"]["gtids"])
    folder = Path(tempfile.mkdtemp(prefix="backstay-capture-"))
    try:
        shutil.copytree(find_template(distribution), folder / "data")
        (folder / "data" / "auto.cnf").write_text("[auto]\nserver-uuid=77777777-7777-7777-7777-777777777777\n")
        options = ("--server-id=77", "--relay-log=relay", "--report-host=replica")
        server = PrivateServer(
            distribution.mysqld, folder / "data", DataShape(), start_timeout_seconds=60, options=options
        )
        source = ReplicationSource(
            FileFeed(files), version="9.7.4", server_id=SERVER_ID, server_uuid=UUID, password="recorded"
        )
        with server, source:
            recorder = Recorder(source.port)
            server.query("SET GLOBAL gtid_purged = %s", (str(start),))
            replica_admin.change_source(server, "127.0.0.1", recorder.port)
            for _ in range(2):
                server.query("START REPLICA IO_THREAD USER = %s PASSWORD = %s", (source.user, source.password))
                wait_for(server, end - start)
                replica_admin.stop_replica(server)
            server.stop()
            recorder.close()
    finally:
        shutil.rmtree(folder)
    written = {"gtids": [str(start), str(end)], "connections": [packets_in(data) for data in recorder.sent]}
    (HERE / "conversation.json").write_text(json.dumps(written, indent=1) + "\n")


def wait_for(server: PrivateServer, wanted: GtidSet) -> None:
    deadline = time.monotonic() + 20
    while not wanted <= replica_admin.replica_state(server).retrieved:
        if time.monotonic() > deadline:
            raise SystemExit(f"it did not come: {replica_admin.replica_state(server)}")
        time.sleep(0.05)
    # Once more connected, it has nothing to fetch, but must have said all that it says.
    time.sleep(1)


def packets_in(data: bytes) -> list[list[int | str]]:
    """Sequence number and payload of every packet."""
    packets: list[list[int | str]] = []
    at = 0
    while at + 4 <= len(data):
        length = int.from_bytes(data[at : at + 3], "little")
        packets.append([data[at + 3], data[at + 4 : at + 4 + length].hex()])
        at += 4 + length
    return packets


class Recorder:
    """A proxy; ``sent`` holds what came from the replica, one entry a connection."""

    def __init__(self, to: int) -> None:
        self.sent: list[bytearray] = []
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                replica, _ = self._listener.accept()
            except OSError:
                return
            source = socket.create_connection(("127.0.0.1", self._to))
            self.sent.append(bytearray())
            for one, other, kept in ((replica, source, self.sent[-1]), (source, replica, bytearray())):
                threading.Thread(target=self._pass_on, args=(one, other, kept), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket, kept: bytearray) -> None:
        while data := one.recv(1 << 16):
            kept += data
            other.sendall(data)
        other.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    main()
