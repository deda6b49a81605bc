"""A run that keeps its slot for as long as its server is there, and goes on without it.

The slot of a deployment with a limit is lent for five minutes at a time. Prefect asks for it again three
times within seconds, and then ends the run: a server that restarts in that moment, or is away for longer
than a lease, would end every backup. This one asks on. Where the slot went to another run meanwhile, that
one finds the shard's turn taken.
"""

from __future__ import annotations

import logging
import threading
from importlib import import_module
from typing import Any
from uuid import UUID

AGAIN_SECONDS = 15.0

LEASES = "prefect.concurrency._leases"
RENEW = "_renew_concurrency_lease_with_retries"
"""What Prefect's thread does again and again; it ends the run for whatever is raised there."""

_log = logging.getLogger("prefect.concurrency")


def make_leases_patient(again_seconds: float = AGAIN_SECONDS) -> None:
    """For the runs of this process."""
    leases = import_module(LEASES)
    renew = getattr(leases, RENEW)

    def renew_patiently(client: Any, lease: UUID, seconds: float, stop: threading.Event) -> bool:
        while True:
            try:
                return renew(client, lease, seconds, stop)
            except Exception as error:  # noqa: BLE001 (whatever it is, the copy needs no slot)
                _log.warning("its slot is not renewed, the run goes on: %s", type(error).__name__)
            if stop.wait(again_seconds):
                return False

    setattr(leases, RENEW, renew_patiently)
