"""A MySQL to run: the one that is named or installed, or one unpacked into a folder of the user's cache.

The unpacked one is complete: a ``bin/`` of wrapper scripts starts each program through the folder's own
loader and libraries, so it neither needs nor touches what is installed on the machine.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fleet.errors import SandboxFailed
from infra.sandbox import unpacking

Progress = Callable[[str], None]

OLDEST = (8, 0, 17)  # the first MySQL with the clone plugin
_VERSION = re.compile(r"\bVer (\d+)\.(\d+)\.(\d+)(\S*)")
_HINT = "Install MySQL 8.0.17 or newer, or name its mysqld in the environment variable BACKSTAY_MYSQLD."


@dataclass(frozen=True)
class MysqlDistribution:
    """One MySQL on this machine: its server, the folder of its programs, its version as ``9.7.4``."""

    mysqld: Path
    bin: Path
    version: str

    @property
    def version_numbers(self) -> tuple[int, ...]:
        """``(9, 7, 4)``."""
        return tuple(int(part) for part in self.version.split("."))

    def tool(self, name: str) -> Path:
        """The program ``name`` (``mysqlbinlog``) of this MySQL.

        Raises SandboxFailed if there is none.
        """
        beside = self.bin / name
        found = str(beside) if beside.exists() else shutil.which(name)
        if found is None:
            raise SandboxFailed(f"{name} is neither in {self.bin} nor on PATH", hint=_HINT)
        return Path(found)


def find_mysql(
    *, environ: Mapping[str, str] | None = None, progress: Progress = lambda _: None
) -> MysqlDistribution:
    """The MySQL to run: ``BACKSTAY_MYSQLD``, ``mysqld`` on PATH, the cached folder, or else unpack one now.

    A ``mysqld`` on PATH that is MariaDB, or older than 8.0.17, is passed over; one that was named is refused.
    Raises SandboxFailed.
    """
    environ = os.environ if environ is None else environ
    named = environ.get("BACKSTAY_MYSQLD")
    if named:
        return _named(Path(named))
    on_path = shutil.which("mysqld", path=environ.get("PATH"))
    if on_path:
        version = _version_of(Path(on_path))
        if version is not None:
            return MysqlDistribution(Path(on_path), Path(on_path).parent, version)
    return _cached_or_unpacked(cache_directory(environ) / "mysql", progress)


def cache_directory(environ: Mapping[str, str] | None = None) -> Path:
    """``$XDG_CACHE_HOME/backstay``, or ``~/.cache/backstay``."""
    environ = os.environ if environ is None else environ
    root = environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "backstay"


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold an exclusive lock on the file ``path``; it falls with the process, so none is ever stale."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def parse_version(text: str) -> str | None:
    """``9.7.4`` out of what ``mysqld --version`` prints; None for MariaDB, and for one too old to clone."""
    found = _VERSION.search(text)
    if found is None or "mariadb" in text.lower():
        return None
    numbers = tuple(int(found[part]) for part in (1, 2, 3))
    return ".".join(map(str, numbers)) if numbers >= OLDEST else None


def newest(folders: list[Path]) -> Path | None:
    """Of folders named ``<version>-<architecture>`` the one of the highest version."""

    def version(folder: Path) -> tuple[int, ...]:
        return tuple(int(part) for part in folder.name.split("-")[0].split("."))

    return max(folders, key=version, default=None)


def _named(mysqld: Path) -> MysqlDistribution:
    if not mysqld.is_file():
        raise SandboxFailed(f"BACKSTAY_MYSQLD names {mysqld}, which is no file", hint=_HINT)
    version = _version_of(mysqld)
    if version is None:
        raise SandboxFailed(f"BACKSTAY_MYSQLD names {mysqld}, which is no MySQL from 8.0.17 on", hint=_HINT)
    return MysqlDistribution(mysqld, mysqld.parent, version)


def _version_of(mysqld: Path) -> str | None:
    try:
        asked = subprocess.run([mysqld, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_version(asked.stdout)


def _cached_or_unpacked(cache: Path, progress: Progress) -> MysqlDistribution:
    architecture = unpacking.architecture(hint=_HINT)
    folder = _cached(cache, architecture)
    if folder is None:
        with locked(cache / ".lock"):
            # Another process may have unpacked it while this one waited for the lock.
            folder = _cached(cache, architecture)
            if folder is None:
                folder = unpacking.unpack(cache, architecture, progress, hint=_HINT)
    return MysqlDistribution(folder / "bin" / "mysqld", folder / "bin", folder.name.split("-")[0])


def _cached(cache: Path, architecture: str) -> Path | None:
    return newest([mysqld.parent.parent for mysqld in cache.glob(f"[0-9]*-{architecture}/bin/mysqld")])
