"""A private mysqld on real data directories: private, read-only, and never left behind."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import Cancelled, RecoveryFailed
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.server import MysqlServer
from restore.mysqld import PrivateServer
from restore.program import DataShape, read_version
from restore.target import look_at

pytestmark = pytest.mark.mysql

Starter = Callable[..., PrivateServer]


@pytest.fixture(scope="module")
def template(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Path:
    """A data directory that was initialised and never started."""
    server = MysqlServer(scratch_directory / "private", "private", 1, 1, mysql_distribution)
    server.initialise()
    return server.datadir


@pytest.fixture
def datadir(template: Path, tmp_path: Path) -> Path:
    copied = tmp_path / "data"
    shutil.copytree(template, copied)
    (copied / "auto.cnf").unlink(missing_ok=True)
    return copied


@pytest.fixture
def private(mysql_distribution: MysqlDistribution, datadir: Path) -> Starter:
    def make(shape: DataShape | None = None, **more: Any) -> PrivateServer:
        more = {"start_timeout_seconds": 120, "buffer_pool_bytes": 64 << 20, **more}
        return PrivateServer(mysql_distribution.mysqld, datadir, shape or DataShape(), **more)

    return make


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def take_log(error: RecoveryFailed) -> str:
    """The log that the hint names; it is removed."""
    assert error.hint is not None
    path = Path(error.hint.rpartition(" ")[2])
    text = path.read_text() if path.exists() else ""
    shutil.rmtree(path.parent)
    return text


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 20
    while is_alive(pid):
        assert time.monotonic() < deadline, "mysqld still runs"
        time.sleep(0.05)


def test_it_is_reached_over_its_own_socket_alone_and_writes_nothing(private: Starter, datadir: Path) -> None:
    with private() as server:
        (told,) = server.query(
            "SELECT @@skip_networking AS closed, @@super_read_only AS read_only, @@log_bin AS binlog,"
            " @@event_scheduler AS events, @@gtid_mode AS gtids, @@server_uuid AS uuid, @@datadir AS place"
        )
        assert (told["closed"], told["read_only"], told["binlog"]) == (1, 1, 0)
        assert (told["events"], told["gtids"]) == ("DISABLED", "ON")
        assert Path(told["place"]) == datadir
        assert told["uuid"] in (datadir / "auto.cnf").read_text()
        assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700
        assert not subprocess.run(
            ["ss", "-Hltnp", f"pid={server.pid}"], capture_output=True, check=False
        ).stdout.count(f"pid={server.pid},".encode())
        assert look_at(datadir).locked_by == server.pid
        pid, place = server.pid, server.socket.parent
        server.stop()
        assert not is_alive(pid)
        assert not place.exists()


def test_every_start_on_a_copy_takes_a_fresh_uuid(private: Starter, datadir: Path) -> None:
    uuids: set[str] = set()
    for _ in range(2):
        with private() as server:
            uuids.add(server.query("SELECT @@server_uuid AS uuid")[0]["uuid"])
            server.stop()
        (datadir / "auto.cnf").unlink()
    assert len(uuids) == 2


def test_a_data_directory_that_is_in_use_is_left_alone(private: Starter) -> None:
    with private() as server:
        with pytest.raises(RecoveryFailed, match=f"is in use by process {server.pid}"):
            private().start()
        assert server.query("SELECT 1 AS one") == [{"one": 1}]


def test_a_server_that_refuses_the_data_is_told_in_its_own_words(private: Starter) -> None:
    with pytest.raises(RecoveryFailed, match=r"mysqld ended before it was ready: .*MY-") as failed:
        private(DataShape(page_size_bytes=8192)).start()
    assert "[ERROR]" in take_log(failed.value)


def test_a_server_that_takes_too_long_is_ended(private: Starter, datadir: Path) -> None:
    server = private(start_timeout_seconds=0.05)
    with pytest.raises(RecoveryFailed, match=r"not ready after 0\.05 s; its log ends") as failed, server:
        pass
    assert look_at(datadir).locked_by is None
    take_log(failed.value)


def test_a_start_can_be_cancelled(private: Starter, datadir: Path) -> None:
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Cancelled), private(cancelled=cancelled):
        pass
    assert look_at(datadir).locked_by is None


def test_a_server_that_is_killed_is_told_and_a_query_does_not_hang(private: Starter) -> None:
    with pytest.raises(RecoveryFailed, match="it was ended by signal 9") as failed, private() as server:
        os.kill(server.pid, signal.SIGKILL)
        server.query("SELECT 1")
    take_log(failed.value)


def test_an_exception_in_the_block_ends_the_server(private: Starter, datadir: Path) -> None:
    pid = 0
    with pytest.raises(KeyboardInterrupt), private() as server:
        pid = server.pid
        raise KeyboardInterrupt
    assert not is_alive(pid)
    assert look_at(datadir).locked_by is None


def test_a_server_that_was_left_runs_on_until_it_is_ended(private: Starter) -> None:
    with private() as server:
        pid, place = server.pid, server.socket.parent
        server.leave()
    try:
        assert is_alive(pid)
        assert (place / "mysqld.sock").exists()
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until_gone(pid)
        shutil.rmtree(place)


def test_it_is_gone_when_its_owner_is_killed(mysql_distribution: MysqlDistribution, datadir: Path) -> None:
    program = f"""
import time
from pathlib import Path
from restore.mysqld import PrivateServer
from restore.program import DataShape
with PrivateServer(Path({str(mysql_distribution.mysqld)!r}), Path({str(datadir)!r}), DataShape(),
                   start_timeout_seconds=120, buffer_pool_bytes=64 << 20) as server:
    print(server.pid, server.socket.parent, flush=True)
    time.sleep(100)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid, place = owner.stdout.readline().split()
        assert is_alive(int(pid))
        owner.kill()
    wait_until_gone(int(pid))
    # Its main thread is gone first; the lock falls with the last one.
    deadline = time.monotonic() + 20
    while look_at(datadir).locked_by is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    shutil.rmtree(place)


def test_without_its_system_tablespace_a_directory_neither_starts_nor_changes(
    private: Starter, datadir: Path
) -> None:
    (datadir / "ibdata1").rename(datadir / "ibdata1.backstay-parked")
    before = {path: path.read_bytes() for path in datadir.rglob("*") if path.is_file()}
    with pytest.raises(RecoveryFailed, match=r"File \./ibdata1: 'open' returned OS error") as failed:
        private().start()
    take_log(failed.value)
    after = {path: path.read_bytes() for path in datadir.rglob("*") if path.is_file()}
    after.pop(datadir / "auto.cnf")
    assert after == before


def test_the_version_of_a_real_mysqld_is_read(mysql_distribution: MysqlDistribution) -> None:
    assert str(read_version(mysql_distribution.mysqld)) == mysql_distribution.version
