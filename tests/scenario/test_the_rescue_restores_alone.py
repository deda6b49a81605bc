"""The day Backstay is gone: a copy of the bucket, a key, RESCUE.md, and a mysqld that starts on it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pymysql
import pytest

from backup.full import take_full_backup
from infra.sandbox.dataset import checksums, create_dataset
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.scratch import ScratchServer
from tests.scenario.fleets import fleet_of, repository_of

pytestmark = pytest.mark.mysql

START_SECONDS = 120


@contextmanager
def mysqld_as_the_guide_says(mysqld: Path, datadir: Path, printed: list[str]) -> Iterator[pymysql.Connection]:
    """Section 4 of RESCUE.md, with the options that ``restore`` printed."""
    with tempfile.TemporaryDirectory(prefix="rescued") as folder:
        socket = Path(folder) / "s"
        options = ["--user=root", f"--datadir={datadir}", f"--socket={socket}", "--skip-networking"]
        options += ["--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--event-scheduler=OFF"]
        options += ["--super-read-only=ON", "--loose-mysqlx=OFF", f"--log-error={folder}/error.log"]
        server = subprocess.Popen([mysqld, "--no-defaults", *options, *printed])
        try:
            yield connected(socket, server, Path(folder) / "error.log")
        finally:
            server.terminate()
            server.wait(60)


def connected(socket: Path, server: subprocess.Popen[bytes], log: Path) -> pymysql.Connection:
    deadline = time.monotonic() + START_SECONDS
    while not log.exists() or "ready for connections" not in log.read_text("utf-8"):
        assert server.poll() is None and time.monotonic() < deadline, log
        time.sleep(0.2)
    return pymysql.connect(unix_socket=str(socket), user="root")


def test_a_real_backup_comes_back_by_the_rescue_alone(
    scratch_server: ScratchServer, mysql_distribution: MysqlDistribution, tmp_path: Path
) -> None:
    with closing(scratch_server.connect()) as connection:
        create_dataset(connection, 10)
        fleet = fleet_of(scratch_server, folder=tmp_path)
        label = take_full_backup(fleet, "s1", repository=repository_of(fleet)).label
        expected = checksums(connection)
        executed = scratch_server.query("SELECT @@global.gtid_executed AS g")[0]["g"]
    scratch_server.stop()
    copy, datadir = tmp_path / "copy", tmp_path / "rescued"
    shutil.copytree(tmp_path / "repository", copy)
    key = str(tmp_path / "backstay.key")

    def rescue(*arguments: str) -> str:
        command = [sys.executable, "-I", str(copy / "rescue.py"), *arguments, "--key", key]
        run = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=120, check=False)
        assert run.returncode == 0, run.stderr
        return run.stdout

    assert label in rescue("list", str(copy))
    assert "every byte is as it was written" in rescue("check", str(copy), "s1", label)
    said = rescue("restore", str(copy), "s1", "latest", str(datadir))
    printed = shlex.split(" ".join(line for line in said.splitlines() if line.startswith("  --")))
    assert len(printed) == 3
    with (
        mysqld_as_the_guide_says(mysql_distribution.mysqld, datadir, printed) as connection,
        closing(connection),
    ):
        assert checksums(connection) == expected
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@global.gtid_executed")
            assert cursor.fetchone() == (executed,)
