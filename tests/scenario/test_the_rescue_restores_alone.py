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
from backup.incremental import take_incremental_backup
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


class Stranger:
    """Somebody with a copy of the repository, the key, and nothing of ours."""

    def __init__(self, folder: Path, mysqld: Path) -> None:
        self._folder = folder
        self._mysqld = mysqld
        self.copy = folder / "copy"
        shutil.copytree(folder / "repository", self.copy)

    def rescue(self, *arguments: str) -> str:
        command = [sys.executable, "-I", self.copy / "rescue.py", *arguments]
        command += ["--key", self._folder / "backstay.key"]
        run = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=120, check=False)
        assert run.returncode == 0, run.stderr
        return run.stdout

    @contextmanager
    def restored(self, label: str) -> Iterator[pymysql.Connection]:
        """A server on what ``restore`` makes of the backup."""
        datadir = self._folder / f"rescued-{label}"
        said = self.rescue("restore", str(self.copy), "s1", label, str(datadir))
        printed = shlex.split(" ".join(line for line in said.splitlines() if line.startswith("  --")))
        assert len(printed) == 3
        with (
            mysqld_as_the_guide_says(self._mysqld, datadir, printed) as connection,
            closing(connection),
        ):
            yield connection


def executed_by(connection: pymysql.Connection) -> object:
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@global.gtid_executed")
        return cursor.fetchone()


def test_a_real_backup_comes_back_by_the_rescue_alone(
    scratch_server: ScratchServer, mysql_distribution: MysqlDistribution, tmp_path: Path
) -> None:
    with closing(scratch_server.connect()) as connection:
        create_dataset(connection, 10)
        fleet = fleet_of(scratch_server, folder=tmp_path)
        label = take_full_backup(fleet, "s1", repository=repository_of(fleet)).label
        expected = checksums(connection), executed_by(connection)
    scratch_server.stop()
    stranger = Stranger(tmp_path, mysql_distribution.mysqld)
    assert label in stranger.rescue("list", str(stranger.copy))
    assert "every byte is as it was written" in stranger.rescue("check", str(stranger.copy), "s1", label)
    with stranger.restored("latest") as connection:
        assert (checksums(connection), executed_by(connection)) == expected


def test_a_real_chain_and_a_full_that_refers_come_back_by_the_rescue_alone(
    scratch_server: ScratchServer, mysql_distribution: MysqlDistribution, tmp_path: Path
) -> None:
    def change(*statements: str) -> None:
        for statement in statements:
            scratch_server.query(statement)

    fleet = fleet_of(scratch_server, folder=tmp_path, backup={"donor": "primary", "retries": 0})
    repository = repository_of(fleet)
    with closing(scratch_server.connect()) as connection:
        create_dataset(connection, 10)
        change("CREATE DATABASE app", "CREATE TABLE app.gone SELECT * FROM bulk.sbtest1")
        full = take_full_backup(fleet, "s1", repository=repository)
        change(
            "UPDATE bulk.sbtest1 SET k = k + 1 WHERE id % 50 = 0",
            "RENAME TABLE bulk.sbtest2 TO app.moved",
            "DROP TABLE app.gone",
            "CREATE TABLE app.born SELECT * FROM bulk.sbtest1",
        )
        first = take_incremental_backup(fleet, "s1", repository=repository)
        change("TRUNCATE TABLE app.born", "DELETE FROM app.moved WHERE id % 3 = 0")
        second = take_incremental_backup(fleet, "s1", repository=repository)
        at_second = checksums(connection), executed_by(connection)
        change("UPDATE app.moved SET k = k + 1 WHERE id % 7 = 0")
        referring = take_full_backup(fleet, "s1", repository=repository, full="referring")
        at_referring = checksums(connection), executed_by(connection)
    assert (first.base, second.base, referring.built_on) == (full.label, first.label, second.label)
    scratch_server.stop()
    stranger = Stranger(tmp_path, mysql_distribution.mysqld)
    assert f"continues {first.label}" in stranger.rescue("list", str(stranger.copy))
    said = stranger.rescue("check", str(stranger.copy))
    assert said.count("every byte is as it was written") == 4
    with stranger.restored(second.label) as connection:
        assert (checksums(connection), executed_by(connection)) == at_second
    with stranger.restored(referring.label) as connection:
        assert (checksums(connection), executed_by(connection)) == at_referring
