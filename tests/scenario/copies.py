"""Clones of scratch servers in tests: made, cut off, laid out, started and compared."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleet.blocks import Stage
from fleet.clock import SystemClock
from fleet.model import Tls
from infra.sandbox.dataset import checksums
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.ports import free_ports
from infra.sandbox.replication import replicate_from, wait_caught_up
from infra.sandbox.scratch import ScratchServer
from infra.sandbox.server import MysqlServer
from tests.clones import Forgetting
from wire.clone.client import CloneClient, CloneOptions
from wire.session import Session, open_session


def connector(
    scratch: ScratchServer, *, tls: Tls | None = None, port: int | None = None
) -> Callable[[], Session]:
    """Logs in as the backup account; ``port`` leads through a proxy."""
    server, account = scratch.server, scratch.backup_account
    if tls is not None:
        server = server.model_copy(update={"tls": tls})
    if port is not None:
        server = server.model_copy(update={"port": port, "tls": tls or Tls(mode="required")})
    return lambda: open_session(server, account, connect_timeout=10, read_timeout=60)


def client_of(
    scratch: ScratchServer,
    options: CloneOptions | None = None,
    *,
    tls: Tls | None = None,
    port: int | None = None,
) -> CloneClient:
    return CloneClient(connector(scratch, tls=tls, port=port), options or CloneOptions(), SystemClock())


def allow_plain(scratch: ScratchServer) -> Tls:
    """Let the backup account in without TLS; returns how."""
    scratch.query(f"ALTER USER '{scratch.backup_account.user}'@'%' REQUIRE NONE")
    return Tls(mode="off")


@contextmanager
def started(
    directory: Path, distribution: MysqlDistribution, options: Mapping[str, str | None] | None = None
) -> Iterator[MysqlServer]:
    """A real server on the laid-out copy ``directory/data``."""
    server = MysqlServer(
        directory, "copy", free_ports(1)[0], 99, distribution, options={"log-bin": "copy", **(options or {})}
    )
    server.start()
    try:
        errors = [line for line in server.error_log.read_text().splitlines() if "[ERROR]" in line]
        assert not errors, errors
        yield server
    finally:
        server.kill()


def assert_exact(copy: MysqlServer, donor: ScratchServer) -> None:
    """The copy's rows are those of its GTID set: it replicates from the donor and ends with equal tables."""
    replicate_from(copy, donor, donor.accounts.replication)
    wait_caught_up(copy, donor)
    mine, theirs = (checksums(server.connect()) for server in (copy, donor))
    assert mine == theirs
    assert len(theirs) > 1


def sessions_left(scratch: ScratchServer) -> int:
    return sum(row["Command"].lower() == "clone" for row in scratch.query("SHOW PROCESSLIST"))


def assert_free(scratch: ScratchServer, *, within_seconds: float = 2.0) -> None:
    """A new clone of the donor begins, and has data, at once."""

    class EnoughError(Exception):
        pass

    class First(Forgetting):
        def put(self, block: object, stream: int) -> None:
            raise EnoughError

    began = time.monotonic()
    with contextlib.suppress(EnoughError):
        client_of(scratch).run(First())
    assert time.monotonic() - began < within_seconds


def big_table(scratch: ScratchServer, name: str = "items", rows: int = 150_000) -> None:
    """A table ``app.<name>`` of about 350 bytes a row, quickly made."""
    scratch.query("CREATE DATABASE IF NOT EXISTS app")
    scratch.query(f"CREATE TABLE app.{name} (id INT AUTO_INCREMENT PRIMARY KEY, n INT, pad VARCHAR(300))")
    scratch.query(f"INSERT INTO app.{name} (n, pad) VALUES (0, REPEAT(SHA2(RAND(), 256), 4))")
    count = 1
    while count < rows:
        scratch.query(
            f"INSERT INTO app.{name} (n, pad)"
            f" SELECT n, REPEAT(SHA2(RAND(), 256), 4) FROM app.{name} LIMIT {rows - count}"
        )
        count = min(rows, count * 2)
    # All pages on disk, and no dirty ones that would hide in the pool: the FILE stage has real work.
    scratch.query("SET GLOBAL innodb_max_dirty_pages_pct = 0")


def change_pages(scratch: ScratchServer, rows: int = 20_000) -> None:
    """Change rows, and wait until their pages are on disk: only such pages come in the PAGE stage."""
    scratch.query(f"UPDATE app.items SET n = n + 1 WHERE id < {rows}")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        (row,) = scratch.query("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'")
        if row["Value"] == "0":
            return
        time.sleep(0.05)
    pytest.fail("the pages did not come to rest")


class Stages(Forgetting):
    """Forgets, and calls ``at`` once, at the ``nth`` block of ``stage`` (from 1)."""

    def __init__(self, stage: Stage, at: Callable[[], object], nth: int = 1) -> None:
        super().__init__()
        self._stage, self._at, self._left = stage, at, nth

    def put(self, block: object, stream: int) -> None:
        with self.lock:
            self._left -= block.stage is self._stage  # type: ignore[attr-defined]
            due = self._left == 0 and block.stage is self._stage  # type: ignore[attr-defined]
        super().put(block, stream)  # type: ignore[arg-type]
        if due:
            self._at()


class Proxy:
    """A TCP proxy before a server, whose connections can be cut as a broken network does."""

    def __init__(self, target_port: int) -> None:
        self._target = ("127.0.0.1", target_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self.refusing = False
        self.cut_before: bytes | None = None
        """Break the connection instead of passing on these bytes, once."""
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Every connection breaks, for both sides."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._break(pair)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refusing:
                client.close()
                continue
            pair = client, socket.create_connection(self._target)
            with self._lock:
                self._pairs.add(pair)
            for source, target in (pair, pair[::-1]):
                threading.Thread(target=self._pump, args=(source, target, pair), daemon=True).start()

    def _pump(
        self, source: socket.socket, target: socket.socket, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        buffer = memoryview(bytearray(256 * 1024))
        try:
            while length := source.recv_into(buffer):
                if self.cut_before is not None and self.cut_before == buffer[:length]:
                    self.cut_before = None
                    self._break(pair)
                    return
                target.sendall(buffer[:length])
            target.shutdown(socket.SHUT_WR)
        except OSError:
            self._break(pair)

    def _break(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._lock:
            if pair not in self._pairs:
                return
            self._pairs.discard(pair)
        for end in pair:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RD)
        for end in pair:
            end.close()
