"""Where state is kept on this machine: that of a service, and a user's own."""

from __future__ import annotations

import os
from pathlib import Path

from fleet.model import Fleet


def state_directory(fleet: Fleet) -> Path:
    """`service.directory`; or ``backstay/service/<fleet>`` in the user's state directory, so that two fleets
    served by one user do not share a scheduler. It need not exist.
    """
    return fleet.service.directory or user_state() / "service" / fleet.name


def archive_spool(fleet: Fleet) -> Path:
    """`archive.spool_directory`; or ``backstay/archive`` in the user's state directory. It need not exist."""
    return fleet.archive.spool_directory or user_state() / "archive"


def user_state() -> Path:
    """``backstay`` in the user's state directory. It need not exist."""
    state = os.environ.get("XDG_STATE_HOME", "")
    root = Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state"
    return root / "backstay"
