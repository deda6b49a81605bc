"""A file for people that appears under its name only when all of it is there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fleet.errors import TargetRefused
from restore.files import disk_errors


@contextmanager
def complete_file(path: Path) -> Generator[BinaryIO]:
    """Write to a temporary file beside ``path``; it gets its name when the block ends well, else it goes.

    Raises TargetRefused where ``path`` is there already, DiskFull.
    """
    refuse_existing(path)
    fresh = path.parent / f".{path.name}.{secrets.token_hex(4)}.part"
    try:
        with disk_errors(path.parent), open_private(fresh) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(fresh, path)  # noqa: PTH105 - said as the atomic step that it is
    finally:
        fresh.unlink(missing_ok=True)


def refuse_existing(path: Path) -> None:
    """Raises TargetRefused where ``path`` is there already, or its directory is not."""
    if path.exists():
        raise TargetRefused(f"{path} is there already", hint="Name another file, or remove this one.")
    if not path.absolute().parent.is_dir():
        raise TargetRefused(f"there is no directory {path.parent}", hint="Make it first.")


def open_private(path: Path) -> BinaryIO:
    """A new file that only its owner may read: it holds rows."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
