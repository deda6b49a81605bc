"""An initialised data directory with our plugins in it: made once a version, copied for each server."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from fleet.errors import SandboxFailed
from infra.sandbox import processes
from infra.sandbox.distribution import MysqlDistribution, cache_directory, locked
from infra.sandbox.server import MysqlServer

# Small, so that copies are quick; a server with more in its my.cnf grows its redo at the first start.
_SMALL = (
    "--loose-innodb-redo-log-capacity=8M",
    "--innodb-log-buffer-size=1M",
    "--innodb-buffer-pool-size=32M",
)
_NOT_COPIED = ("auto.cnf", "binlog.*", "*.err")
_RECIPE = 1  # raise it when the recipe changes, so that older templates are not used
_MAKING = ".making-"


def find_template(
    distribution: MysqlDistribution,
    *,
    cache: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Path:
    """The template folder for this MySQL; made on first use (about 8 s). Raises SandboxFailed."""
    cache = cache or cache_directory() / "templates"
    recipe = repr((_RECIPE, _SMALL, _plugins(distribution)))
    final = cache / f"{distribution.version}-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}"
    if not final.exists():
        with locked(cache / ".lock"):
            if not final.exists():
                progress("initialising a template data directory (once)")
                _make(distribution, cache, final)
    return final


def _make(distribution: MysqlDistribution, cache: Path, final: Path) -> None:
    for leftover in cache.glob(f"{_MAKING}*"):
        for process in processes.find_owned(leftover):
            processes.kill(process)
        shutil.rmtree(leftover, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix=_MAKING, dir=cache))
    # Nobody listens on the port: networking is off.
    options = {"skip-networking": "ON", "skip-log-bin": "ON", "log-bin": None, "relay-log": None}
    server = MysqlServer(staging, "template", 3306, 1, distribution, options=options)
    try:
        _initialise(distribution, server)
        server.start()
        connection = server.connect()
        try:
            with connection.cursor() as cursor:
                for name, library in _plugins(distribution):
                    cursor.execute(f"INSTALL PLUGIN {name} SONAME '{library}'")
        finally:
            connection.close()
        server.stop()
        for pattern in _NOT_COPIED:
            for file in server.datadir.glob(pattern):
                file.unlink()
        server.datadir.rename(final)
    finally:
        server.kill()
        shutil.rmtree(staging, ignore_errors=True)


def _initialise(distribution: MysqlDistribution, server: MysqlServer) -> None:
    command = [
        str(distribution.mysqld), "--no-defaults", "--initialize-insecure", f"--datadir={server.datadir}",
        "--auto-generate-certs=OFF", "--skip-log-bin", *_SMALL,
    ]  # fmt: skip
    if os.getuid() == 0:
        command.append("--user=root")
    answer = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if answer.returncode != 0:
        reason = " / ".join(line for line in answer.stderr.splitlines() if "[ERROR]" in line)
        raise SandboxFailed(f"{distribution.mysqld} could not initialise a data directory: {reason}")


def _plugins(distribution: MysqlDistribution) -> tuple[tuple[str, str], ...]:
    names = ("source", "replica") if distribution.version_numbers >= (8, 0, 26) else ("master", "slave")
    semi_sync = tuple((f"rpl_semi_sync_{name}", f"semisync_{name}.so") for name in names)
    return (("clone", "mysql_clone.so"), *semi_sync)
