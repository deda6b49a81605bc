"""The password of the embedded Prefect server: made once, for whoever may read the service's state.

Its API runs programs for whoever may write to it; on loopback that is every user of the machine, and every
web page in a browser there.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from fleet.errors import ConfigError

FILE = "scheduler-password"
"""``backstay:`` and 64 hexadecimal digits, as Prefect's user interface asks for it."""


def ensure_password(directory: Path) -> str:
    """The password in the service's state, made if there is none. Raises ``ConfigError``."""
    path = directory / FILE
    new = directory / f"{FILE}.{os.getpid()}"
    try:
        if found := read_password(directory):
            return found
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(f"backstay:{secrets.token_hex(32)}\n")
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise ConfigError(
            f"the scheduler's password cannot be kept in {path}: {error.strerror}",
            hint="Name a directory that can be written: [service] directory.",
        ) from error
    return path.read_text().strip()


def read_password(directory: Path) -> str | None:
    """The password in the service's state; None if there is none. Raises OSError."""
    with suppress(FileNotFoundError):
        return (directory / FILE).read_text().strip() or None
    return None
