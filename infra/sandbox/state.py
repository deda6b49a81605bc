"""What a sandbox wrote down about itself: enough to use it from another process, or to clear it away."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from fleet.clock import Clock
from fleet.errors import SandboxFailed
from fleet.file_lock import lock_soon
from infra.sandbox import processes
from infra.sandbox.files import write_private
from infra.sandbox.layout import PlannedServer, Role
from infra.sandbox.processes import Process

FILE = "state.json"
LOCK_FILE = ".lock"


class ServerState(BaseModel):
    """One server, and the process that ran it last."""

    model_config = ConfigDict(extra="forbid")

    name: str
    shard: str
    role: Role
    region: str
    server_id: int
    port: int
    process: Process | None = None

    @staticmethod
    def planned(server: PlannedServer, port: int) -> ServerState:
        """The state of a server that was not yet started."""
        return ServerState(**server._asdict(), port=port)


class SandboxState(BaseModel):
    """The whole sandbox. ``phase`` is ``starting`` until all of it was up once."""

    model_config = ConfigDict(extra="forbid")

    phase: Literal["starting", "up"]
    mysqld: Path
    bin: Path
    version: str
    servers: list[ServerState]
    store: Literal["s3", "file"]
    store_process: Process | None = None

    def processes(self, directory: Path) -> list[Process]:
        """All that still runs: what was written down, and what carries the directory's mark."""
        known = [server.process for server in self.servers] + [self.store_process]
        running = [process for process in known if process is not None and processes.is_alive(process)]
        return list(dict.fromkeys([*running, *processes.find_owned(directory)]))


def read_state(directory: Path) -> SandboxState:
    """The state in ``directory``. Raises SandboxFailed if there is none, or none that can be read."""
    try:
        return SandboxState.model_validate_json((directory / FILE).read_bytes())
    except FileNotFoundError:
        raise SandboxFailed(
            f"there is no sandbox in {directory}",
            hint="Name the directory it was started in with --dir DIR, or start one: backstay sandbox up.",
        ) from None
    except ValidationError as error:
        raise SandboxFailed(
            f"{directory / FILE} is not what this version writes: {error.errors()[0]['msg']}",
            hint="Stop its servers with the version that started them, then delete the directory.",
        ) from None


def write_state(directory: Path, state: SandboxState) -> None:
    """Write the state, by a rename."""
    write_private(directory / FILE, state.model_dump_json(indent=1).encode())


@contextmanager
def claimed(directory: Path, clock: Clock) -> Generator[None]:
    """Be the only command that starts or stops things in ``directory``; a killed one lets go by itself.

    Raises SandboxFailed if another one is at work.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not lock_soon(descriptor, clock):
            raise SandboxFailed(
                f"another command is at work on the sandbox in {directory}", hint="Wait until it is done."
            )
        yield
    finally:
        os.close(descriptor)
