"""One fresh donor for a test: a server as production has it, with its accounts."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from fleet.model import Account, Secret, Server
from infra.sandbox import processes
from infra.sandbox.accounts import (
    PRODUCTION_SQL,
    Credentials,
    SandboxAccounts,
    create_accounts,
    optional_grants,
)
from infra.sandbox.certificates import make_certificates
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.files import write_private
from infra.sandbox.ports import free_ports
from infra.sandbox.server import MysqlServer, Options

_PREFIX = "backstay-scratch-"


class ScratchServer(MysqlServer):
    """A lone primary: GTID, row events, TLS with certificates of its own, clone and semi-sync plugins loaded.

    ``accounts`` are those of ``infra/examples/accounts.sql`` and the load's.
    """

    accounts: SandboxAccounts

    @property
    def server(self) -> Server:
        """Itself, as the config of a fleet would name it."""
        return self.describe(region="here", role="primary")

    @property
    def backup_account(self) -> Account:
        """The backup account, as the config of a fleet would name it: its password is in a private file."""
        return self._account(self.accounts.backup)

    @property
    def archive_account(self) -> Account:
        """The account that archives, likewise: without the grants that ``accounts.sql`` calls optional."""
        return self._account(self.accounts.archive)

    @property
    def diff_account(self) -> Account:
        """The account that reads rows, likewise; it may read none yet."""
        return self._account(self.accounts.diff)

    def allow_purging(self) -> None:
        """Make the optional grants too: the archive's account may purge binlogs."""
        for grant in optional_grants(PRODUCTION_SQL.read_text()):
            self.query(grant)

    def _account(self, credentials: Credentials) -> Account:
        file = self.directory / f"{credentials.user}-password"
        if not file.exists():
            write_private(file, credentials.password.encode())
        return Account(user=credentials.user, password=Secret(file=file))


def start_scratch_server(
    directory: Path,
    distribution: MysqlDistribution,
    *,
    name: str = "scratch",
    server_id: int = 1,
    options: Options | None = None,
    owner: Path | None = None,
) -> ScratchServer:
    """Start a server in the new folder ``directory/name``: 1 s from a warm cache. Raises SandboxFailed."""
    port = free_ports(1)[0]
    tls = make_certificates(directory / "tls")
    server = ScratchServer(
        directory / name, name, port, server_id, distribution, options=options, tls=tls, owner=owner
    )
    try:
        server.initialise()
        server.start()
        connection = server.connect()
        try:
            server.accounts = create_accounts(connection)
        finally:
            connection.close()
    except BaseException:
        server.remove()
        raise
    return server


def open_scratch_directory() -> Path:
    """A new short directory for this process; those of dead runs are removed, with all that still runs."""
    root = Path(tempfile.gettempdir())
    for folder in root.glob(f"{_PREFIX}{os.getuid()}-*"):
        if not _has_living_owner(folder):
            close_scratch_directory(folder)
    ours = processes.identify(os.getpid())
    ticks = ours.start_ticks if ours else 0
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getuid()}-{os.getpid()}-{ticks}-", dir=root))


def close_scratch_directory(directory: Path) -> None:
    """Kill all that was started for the directory, and delete it."""
    for process in processes.find_owned(directory):
        processes.kill(process)
    shutil.rmtree(directory, ignore_errors=True)


def _has_living_owner(folder: Path) -> bool:
    pid, ticks = folder.name.split("-")[3:5]
    owner = processes.identify(int(pid))
    return owner is not None and owner.start_ticks == int(ticks) and processes.is_alive(owner)
