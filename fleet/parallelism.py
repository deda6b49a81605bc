"""How many things happen at once: every knob in one place, with defaults from the machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field

from fleet.section import Section

Threads = Annotated[int, Field(strict=True, ge=1, le=256)]


def usable_cpus(quota_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Processors that this process may use, at least 1: its affinity, cut by the quota of its container.

    ``quota_file`` is cgroup v2's ``cpu.max``: ``<quota> <period>`` in microseconds, or ``max <period>``.
    """
    # macOS has no affinity; there all processors are ours.
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text(encoding="ascii").split()
        # Half a processor more is still worth a thread: compressing waits for nobody.
        return max(1, min(cpus, round(int(quota) / int(period))))
    except (OSError, ValueError, ZeroDivisionError):
        return cpus


def _for_compressing() -> int:
    return min(usable_cpus(), 32)


def _for_the_store() -> int:
    # Threads that move objects mostly wait for the network, so there are more of them than processors; each
    # holds one pack in memory (16 MiB by default), so there is an end to it.
    return min(max(2 * usable_cpus(), 4), 16)


def _for_uploads() -> int:
    # Twice the pack in memory for each: ours, and the copy that an S3 client makes of it.
    return min(max(usable_cpus() + 1, 3), 16)


class Parallelism(Section):
    """Threads and connections of one backup or restore."""

    clone_connections: Annotated[int, Field(strict=True, ge=1, le=4)] = Field(
        default=2,
        description="Data connections to the donor. Two keep its disk busy; beyond three nothing was gained.",
    )
    compress_threads: Threads = Field(
        default_factory=_for_compressing,
        description="Threads that compress and seal. Default: one for each usable processor, at most 32.",
    )
    upload_threads: Threads = Field(
        default_factory=_for_uploads,
        description="Packs on their way to the store at once. Default: processors and one more, 3 to 16.",
    )
    download_threads: Threads = Field(
        default_factory=_for_the_store,
        description="Ranges fetched from the store at once. Default: twice the usable processors, 4 to 16.",
    )
