"""One real ``mysqld`` in a directory of its own: data, socket, log, configuration."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import pymysql
import pymysql.cursors

from fleet.clock import Clock, SystemClock
from fleet.errors import SandboxFailed
from fleet.model import Server, Tls
from infra.sandbox import processes
from infra.sandbox.certificates import TlsFiles
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.files import copy_tree, socket_path
from infra.sandbox.processes import Process

Options = Mapping[str, str | None]

# Production's rules (GTID, row events, durable commits) with memory for many servers on one small machine.
# "loose-" names are unknown to some of the versions that we support.
DEFAULT_OPTIONS: Options = {
    "bind-address": "127.0.0.1",
    "mysqlx": "OFF",
    "skip-name-resolve": "ON",
    "gtid-mode": "ON",
    "enforce-gtid-consistency": "ON",
    "log-bin": "binlog",
    "binlog-row-metadata": "FULL",
    "relay-log": "relay",
    "relay-log-recovery": "ON",
    "skip-replica-start": "OFF",
    "auto-generate-certs": "OFF",
    "innodb-buffer-pool-size": "64M",
    "loose-innodb-redo-log-capacity": "64M",
    "innodb-log-buffer-size": "8M",
    "innodb-io-capacity": "1000",
    "loose-innodb-log-writer-threads": "OFF",
    "table-open-cache": "400",
    "table-definition-cache": "400",
    "open-files-limit": "4096",
    "max-connections": "100",
    "performance-schema-max-thread-instances": "150",
    "performance-schema-max-table-instances": "500",
    "performance-schema-max-table-handles": "500",
    "performance-schema-digests-size": "500",
    "performance-schema-consumer-events-statements-history": "OFF",
    "max-digest-length": "512",
    "performance-schema-error-size": "64",
    "performance-schema-users-size": "20",
    "performance-schema-hosts-size": "20",
    "performance-schema-accounts-size": "20",
    "key-buffer-size": "1M",
    "tmp-table-size": "8M",
}
_POLL_SECONDS = 0.05


class MysqlServer:
    """A server that is initialised from a template folder, started, stopped and killed.

    ``directory`` holds ``data/``, ``my.cnf``, ``error.log`` and, if the path is short, ``mysqld.sock``.
    ``options`` go into ``my.cnf`` over ``DEFAULT_OPTIONS``; None leaves a default out.
    ``owner`` is the sandbox's directory, by which its processes are found again; the server's own by default.
    ``process`` is a server of this directory that already runs.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        port: int,
        server_id: int,
        distribution: MysqlDistribution,
        *,
        options: Options | None = None,
        tls: TlsFiles | None = None,
        owner: Path | None = None,
        process: Process | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.directory = directory.absolute()
        self.name = name
        self.port = port
        self.server_id = server_id
        self.distribution = distribution
        self.options: Options = dict(options or {})
        self.tls = tls
        self.process = process
        self._owner = owner or self.directory
        self._clock: Clock = clock or SystemClock()

    @property
    def host(self) -> str:
        """The address it listens on."""
        return "127.0.0.1"

    @property
    def datadir(self) -> Path:
        """Its data directory."""
        return self.directory / "data"

    @property
    def socket(self) -> Path:
        """Its Unix socket."""
        return socket_path(self.directory, "mysqld")

    @property
    def error_log(self) -> Path:
        """What the server prints."""
        return self.directory / "error.log"

    def initialise(self, template: Path | None = None) -> None:
        """Make the data directory, a copy of ``template`` (None: the cached one), without a server uuid yet.

        Raises SandboxFailed if there is a data directory already.
        """
        if self.datadir.exists():
            raise SandboxFailed(f"{self.datadir} exists already")
        if template is None:
            # Late, because the template itself is made by a server of this class.
            from infra.sandbox.template import find_template  # noqa: PLC0415

            template = find_template(self.distribution)
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        copy_tree(template, self.datadir)

    def start(self, *, timeout_seconds: float = 120, **temporary: str | None) -> None:
        """Start the server and wait until it answers. ``temporary`` options hold for this start alone.

        Raises SandboxFailed with the end of the error log if it dies or does not answer in time.
        """
        self.launch(**temporary)
        self.wait_ready(timeout_seconds=timeout_seconds)

    def launch(self, **temporary: str | None) -> Process:
        """Start the server without waiting for it."""
        if self.is_running():
            raise SandboxFailed(f"server {self.name} is running already")
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        extra = {name.replace("_", "-"): value for name, value in temporary.items()}
        (self.directory / "my.cnf").write_text(self._configuration(extra))
        self._remove_socket()
        command = [self.distribution.mysqld, self._defaults_file]
        self.process = processes.spawn(
            command, owner=self._owner, output=self.error_log, environ=_plain_environ()
        )
        return self.process

    def wait_ready(self, *, timeout_seconds: float = 120) -> None:
        """Wait until the launched server answers on its socket. Raises SandboxFailed."""
        deadline = self._clock.monotonic() + timeout_seconds
        while True:
            # Asked before the try, so that a server that dies between the two gets one more try.
            running = self.is_running()
            try:
                # A bare socket first: pymysql forgets to close its own when nobody listens.
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(str(self.socket))
                self.connect().close()
                return
            except (OSError, pymysql.err.OperationalError) as error:
                reason = str(error.args[-1])
            if not running:
                raise SandboxFailed(f"server {self.name} died at its start: {self.last_words()}")
            if self._clock.monotonic() > deadline:
                raise SandboxFailed(
                    f"server {self.name} gave no answer in {timeout_seconds:.0f} s: {reason}",
                    hint=f"Its log is {self.error_log}.",
                )
            self._clock.sleep(_POLL_SECONDS)

    def stop(self, *, grace_seconds: float = 60) -> None:
        """Shut the server down in order; kill it if that takes longer than ``grace_seconds``."""
        if self.process is not None:
            processes.end(self.process, grace_seconds=grace_seconds)
        self.process = None
        self._remove_socket()

    def kill(self) -> None:
        """End the server as a power failure would (SIGKILL)."""
        if self.process is not None:
            processes.kill(self.process)
        self.process = None

    def is_running(self) -> bool:
        """Does its process run? (That it answers is another question.)"""
        return self.process is not None and processes.is_alive(self.process)

    def adopt(self, running: Iterable[Process]) -> None:
        """Take over its own process out of ``running``, if somebody else started it since we last looked."""
        if not self.is_running():
            ours = (process for process in running if processes.has_argument(process, self._defaults_file))
            self.process = next(ours, None)

    def remove(self) -> None:
        """Stop it and delete its whole directory."""
        self.kill()
        self._remove_socket()
        shutil.rmtree(self.directory, ignore_errors=True)

    def describe(self, *, region: str, role: Literal["primary", "replica"]) -> Server:
        """The server as ``backstay.toml`` names it: over TCP, its certificate checked if it is ours."""
        tls = Tls(mode="verify-identity", ca=self.tls.ca) if self.tls else Tls(mode="required")
        return Server(name=self.name, host=self.host, port=self.port, region=region, role=role, tls=tls)

    def connect(self, **arguments: Any) -> pymysql.connections.Connection[Any]:
        """A connection of root over the socket, autocommit; ``arguments`` go to ``pymysql.connect``."""
        settings: dict[str, Any] = {
            "unix_socket": str(self.socket),
            "user": "root",
            "autocommit": True,
            "charset": "utf8mb4",
            "connect_timeout": 10,
        }
        return pymysql.connect(**(settings | arguments))

    def query(self, sql: str, args: tuple[Any, ...] | None = None) -> list[dict[str, Any]]:
        """Rows of one statement, executed by root on a connection of its own."""
        connection = self.connect(cursorclass=pymysql.cursors.DictCursor)
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql, args)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def last_words(self) -> str:
        """The last errors that the server wrote, in one line."""
        try:
            lines = self.error_log.read_text(errors="replace").splitlines()
        except OSError:
            return "no error log"
        errors = [line for line in lines if "[ERROR]" in line or "unknown" in line.lower()]
        return " / ".join((errors or lines or ["an empty error log"])[-3:])

    @property
    def _defaults_file(self) -> str:
        return f"--defaults-file={self.directory / 'my.cnf'}"

    def _remove_socket(self) -> None:
        # The lock names the last server's pid; were that pid taken by now, the next server would not start.
        for path in (self.socket, Path(f"{self.socket}.lock")):
            path.unlink(missing_ok=True)

    def _configuration(self, extra: Options) -> str:
        own: dict[str, str | None] = {
            "datadir": str(self.datadir),
            "socket": str(self.socket),
            "pid-file": str(self.directory / "mysqld.pid"),
            "port": str(self.port),
            "server-id": str(self.server_id),
        }
        if os.getuid() == 0:
            own["user"] = "root"
        if self.tls is not None:
            own |= {
                "ssl-ca": str(self.tls.ca),
                "ssl-cert": str(self.tls.certificate),
                "ssl-key": str(self.tls.key),
            }
        merged = {**DEFAULT_OPTIONS, **own, **self.options, **extra}
        lines = [f"{name} = {value}" for name, value in merged.items() if value is not None]
        return "\n".join(["[mysqld]", *lines, ""])


def _plain_environ() -> dict[str, str]:
    """What a server needs of our environment; secrets that may stand there are not its business."""
    kept = ("PATH", "HOME", "TMPDIR", "TZ", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C"}
