"""The parts of the service, read off the configuration. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from drills.status.service_state import PartName
from fleet.config import DIRECTORY_VARIABLE
from fleet.errors import ArchiverReplaced
from fleet.model import Fleet
from flows.environment import API_AUTH, environment_of

_PYTHON = (sys.executable, "-m")

_NOT_FOR_ARCHIVERS = {
    "alerts",
    "backup",
    "budget",
    "mirror",
    "notify",
    "prices",
    "proof",
    "restore",
    "retention",
    "schedule",
    "scheduler",
    "service",
    "targets",
}
"""Sections that neither the archiver nor the mirror reads."""


@dataclass(frozen=True)
class Part:
    """A process to keep. ``settings``: what it read at its start; where that changes, it is started anew,
    ``when_idle``: as soon as no process of its own is at work. ``followed``: what it reads again on a SIGHUP.

    ``patience_seconds``: how long it may take to end in order. ``gave_way``: the exit code that says that
    another one took over, on another machine.
    """

    name: PartName
    command: tuple[str, ...]
    environ: Mapping[str, str] = field(repr=False)
    settings: tuple[object, ...] = field(repr=False)
    followed: tuple[object, ...] = field(default=(), repr=False)
    patience_seconds: float = 20.0
    when_idle: bool = False
    gave_way: int | None = None


def wanted_parts(fleet: Fleet, config: Path, directory: Path, inherited: Mapping[str, str]) -> list[Part]:
    """What runs on this machine, in the order in which it is started.

    ``config``: the file that was told to the service; the parts read its copy in ``directory``. With a server
    of its own for the scheduler, its workers carry the runs out, and not we. Raises ``ConfigError``.
    """
    environ = {
        **environment_of(fleet, directory, accepted_copy(directory), inherited),
        DIRECTORY_VARIABLE: str(config.parent),
        # What a part says is in its log when it says so, and nobody's working folder is imported from.
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
        # Threads that allocate in arenas of their own hold tens of megabytes that nobody uses.
        "MALLOC_ARENA_MAX": "2",
        "NO_COLOR": "1",
    }
    parts = [_page(fleet, environ)]
    if fleet.scheduler.api_url is None:
        parts += [_scheduler(fleet, environ), _runner(fleet, environ, accepted_copy(directory))]
    if fleet.service.archive:
        parts.append(_archiver(fleet, environ))
    if fleet.service.mirror and fleet.mirror is not None:
        parts.append(_mirror(fleet, environ))
    return parts


def accepted_copy(directory: Path) -> Path:
    """The configuration as it counts: one that is wrong must reach no part, also none that starts now."""
    return directory / "backstay.toml"


def _page(fleet: Fleet, environ: Mapping[str, str]) -> Part:
    return Part("page", (*_PYTHON, "flows.service.page"), environ, (fleet,), patience_seconds=5)


def _scheduler(fleet: Fleet, environ: Mapping[str, str]) -> Part:
    command = (*_PYTHON, "flows.service.scheduler")
    return Part(
        "scheduler", command, environ, (fleet.scheduler.port, environ.get(API_AUTH)), patience_seconds=15
    )


def _runner(fleet: Fleet, environ: Mapping[str, str], config: Path) -> Part:
    shards = tuple((shard.name, fleet.schedule_of(shard)) for shard in fleet.shards)
    return Part(
        "runner",
        (*_PYTHON, "flows.runner", str(config)),
        environ,
        (fleet.scheduler, environ.get(API_AUTH)),
        # Whatever else makes deployments, and automations.
        followed=(
            fleet.name,
            fleet.schedule,
            fleet.proof,
            shards,
            (fleet.notify.prefect_blocks, fleet.notify.level),
        ),
        # A backup is asked to stop, and lets go of its donor.
        patience_seconds=60,
        when_idle=True,
    )


def _archiver(fleet: Fleet, environ: Mapping[str, str]) -> Part:
    command = (*_PYTHON, "cli.app", "archive", "run", "--keep-trying")
    return Part(
        "archiver",
        command,
        environ,
        (_for_archivers(fleet),),
        patience_seconds=30,
        gave_way=ArchiverReplaced.exit_code,
    )


def _mirror(fleet: Fleet, environ: Mapping[str, str]) -> Part:
    settings = (_for_archivers(fleet), fleet.mirror, fleet.retention)
    return Part("mirror", (*_PYTHON, "cli.app", "mirror", "run"), environ, settings, patience_seconds=30)


def _for_archivers(fleet: Fleet) -> tuple[object, ...]:
    shards = tuple(shard.model_copy(update={"schedule": None}) for shard in fleet.shards)
    others = set(type(fleet).model_fields) - _NOT_FOR_ARCHIVERS - {"shards"}
    return (shards, *(getattr(fleet, name) for name in sorted(others)))
