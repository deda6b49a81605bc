"""Programs of the system that some tests meet for real; `infra/parts.sh` installs them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


def program(name: str, *places: str) -> Path:
    """Where the program is, also in one of ``places`` (patterns below /). Root can install it, so for root
    a missing one is a failure; others skip the test.
    """
    if (found := shutil.which(name)) is not None:
        return Path(found)
    for place in places:
        if candidates := sorted(Path("/").glob(f"{place}/{name}")):
            return candidates[-1]
    told = f"{name} is not installed: infra/parts.sh"
    if os.geteuid() == 0:
        pytest.fail(told)
    pytest.skip(told)


def postgres(name: str) -> Path:
    """A program of PostgreSQL's server, such as ``initdb``; Debian keeps them out of the path."""
    return program(name, "usr/lib/postgresql/*/bin")
