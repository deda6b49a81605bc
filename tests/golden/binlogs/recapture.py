"""Records anew the binlog files that ``tests/unit/wire/test_binlog_codec_golden.py`` reads.

    python tests/golden/binlogs/recapture.py

A real server is told the stories of ``tests/binlogs.py``, each with a binlog file to itself. Beside each file lie
what ``mysqlbinlog`` of the same distribution prints of it, and what the server itself said of its GTIDs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from fleet.gtid import GtidSet
from infra.sandbox.distribution import find_mysql
from infra.sandbox.scratch import ScratchServer, start_scratch_server
from tests.binlogs import STORIES, UNCHECKED, Step, Story, prepare, tell

HERE = Path(__file__).parent
LONGEST_LINE = 300
ANONYMOUS = Story(
    "anonymous", (Step(UNCHECKED.steps[0].kinds, ("nameless.*",), ("CREATE DATABASE nameless",)),)
)
STOPPED = Story("stopped", (Step(UNCHECKED.steps[0].kinds, ("stopped.*",), ("CREATE DATABASE stopped",)),))


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="backstay-capture-"))
    try:
        server = start_scratch_server(folder, find_mysql())
        try:
            facts = {story.name: record(server, story) for story in STORIES}
            for mode in ("ON_PERMISSIVE", "OFF_PERMISSIVE"):
                server.query(f"SET GLOBAL gtid_mode = {mode}")
            facts["anonymous"] = record(server, ANONYMOUS)
            facts["stopped"] = record(server, STOPPED, stop=True)
        finally:
            server.remove()
    finally:
        shutil.rmtree(folder)
    (HERE / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")


def record(server: ScratchServer, story: Story, *, stop: bool = False) -> dict[str, str]:
    """Tell the story; keep its file, what mysqlbinlog prints, and the server's own GTID sets around it.

    The file of a server that stopped ends by a stop event; a second copy, made before, still says IN_USE.
    """
    prepare(server, story)
    status = server.query("SHOW BINARY LOG STATUS")[0]
    before = GtidSet.parse(status["Executed_Gtid_Set"])
    tell(server, story)
    file = server.datadir / status["File"]
    after = GtidSet.parse(server.query("SELECT @@gtid_executed AS gtids")[0]["gtids"])
    version = server.query("SELECT VERSION() AS version")[0]["version"]
    if stop:
        (HERE / "open.binlog").write_bytes(file.read_bytes())
        server.stop()
    else:
        server.query("FLUSH BINARY LOGS")
    (HERE / f"{story.name}.binlog").write_bytes(file.read_bytes())
    tool = [server.distribution.tool("mysqlbinlog"), "--verify-binlog-checksum"]
    printed = subprocess.run([*tool, "--base64-output=decode-rows", "-vv", file], capture_output=True, check=True)
    lines = (line[:LONGEST_LINE] for line in printed.stdout.splitlines())
    (HERE / f"{story.name}.mysqlbinlog").write_bytes(b"\n".join(lines) + b"\n")
    return {
        "version": version,
        "previous_gtids": before.one_line(),
        "gtids": (after - before).one_line(),
        "next_file": f"{file.stem}.{int(file.suffix[1:]) + 1:06}",
    }


if __name__ == "__main__":
    main()
