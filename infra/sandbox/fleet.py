"""A whole fleet on one machine: shards of a primary and replicas, an S3 store, and its ``backstay.toml``."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from fleet.clock import SystemClock
from fleet.errors import NotFound, SandboxFailed
from infra.sandbox import processes
from infra.sandbox.accounts import SandboxAccounts, create_accounts
from infra.sandbox.certificates import make_certificates
from infra.sandbox.configuration import BUCKET, FILE, ConfiguredServer, write_configuration
from infra.sandbox.distribution import MysqlDistribution, Progress, find_mysql
from infra.sandbox.layout import plan_servers
from infra.sandbox.load import Load, connector
from infra.sandbox.objectstore import SeaweedServer
from infra.sandbox.ports import free_ports
from infra.sandbox.processes import Process
from infra.sandbox.replication import replicate_from, wait_caught_up
from infra.sandbox.server import MysqlServer, Options
from infra.sandbox.state import FILE as STATE_FILE
from infra.sandbox.state import LOCK_FILE, SandboxState, ServerState, claimed, read_state, write_state
from infra.sandbox.status import SandboxStatus, StoreKind, server_status
from infra.sandbox.template import find_template
from infra.sandbox.tracking import install_page_tracking

_OURS = ("servers", "tls", "secrets", "load", "spool", "service", FILE)
_STORES: Mapping[StoreKind, str] = {"s3": "store", "file": "repository"}
_AT_ONCE = 4
_REPLICA: Options = {"read-only": "ON", "super-read-only": "ON"}
_MEMBER: Options = {"report-host": "127.0.0.1", "loose-rpl-semi-sync-replica-enabled": "ON"}


@dataclass(frozen=True)
class SandboxShard:
    """A primary and its replicas."""

    name: str
    primary: MysqlServer
    replicas: tuple[MysqlServer, ...]

    @property
    def servers(self) -> tuple[MysqlServer, ...]:
        """All of them, the primary first."""
        return (self.primary, *self.replicas)

    def wait_caught_up(self, *, timeout_seconds: float = 60) -> None:
        """Wait until every replica has what the primary has now. Raises SandboxFailed."""
        for replica in self.replicas:
            wait_caught_up(replica, self.primary, timeout_seconds=timeout_seconds)

    def set_semi_sync(self, *, enabled: bool) -> None:
        """Let the primary's commits wait for a replica's receipt, or not."""
        self.primary.query(f"SET GLOBAL rpl_semi_sync_source_enabled = {int(enabled)}")


@dataclass
class SandboxFleet:
    """Servers and store of one directory: made by ``up``, or by ``load`` if another process started them."""

    directory: Path
    state: SandboxState
    shards: tuple[SandboxShard, ...]
    store: SeaweedServer | None
    _accounts: SandboxAccounts | None = field(default=None, repr=False)

    @classmethod
    def up(
        cls,
        directory: Path,
        *,
        shards: int = 1,
        replicas: int = 2,
        regions: int = 1,
        store: StoreKind = "s3",
        progress: Progress = lambda _: None,
        distribution: MysqlDistribution | None = None,
        options: Options | None = None,
    ) -> SandboxFleet:
        """Start a fleet in ``directory`` and write its ``backstay.toml``; what a dead ``up`` left goes first.

        Where a fleet runs in part, what of it is dead is started again, with its data, and nothing else.
        ``options`` go into the ``my.cnf`` of every server. If it fails, nothing stays. Raises UsageError for
        numbers that make no fleet, SandboxFailed for all else, and for a directory that holds other things.
        """
        directory = directory.absolute()
        planned = plan_servers(shards=shards, replicas=replicas, regions=regions)
        _refuse_strangers(directory)
        with claimed(directory, SystemClock()):
            if revived := _make_room(directory, progress):
                return revived
            distribution = distribution or find_mysql(progress=progress)
            template = find_template(distribution, progress=progress)
            ports = free_ports(len(planned))
            state = SandboxState(
                phase="starting",
                mysqld=distribution.mysqld,
                bin=distribution.bin,
                version=distribution.version,
                servers=[ServerState.planned(*pair) for pair in zip(planned, ports, strict=True)],
                store=store,
            )
            write_state(directory, state)
            fleet = cls._assemble(directory, state, options)
            try:
                fleet._start_all(template, progress)
                fleet._connect_all(progress)
            except BaseException:
                fleet.clear(progress)
                _remove_if_empty(directory)
                raise
        progress(f"ready: {fleet.config_path}")
        return fleet

    @classmethod
    def load(cls, directory: Path) -> SandboxFleet:
        """The fleet that was started in ``directory``, running or not. Raises SandboxFailed without one."""
        directory = directory.absolute()
        fleet = cls._assemble(directory, read_state(directory), None)
        running = processes.find_owned(directory)
        for server in fleet.servers:
            server.adopt(running)
        if fleet.store is not None:
            fleet.store.adopt(running)
        return fleet

    @property
    def config_path(self) -> Path:
        """Its ``backstay.toml``."""
        return self.directory / FILE

    @property
    def servers(self) -> tuple[MysqlServer, ...]:
        """The servers of all shards."""
        return tuple(server for shard in self.shards for server in shard.servers)

    @property
    def accounts(self) -> SandboxAccounts:
        """The accounts that every shard has."""
        if self._accounts is None:
            self._accounts = SandboxAccounts.read(self.directory / "secrets")
        return self._accounts

    def shard(self, name: str) -> SandboxShard:
        """The shard of that name. Raises NotFound."""
        for shard in self.shards:
            if shard.name == name:
                return shard
        known = ", ".join(shard.name for shard in self.shards)
        raise NotFound(f"the sandbox has no shard {name!r}", hint=f"There are: {known}.")

    def server(self, name: str) -> MysqlServer:
        """The server of that name. Raises NotFound."""
        for server in self.servers:
            if server.name == name:
                return server
        known = ", ".join(server.name for server in self.servers)
        raise NotFound(f"the sandbox has no server {name!r}", hint=f"There are: {known}.")

    def new_load(
        self,
        shard: str,
        *,
        clients: int = 4,
        rate: float | None = None,
        ddl_every_seconds: float | None = None,
    ) -> Load:
        """A load on the primary of a shard; its ledger lies in ``load_directory``. Raises NotFound."""
        connect = connector(self.shard(shard).primary, self.accounts.application)
        directory = self.load_directory(shard)
        return Load(connect, directory, clients=clients, rate=rate, ddl_every_seconds=ddl_every_seconds)

    def load_directory(self, shard: str) -> Path:
        """Where the load on a shard notes what was acknowledged, for ``ledger.check_load``."""
        return self.directory / "load" / shard

    def status(self) -> SandboxStatus:
        """What runs now, asked from every server."""
        servers = {server.name: server for server in self.servers}
        return SandboxStatus(
            directory=self.directory,
            config=self.config_path,
            phase=self.state.phase,
            servers=tuple(server_status(entry, servers[entry.name]) for entry in self.state.servers),
            store=self.state.store,
            endpoint=self.store.endpoint if self.store else None,
            store_running=self.store is not None and self.store.is_running(),
        )

    def down(self, *, progress: Progress = lambda _: None) -> tuple[str, ...]:
        """Stop all that runs and delete all that was written, the repository too. Raises SandboxFailed.

        Returns the names of what stays in the directory, because somebody else put it there.
        """
        with claimed(self.directory, SystemClock()):
            self.clear(progress)
        _remove_if_empty(self.directory)
        return tuple(sorted(path.name for path in self.directory.glob("*")))

    @classmethod
    def _assemble(cls, directory: Path, state: SandboxState, options: Options | None) -> SandboxFleet:
        distribution = MysqlDistribution(state.mysqld, state.bin, state.version)
        tls = make_certificates(directory / "tls")
        members: dict[str, list[MysqlServer]] = {}
        for entry in state.servers:
            role_options = _REPLICA if entry.role == "replica" else {}
            members.setdefault(entry.shard, []).append(
                MysqlServer(
                    directory / "servers" / entry.name,
                    entry.name,
                    entry.port,
                    entry.server_id,
                    distribution,
                    options={**_MEMBER, "report-port": str(entry.port), **role_options, **(options or {})},
                    tls=tls,
                    owner=directory,
                    process=entry.process,
                )
            )
        shards = tuple(
            SandboxShard(name, primary, tuple(replicas)) for name, (primary, *replicas) in members.items()
        )
        store = None
        if state.store == "s3":
            store = SeaweedServer(directory / "store", owner=directory, process=state.store_process)
        return cls(directory, state, shards, store)

    def _start_all(self, template: Path, progress: Progress) -> None:
        progress(f"starting {len(self.servers)} servers")
        lock = threading.Lock()
        entries = {entry.name: entry for entry in self.state.servers}

        def remember(process: Process, entry: ServerState | None) -> None:
            with lock:
                if entry is None:
                    self.state.store_process = process
                else:
                    entry.process = process
                write_state(self.directory, self.state)

        def start_server(server: MysqlServer) -> None:
            server.initialise(template)
            remember(server.launch(), entries[server.name])
            server.wait_ready()
            progress(f"server {server.name} answers on port {server.port}")

        def start_store(store: SeaweedServer) -> None:
            remember(store.launch(), None)
            store.wait_ready()
            store.create_bucket(BUCKET)
            progress(f"the object store answers at {store.endpoint}")

        jobs: list[Callable[[], None]] = [partial(start_server, server) for server in self.servers]
        if self.store is not None:
            jobs.insert(0, partial(start_store, self.store))
        _run_all(jobs)

    def revive(self, dead: Sequence[MysqlServer | SeaweedServer], progress: Progress) -> None:
        """Start ``dead`` on the data that they have."""
        entries = {entry.name: entry for entry in self.state.servers}
        progress(f"starting again: {', '.join(map(_called, dead))}")
        for each in dead:
            if isinstance(each, MysqlServer):
                entries[each.name].process = each.launch()
            else:
                self.state.store_process = each.launch()
            write_state(self.directory, self.state)
        for each in dead:
            each.wait_ready()

    def _connect_all(self, progress: Progress) -> None:
        progress("making accounts, starting replication")
        for shard in self.shards:
            connection = shard.primary.connect()
            try:
                self._accounts = create_accounts(connection, like=self._accounts, optional=True)
            finally:
                connection.close()
            for replica in shard.replicas:
                replicate_from(replica, shard.primary, self.accounts.replication)
            for server in shard.servers:
                install_page_tracking(server)
        for shard in self.shards:
            shard.wait_caught_up()
        self.accounts.write(self.directory / "secrets")
        servers = [
            ConfiguredServer(entry.shard, entry.name, entry.port, entry.region, entry.role)
            for entry in self.state.servers
        ]
        distribution = self.servers[0].distribution
        write_configuration(self.directory, servers, self.accounts, distribution, self.store)
        self.state.phase = "up"
        write_state(self.directory, self.state)

    def clear(self, progress: Progress = lambda _: None) -> None:
        """``down`` without its claim on the directory: for a caller that holds it."""
        progress("stopping servers")
        for process in self.state.processes(self.directory):
            processes.kill(process)
        for server in self.servers:
            server.remove()
        if self.store is not None:
            self.store.remove()
        _delete(self.directory, self.state.store)


def _refuse_strangers(directory: Path) -> None:
    """Refuse a directory that holds something, and no sandbox: what we do not write, we do not delete."""
    if not directory.exists() or (directory / STATE_FILE).exists():
        return
    try:
        held = sorted(path.name for path in directory.iterdir() if path.name != LOCK_FILE)
    except OSError as error:
        raise SandboxFailed(
            f"a sandbox cannot live in {directory}: {error.strerror}", hint="Choose another --dir."
        ) from error
    if held:
        raise SandboxFailed(
            f"{directory} is not empty and holds no sandbox: there is {held[0]}",
            hint="Choose another --dir, which is empty or not there yet.",
        )


def _make_room(directory: Path, progress: Progress) -> SandboxFleet | None:
    """Remove what a dead ``up`` left. A fleet that runs in part is revived and returned; one that runs is
    refused.
    """
    if not (directory / STATE_FILE).exists():
        return None
    fleet = SandboxFleet.load(directory)
    if fleet.state.phase == "up" and any(server.is_running() for server in fleet.servers):
        parts = (*([fleet.store] if fleet.store else []), *fleet.servers)
        dead = [each for each in parts if not each.is_running()]
        if not dead:
            raise SandboxFailed(
                f"a sandbox runs in {directory} already",
                hint="Stop it first: backstay sandbox down --dir DIR",
            )
        fleet.revive(dead, progress)
        return fleet
    progress("clearing away what an earlier sandbox left")
    fleet.clear(progress)
    return None


def _called(part: MysqlServer | SeaweedServer) -> str:
    return f"server {part.name}" if isinstance(part, MysqlServer) else "the object store"


def _delete(directory: Path, store: StoreKind) -> None:
    """Delete what a sandbox wrote; the state last, so that a death on the way leaves a sandbox to clear."""
    for name in (*_OURS, _STORES[store]):
        path = directory / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for name in (STATE_FILE, LOCK_FILE):
        (directory / name).unlink(missing_ok=True)


def _remove_if_empty(directory: Path) -> None:
    with suppress(OSError):  # somebody else's files stay, and so does the directory then
        directory.rmdir()


def _run_all(jobs: Iterable[Callable[[], None]]) -> None:
    """Run the jobs a few at a time; the first error stops those that have not begun."""
    executor = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sandbox")
    try:
        for future in as_completed([executor.submit(job) for job in jobs]):
            future.result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
