"""Unpack MySQL with all that it depends on from Debian's archive into one folder, as root or not.

Debian's stable releases carry no MySQL; unstable does, built against newer libraries. So apt resolves the
whole closure as if nothing were installed (an empty status file), the packages are unpacked, never installed,
and wrapper scripts run each program through the folder's own loader. The mirror is the machine's own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from fleet.errors import SandboxFailed

_PACKAGES = ("mysql-server-core", "mysql-client-core")
_KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
_INDEX = re.compile(r"'(\S+?)/dists/(\S+?)/InRelease'")
_NOT_NEEDED = re.compile(r"(lib)?perl")
_PROGRAMS = (
    "usr/sbin/mysqld",
    "usr/bin/mysql",
    "usr/bin/mysqladmin",
    "usr/bin/mysqlbinlog",
    "usr/bin/mysqldump",
    "usr/bin/innochecksum",
    "usr/bin/ibd2sdi",
)
_TIMEOUT_SECONDS = 900
_STAGING = ".unpacking-"


def architecture(*, hint: str) -> str:
    """This machine's architecture in Debian's words (``amd64``). SandboxFailed without apt."""
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise SandboxFailed(f"found no usable mysqld, and there is no {program}", hint=hint)
    answer = _run(["dpkg", "--print-architecture"], "ask dpkg for the architecture", hint)
    return answer.strip()


def unpack(cache: Path, architecture: str, progress: Callable[[str], None], *, hint: str) -> Path:
    """Make ``cache/<version>-<architecture>/`` and return it; the caller holds the cache's lock.

    The folder appears by one rename when it is complete. What a killed attempt left is removed first.
    Raises SandboxFailed.
    """
    for leftover in cache.glob(f"{_STAGING}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=cache))
    try:
        progress("downloading MySQL (66 MB, once)")
        packages = _download(staging / "apt", hint)
        version = _version(packages)
        progress(f"unpacking MySQL {version}")
        tree = staging / "tree"
        _extract(packages, tree, hint)
        final = cache / f"{version}-{architecture}"
        _write_wrappers(tree, final)
        tree.rename(final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return final


def mirrors(uris: str) -> list[str]:
    """Mirrors out of what ``apt-get update --print-uris`` prints, each once, in the machine's order.

    Security archives carry no unstable suite, so they come last.
    """
    found = dict.fromkeys((mirror, suite.endswith("-security")) for mirror, suite in _INDEX.findall(uris))
    ordered = sorted(found, key=lambda pair: pair[1])
    return list(dict.fromkeys(mirror for mirror, _ in ordered))


def _download(folder: Path, hint: str) -> list[Path]:
    for part in ("state/lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    (folder / "status").touch()
    keyring = next((path for path in _KEYRINGS if path.exists()), None)
    if keyring is None:
        raise SandboxFailed(f"found no usable mysqld, and there is no {_KEYRINGS[0]}", hint=hint)
    candidates = mirrors(_run(["apt-get", "update", "--print-uris"], "ask apt for its mirror", hint))
    if not candidates:
        raise SandboxFailed("found no usable mysqld, and apt has no mirror configured", hint=hint)
    apt = ["apt-get", "-qq", *_apt_options(folder)]
    for position, mirror in enumerate(candidates, 1):
        (folder / "sources.list").write_text(f"deb [signed-by={keyring}] {mirror} sid main\n")
        try:
            _run([*apt, "update", "--error-on=any"], f"read the package lists of {mirror}", hint)
            break
        except SandboxFailed:
            if position == len(candidates):
                raise
    wanted = ["install", "--yes", "--download-only", "--no-install-recommends", *_PACKAGES]
    _run([*apt, *wanted], "download MySQL", hint)
    return sorted((folder / "cache/archives").glob("*.deb"))


def _apt_options(folder: Path) -> list[str]:
    options = {
        "Dir::State": folder / "state",
        "Dir::State::Lists": folder / "state/lists",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "APT::Default-Release": "sid",
        # apt as root would drop to a user that may not enter a cache below /root.
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


def _version(packages: list[Path]) -> str:
    for package in packages:
        found = re.match(r"mysql-server-core_(?:\d+%3a)?(\d+\.\d+\.\d+)", package.name)
        if found:
            return found[1]
    raise SandboxFailed("apt downloaded no mysql-server-core", hint="Is the mirror complete?")


def _extract(packages: list[Path], tree: Path, hint: str) -> None:
    tree.mkdir()
    for package in packages:
        if not _NOT_NEEDED.match(package.name):
            _run(["dpkg", "-x", str(package), str(tree)], f"unpack {package.name}", hint)
    for part in ("doc", "man", "locale", "info", "perl5"):
        shutil.rmtree(tree / "usr/share" / part, ignore_errors=True)


def _write_wrappers(tree: Path, final: Path) -> None:
    loader = next(tree.glob("usr/lib/*/ld-linux*.so.*"), None)
    if loader is None or not (tree / _PROGRAMS[0]).exists():
        raise SandboxFailed("the unpacked MySQL has no loader or no mysqld", hint="Is the mirror complete?")
    inside = loader.relative_to(tree)
    (tree / "bin").mkdir()
    for program in _PROGRAMS:
        if (tree / program).exists():
            wrapper = tree / "bin" / Path(program).name
            wrapper.write_text(_wrapper(final, inside, program))
            wrapper.chmod(0o755)


def _wrapper(final: Path, loader: Path, program: str) -> str:
    # Appended, because --defaults-file must stay the first argument. The built-in paths point to nothing.
    own = (
        ' "$@" --basedir="$R/usr" --plugin-dir="$R/usr/lib/mysql/plugin"'
        ' --lc-messages-dir="$R/usr/share/mysql" --secure-file-priv='
        if program.endswith("/mysqld")
        else ' "$@"'
    )
    quoted = "'" + str(final).replace("'", "'\\''") + "'"
    return (
        f'#!/bin/sh\nR={quoted}\nexec "$R/{loader}" --library-path "$R/{loader.parent}" "$R/{program}"{own}\n'
    )


def _run(command: list[str], purpose: str, hint: str) -> str:
    environ = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False, env=environ
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxFailed(f"could not {purpose}: {error}", hint=hint) from error
    if answer.returncode != 0:
        reason = " / ".join((answer.stderr or answer.stdout).strip().splitlines()[-3:])
        raise SandboxFailed(f"could not {purpose}: {reason}", hint=hint)
    return answer.stdout
