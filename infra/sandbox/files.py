"""Small file duties of the sandbox: private files, copies of templates, socket paths that fit."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from fleet.errors import SandboxFailed

LONGEST_SOCKET_PATH = 107  # sun_path holds 108 bytes, the last one zero


def write_private(path: Path, data: bytes) -> None:
    """Write ``path`` with mode 0600 by a rename, so that it is never there half or readable by others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    temporary.replace(path)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder with modes and holes, sharing blocks where the file system can. Raises SandboxFailed."""
    command = ["cp", "-a", "--reflink=auto", "--sparse=auto", str(source), str(target)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        shutil.rmtree(target, ignore_errors=True)
        raise SandboxFailed(f"could not copy {source} to {target}: {answer.stderr.strip()}")


def socket_path(directory: Path, name: str) -> Path:
    """Where a server in ``directory`` has its socket: there, or in a short folder if that is too long.

    The same directory and name always give the same path, so nobody has to remember it.
    Raises SandboxFailed if the short folder belongs to somebody else.
    """
    near = directory / f"{name}.sock"
    if len(os.fsencode(near)) <= LONGEST_SOCKET_PATH:
        return near
    folder = Path(f"/tmp/backstay-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise SandboxFailed(f"{folder} belongs to somebody else", hint="Use a directory with a shorter path.")
    return folder / f"{hashlib.sha256(os.fsencode(near)).hexdigest()[:16]}.sock"
