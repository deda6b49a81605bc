"""The peers' programs: from PATH, else installed (root), else left out, and that is said.

Debian's stable restic has no ``--compression fastest``, so a newer one is unpacked from unstable into the
cache, as the sandbox does with MySQL. It needs nothing but the machine's own C library.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra.sandbox.distribution import cache_directory, locked
from infra.sandbox.unpacking import mirrors

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


@dataclass(frozen=True)
class Tool:
    """One program: where it is and its version, or ``path`` None and why it is missing."""

    name: str
    path: Path | None
    version: str
    missing_because: str = ""


def find_tools(say: Callable[[str], None]) -> dict[str, Tool]:
    """Every peer's program by name: ``zstd``, ``openssl``, ``restic``, ``mydumper``."""
    found = {name: _from_path_or_apt(name, say) for name in ("zstd", "openssl", "mydumper")}
    return found | {"restic": _restic(say)}


def version_in(text: str) -> tuple[int, ...]:
    """``(0, 19, 1)`` out of what a program prints about itself; ``()`` if there is none."""
    match = _VERSION.search(text)
    return tuple(int(part) for part in match.groups() if part) if match else ()


def _from_path_or_apt(name: str, say: Callable[[str], None]) -> Tool:
    path = shutil.which(name)
    if path is None and (reason := _install(name, say)):
        return Tool(name, None, "", reason)
    path = shutil.which(name)
    if path is None:
        return Tool(name, None, "", f"its package brought no {name}")
    return Tool(name, Path(path), _version(Path(path)))


def _install(package: str, say: Callable[[str], None]) -> str:
    """Install a Debian package; the reason why that cannot be, or nothing."""
    if shutil.which("apt-get") is None:
        return f"{package} is not on PATH and there is no apt-get"
    if os.getuid() != 0:
        return f"{package} is not on PATH, and only root can install it"
    say(f"installing {package}")
    install = ["apt-get", "install", "-qq", "--yes", "--no-install-recommends", package]
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (install, ["apt-get", "update", "-qq"], install):
        answer = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
        if answer.returncode == 0 and command is install:
            return ""
    return f"apt-get could not install {package}"


def _restic(say: Callable[[str], None]) -> Tool:
    cached = cache_directory() / "peers" / "restic"
    on_path = shutil.which("restic")
    for candidate in (Path(on_path) if on_path else None, cached):
        if candidate and candidate.exists() and _compresses_fast(candidate):
            return Tool("restic", candidate, _version(candidate))
    if shutil.which("apt-get") is None:
        return Tool(
            "restic", None, "", "a restic with --compression fastest is not on PATH and there is no apt-get"
        )
    say("unpacking restic from Debian unstable (11 MB, once)")
    try:
        with locked(cached.parent / ".lock"):
            _unpack_unstable("restic", "usr/bin/restic", cached)
    except (OSError, subprocess.CalledProcessError) as error:
        said = error.stderr.strip().splitlines() if isinstance(error, subprocess.CalledProcessError) else []
        why = said[-1] if said else error
        return Tool("restic", None, "", f"a restic with --compression fastest could not be unpacked: {why}")
    return Tool("restic", cached, _version(cached))


def _compresses_fast(restic: Path) -> bool:
    answer = subprocess.run([restic, "backup", "--help"], capture_output=True, text=True, check=False)
    return "fastest" in answer.stdout


def _unpack_unstable(package: str, member: str, final: Path) -> None:
    with tempfile.TemporaryDirectory(dir=final.parent) as scratch:
        folder = Path(scratch)
        for part in ("state/lists/partial", "cache/archives/partial", "tree"):
            (folder / part).mkdir(parents=True)
        (folder / "status").touch()
        mirror = mirrors(_output("apt-get", "update", "--print-uris"))[0]
        (folder / "sources.list").write_text(f"deb [signed-by={_KEYRING}] {mirror} sid main\n")
        apt = ["apt-get", "-qq", *_apt_options(folder)]
        _output(*apt, "update")
        _output(*apt, "download", package, cwd=folder)
        _output("dpkg", "-x", str(next(folder.glob("*.deb"))), str(folder / "tree"))
        (folder / "tree" / member).rename(final)


def _apt_options(folder: Path) -> list[str]:
    options = {
        "Dir::State": folder / "state",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
        "Acquire::Languages": "none",
    }
    return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


def _output(*command: str, cwd: Path | None = None) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=cwd, env=os.environ | {"LC_ALL": "C"}
    ).stdout


def _version(program: Path) -> str:
    for argument in ("version", "--version"):
        answer = subprocess.run([program, argument], capture_output=True, text=True, check=False)
        found = version_in(answer.stdout)
        if answer.returncode == 0 and found:
            return ".".join(map(str, found))
    return "?"
