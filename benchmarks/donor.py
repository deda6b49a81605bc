"""The two servers of a run: the donor with its data, and the object store."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import dataset
from infra.sandbox.accounts import Credentials, create_accounts
from infra.sandbox.certificates import TlsFiles, make_certificates
from infra.sandbox.distribution import find_mysql
from infra.sandbox.files import write_private
from infra.sandbox.ports import free_ports
from infra.sandbox.server import MysqlServer

# MySQL's own defaults where the sandbox saves memory; durable as production is.
_OPTIONS: dict[str, str | None] = {
    "innodb-buffer-pool-size": "256M",
    "innodb-io-capacity": None,
    "innodb-log-buffer-size": None,
    "loose-innodb-redo-log-capacity": "512M",
    "loose-innodb-log-writer-threads": None,
}


@dataclass(frozen=True)
class Donor:
    """A running server with data, and the accounts that back it up and archive its binlogs."""

    server: MysqlServer
    tls: TlsFiles
    account: Credentials
    archive: Credentials

    def track_pages(self) -> None:
        """Switch page tracking on, as ``backstay check --fix`` does."""
        self.server.query("INSTALL COMPONENT 'file://component_mysqlbackup'")
        self.server.query("SELECT mysqlbackup_page_track_set(true)")

    @property
    def pid(self) -> int:
        """Its process; its CPU time is told apart."""
        assert self.server.process is not None
        return self.server.process.pid


@contextmanager
def running_donor(directory: Path, size_bytes: int, say: Callable[[str], None]) -> Generator[Donor]:
    """Start a donor in ``directory``, fill it, and remove all of it in the end."""
    distribution = find_mysql(progress=say)
    tls = make_certificates(directory / "tls")
    (port,) = free_ports(1)
    server = MysqlServer(
        directory / "donor", "donor", port, 1, distribution, options=_OPTIONS, tls=tls, owner=directory
    )
    server.initialise()
    try:
        server.start()
        dataset.make(server, size_bytes, directory, say)
        connection = server.connect()
        try:
            accounts = create_accounts(connection, optional=True)
            with connection.cursor() as cursor:
                # So that the accounts may also come by the socket, where the peers come, without TLS.
                for one in (accounts.backup, accounts.archive):
                    cursor.execute(f"ALTER USER '{one.user}'@'%' REQUIRE NONE")
        finally:
            connection.close()
        write_private(directory / "account", accounts.backup.password.encode())
        write_private(directory / "archive-account", accounts.archive.password.encode())
        yield Donor(server, tls, accounts.backup, accounts.archive)
    finally:
        server.remove()
