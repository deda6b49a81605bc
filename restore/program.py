"""The mysqld program on this machine: which one, what version, and the command line of a private server."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fleet.errors import VersionMismatch
from fleet.finding import Finding, Level
from restore.version import MysqlVersion

SOCKET_NAME = "mysqld.sock"
LOG_NAME = "error.log"


@dataclass(frozen=True, slots=True)
class DataShape:
    """What a data directory demands of the server that starts it. ``data_file_path`` is
    innodb_data_file_path.
    """

    page_size_bytes: int = 16384
    lower_case_table_names: int = 0
    data_file_path: str | None = None

    def __post_init__(self) -> None:
        # A donor may keep its system tablespace elsewhere, under an absolute path. Here all of it lies in
        # the data directory; the donor's path, on the donor's own machine, would be the donor's own file.
        if self.data_file_path:
            files = (spec.strip().rpartition("/")[2] for spec in self.data_file_path.split(";"))
            object.__setattr__(self, "data_file_path", ";".join(files))


def find_mysqld(configured: Path | None, environment: Mapping[str, str] = os.environ) -> Path:
    """The mysqld to use: the configured one, BACKSTAY_MYSQLD, or the first on PATH (then /usr/sbin).

    Raises ``VersionMismatch`` when there is none.
    """
    named = configured or (
        Path(environment["BACKSTAY_MYSQLD"]) if environment.get("BACKSTAY_MYSQLD") else None
    )
    if named is not None:
        if not os.access(named, os.X_OK) or named.is_dir():
            raise VersionMismatch(
                f"{named} is not a program that can be run",
                hint="Name the mysqld of a MySQL server in restore.mysqld or BACKSTAY_MYSQLD.",
            )
        return named
    search = f"{environment.get('PATH', os.defpath)}{os.pathsep}/usr/sbin"
    found = shutil.which("mysqld", path=search)
    if found is None:
        raise VersionMismatch(
            "no mysqld on this machine: not in restore.mysqld, BACKSTAY_MYSQLD or PATH",
            hint="Install the MySQL server here, or name its mysqld in restore.mysqld.",
        )
    return Path(found)


def read_version(mysqld: Path, *, timeout_seconds: float = 60) -> MysqlVersion:
    """What ``mysqld --version`` says, or ``VersionMismatch``."""
    try:
        run = subprocess.run(
            [mysqld, "--no-defaults", "--version"],
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VersionMismatch(
            f"{mysqld} does not tell its version: {error}", hint="Is it a mysqld?"
        ) from error
    answer = run.stdout + run.stderr
    if run.returncode != 0 or "Ver " not in answer:
        told = answer.strip().splitlines()[:1] or ["nothing"]
        raise VersionMismatch(
            f"{mysqld} does not tell its version: it says {told[0][:200]!r}", hint="Is it a mysqld?"
        )
    if "MariaDB" in answer:
        raise VersionMismatch(
            f"{mysqld} is a MariaDB",
            hint="MariaDB cannot start the files of MySQL; name a MySQL server's mysqld.",
        )
    return MysqlVersion.parse(answer.split("Ver ", 1)[1])


def check_mysqld(configured: Path | None) -> Finding:
    """Is there a mysqld on this machine that could start restored data? A backup needs none."""
    subject = "mysqld"
    try:
        mysqld = find_mysqld(configured)
        version = read_version(mysqld)
    except VersionMismatch as error:
        # One that the configuration names is a promise; a host that only takes backups needs none.
        level = Level.WARN if configured is None else Level.FAIL
        return Finding(level, subject, error.message, error.hint)
    return Finding(Level.OK, subject, f"{mysqld}, MySQL {version}")


def server_options(
    datadir: Path, run_directory: Path, shape: DataShape, *, buffer_pool_bytes: int, as_root: bool
) -> list[str]:
    """The command line of a private server. ``loose-`` marks what not every supported version knows."""
    options = [
        "--no-defaults",
        f"--datadir={datadir}",
        f"--socket={run_directory / SOCKET_NAME}",
        f"--pid-file={run_directory / 'mysqld.pid'}",
        f"--log-error={run_directory / LOG_NAME}",
        "--log-error-verbosity=2",
        "--skip-networking",
        "--loose-mysqlx=OFF",
        "--skip-grant-tables",
        "--local-infile=OFF",
        "--event-scheduler=DISABLED",
        "--super-read-only=ON",
        "--skip-log-bin",
        # Equal ids would keep it from replicating from its own donor, should it be left running to do so.
        f"--server-id={1 << 31 | secrets.randbits(31)}",
        "--gtid-mode=ON",
        "--enforce-gtid-consistency=ON",
        "--loose-skip-replica-start=ON",
        "--loose-skip-slave-start=ON",
        "--max-connections=50",
        # The longest there is: a row that is read whole must not depend on what the donor allowed.
        "--max-allowed-packet=1G",
        f"--innodb-page-size={shape.page_size_bytes}",
        f"--lower-case-table-names={shape.lower_case_table_names}",
        f"--innodb-buffer-pool-size={buffer_pool_bytes}",
        # The donor's list of warm pages is worth more to the next server than to this one, and stays as it
        # is.
        "--innodb-buffer-pool-load-at-startup=OFF",
        "--innodb-buffer-pool-dump-at-shutdown=OFF",
    ]
    if shape.data_file_path:
        options.append(f"--innodb-data-file-path={shape.data_file_path}")
    if as_root:
        options.append("--user=root")
    return options


def default_buffer_pool_bytes() -> int:
    """A quarter of this machine's memory, between 128 MiB and 8 GiB: recovery applies redo in it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(128 << 20, min(total // 4, 8 << 30)) >> 20 << 20
