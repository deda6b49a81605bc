"""Records anew the conversation that ``tests/unit/wire/test_clone_conversation.py`` replays.

    python tests/golden/clone-conversation/recapture.py

A small real server is cloned while tables are created, dropped, renamed and truncated between the stages. The copy
is started by a real mysqld and checked before anything is written here.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from fleet.blocks import Stage
from fleet.clock import SystemClock
from fleet.model import Tls
from infra.sandbox.distribution import find_mysql
from infra.sandbox.ports import free_ports
from infra.sandbox.scratch import ScratchServer, start_scratch_server
from infra.sandbox.server import MysqlServer
from tests.clones import Keeping
from tests.conversations import Recorder, save
from tests.digests import digest_of
from wire.clone.client import CloneClient, CloneOptions
from wire.session import open_session

HERE = Path(__file__).parent
TABLES = ("gone", "kept", "moved", "cut", "z")


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="backstay-capture-"))
    try:
        donor = start_scratch_server(folder / "donor", find_mysql())
        try:
            record(donor, folder / "copy")
        finally:
            donor.remove()
    finally:
        shutil.rmtree(folder)


def record(donor: ScratchServer, copy: Path) -> None:
    donor.query("CREATE DATABASE app")
    for table in TABLES:
        more = " ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=4" if table == "z" else ""
        donor.query(f"CREATE TABLE app.{table} (id INT PRIMARY KEY, v VARCHAR(100)){more}")
        donor.query(f"INSERT INTO app.{table} VALUES (1, 'one'), (2, 'two')")
    donor.query("SET GLOBAL innodb_max_dirty_pages_pct = 0")

    class Sink(Keeping):
        def before_ack(self, stage: Stage) -> None:
            super().before_ack(stage)
            if stage is not Stage.REDO:
                change(donor, stage)

    account = donor.backup_account
    plain = donor.server.model_copy(update={"tls": Tls(mode="off")})
    donor.query(f"ALTER USER '{account.user}'@'%' REQUIRE NONE")
    recorder = Recorder(lambda: open_session(plain, account, connect_timeout=5, read_timeout=60))
    sink = Sink(copy / "data")
    outcome = CloneClient(recorder.connect, CloneOptions(connections=1), SystemClock()).run(sink)
    sink.lay_out(outcome)
    expected = {
        "files": [[file.name, file.space_id, file.size, file.page_size] for file in outcome.files],
        "directories": outcome.directories,
        "redo": [outcome.redo.start_lsn, outcome.redo.checkpoint_lsn, outcome.redo.end_lsn],
        "calls": sink.calls,
        "digest": digest_of(copy / "data"),
    }
    prove(copy)
    save(recorder.events, HERE / "conversation.zst")
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


def change(donor: ScratchServer, stage: Stage) -> None:
    name = stage.name.lower()
    donor.query(f"CREATE TABLE app.new_{name} (id INT PRIMARY KEY, v VARCHAR(100))")
    donor.query(f"INSERT INTO app.new_{name} VALUES (3, 'three')")
    donor.query("UPDATE app.kept SET v = CONCAT(v, '!')")
    donor.query(f"RENAME TABLE app.moved TO app.moved_{name}, app.cut TO app.moved, app.moved_{name} TO app.cut")
    donor.query("TRUNCATE TABLE app.cut")
    if stage is Stage.FILE:
        donor.query("DROP TABLE app.gone")


def prove(copy: Path) -> None:
    """The copy starts, and its tables are whole."""
    server = MysqlServer(copy, "copy", free_ports(1)[0], 2, find_mysql())
    server.start()
    try:
        for row in server.query("SELECT table_name AS t FROM information_schema.tables WHERE table_schema = 'app'"):
            (status,) = server.query(f"CHECK TABLE app.{row['t']}")
            assert status["Msg_text"] == "OK", status
    finally:
        server.stop()


if __name__ == "__main__":
    main()
