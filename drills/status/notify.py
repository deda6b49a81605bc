"""Telling somebody that a shard's health has changed: by a webhook, by a command, or by both.

What was told is kept on disk for each of the two, so a restart repeats nothing, and one that fails is tried
again without the other being told twice. What is unknown never counts as well again.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeAlias
from urllib.error import HTTPError, URLError

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from drills.status.judge import what_to_do
from drills.status.lag_history import replace_file
from drills.status.notify_failures import Failure, Way, news, read_failures, subject_of, write_failures
from drills.status.report import FleetStatus, Health, Judged
from fleet import figures
from fleet.errors import ToolError
from fleet.secrets import Secret
from fleet.service_config import Notify

THE_FLEET = ""
"""The subject of findings that are of no shard."""

_ORDER = list(Health)


class Told(BaseModel):
    """What somebody was told of a subject. ``codes`` and ``about``: of what, since it was last well."""

    model_config = ConfigDict(frozen=True)

    health: Health
    codes: tuple[str, ...]
    told_at: datetime
    about: tuple[str, ...] = ()


Known: TypeAlias = dict[str, Told]


class _Document(RootModel[dict[str, Known]]):
    """By way, by subject."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something worth telling. ``shard`` is None for the fleet itself; ``was``: what was told last;
    ``again``: it only goes on. ``findings`` are those that count, worst first; ``about``: the subjects of
    what was told, where that is over.
    """

    shard: str | None
    was: Health
    health: Health
    again: bool
    findings: tuple[Judged, ...]
    about: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Telling:
    """What is to be told now, and what is known when it was."""

    changes: tuple[Change, ...]
    known: Known


def plan_telling(status: FleetStatus, known: Known, settings: Notify) -> Telling:
    """What has changed since ``known``. Pure; ``status.seen_at`` is now.

    A subject is told of when it becomes as bad as `notify.level`, when it becomes worse or better from there,
    when something else is found that bad, and every `notify.repeat_hours` while it goes on.
    """
    subjects: list[tuple[str, Health, tuple[Judged, ...]]] = [
        (shard.shard, shard.health, shard.findings) for shard in status.shards
    ]
    subjects.append((THE_FLEET, _health_of(status), status.findings))
    changes: list[Change] = []
    # A shard that has left the configuration is forgotten.
    after: Known = {}
    for subject, health, findings in subjects:
        told = known.get(subject)
        change = _change(subject, health, findings, told, now=status.seen_at, settings=settings)
        if change is not None:
            changes.append(change)
            if change.findings:
                after[subject] = _told_of(change.findings, told, health, now=status.seen_at)
        elif told is not None:
            after[subject] = told
    return Telling(tuple(changes), after)


def _told_of(findings: tuple[Judged, ...], before: Told | None, health: Health, *, now: datetime) -> Told:
    codes = {finding.code for finding in findings} | set(before.codes if before else ())
    about = {finding.subject for finding in findings} | set(before.about if before else ())
    return Told(health=health, codes=tuple(sorted(codes)), about=tuple(sorted(about)), told_at=now)


def notify(
    status: FleetStatus, settings: Notify, path: Path, *, at: datetime | None = None
) -> tuple[str, ...]:
    """Tell whoever is to be told; what was told is kept in ``path``, and beside it which way does not work.
    In words, that hold no secret: which way has begun to fail, and which works again.

    Processes may do so at once: one waits for the other, and then has nothing to tell. A way that has failed
    is tried each time until it works. ``at`` is now, if ``status`` is older. Never raises for what others do
    wrong.
    """
    ways: dict[Way, Callable[[bytes], None]] = {}
    if (webhook := settings.webhook) is not None:
        ways["webhook"] = lambda document: _post(webhook, document, settings.timeout_seconds)
    if settings.command:
        ways["command"] = lambda document: _run(settings.command, document, settings.timeout_seconds)
    if not ways:
        return ()
    with _locked(path):
        known, failed = _read(path), read_failures(path.parent)
        fails: dict[Way, Failure] = {}
        for way, tell in ways.items():
            before = failed.get(way)
            telling = plan_telling(_without(status, way), known.get(way, {}), settings)
            if telling.changes or before is not None:
                try:
                    tell(document_of(status, telling.changes, was_silent=before))
                except ToolError as error:
                    fails[way] = Failure(
                        problem=error.message, since=before.since if before else at or status.seen_at
                    )
                    continue
            known[way] = telling.known
        is_kept = replace_file(path, _Document(known).model_dump_json())
        if fails != failed:
            is_kept = write_failures(path.parent, fails) and is_kept
    lost = () if is_kept else (f"{path} cannot be written: the same will be told again",)
    return (*news(failed, fails), *lost)


def _without(status: FleetStatus, way: Way) -> FleetStatus:
    """Nobody is told by ``way`` that it does not work."""
    findings = tuple(each for each in status.findings if each.subject != subject_of(way))
    return replace(status, findings=findings)


def document_of(
    status: FleetStatus, changes: tuple[Change, ...], *, was_silent: Failure | None = None
) -> bytes:
    """The JSON that is sent: ``text`` in one or more lines, as chats take it; the rest for programs.
    ``was_silent``: why this way could not be used until now.
    """
    lines = _lines(status, changes)
    if was_silent is not None:
        lines.append(
            f"{status.fleet}: nobody could be told this way since {figures.moment(was_silent.since)} UTC: "
            f"{was_silent.problem}"
        )
    document: dict[str, Any] = {
        "text": "\n".join(lines),
        "fleet": status.fleet,
        "health": status.health,
        "at": status.seen_at,
        "what_to_do": status.what_to_do,
        "changes": [asdict(change) for change in changes],
    }
    return json.dumps(document, default=_plain).encode()


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _lines(status: FleetStatus, changes: tuple[Change, ...]) -> list[str]:
    """What is found and the way out of it; then what is over, that no way out may seem to belong to."""
    found = [change for change in changes if change.findings]
    lines = [_found(status.fleet, change) for change in found]
    if found:
        lines.append(what_to_do(finding for change in found for finding in change.findings))
    return [*lines, *(_over(status, change) for change in changes if not change.findings)]


def _found(fleet: str, change: Change) -> str:
    subject, worst = _place(fleet, change), change.findings[0]
    if worst.subject != f"shard {change.shard}":
        subject += f": {worst.subject}"
    more = len(change.findings) - 1
    others = f", and {figures.plural(more, 'other finding')}" if more else ""
    return f"{subject}: {'still ' if change.again else ''}{change.health}: {worst.message}{others}"


def _over(status: FleetStatus, change: Change) -> str:
    """That one thing is over says nothing of the others: what is as bad as anything is now is named."""
    subject = _place(status.fleet, change)
    if change.shard is None and change.about:
        subject += f": {', '.join(change.about)}"
    others = [(shard.shard, shard.health) for shard in status.shards if shard.shard != change.shard]
    if change.shard is not None:
        others += [(finding.subject, finding.health) for finding in status.findings]
    worst = max((health for _, health in others), key=_ORDER.index, default=Health.OK)
    names = dict.fromkeys(name for name, health in others if health is worst)
    still = f"; still {worst}: {', '.join(names)}" if worst is not Health.OK else ""
    now = "well again" if change.health is Health.OK else change.health
    return f"{subject}: {now}, was {change.was}{still}"


def _place(fleet: str, change: Change) -> str:
    return f"{fleet}, shard {change.shard}" if change.shard is not None else fleet


def _change(
    subject: str,
    health: Health,
    findings: tuple[Judged, ...],
    told: Told | None,
    *,
    now: datetime,
    settings: Notify,
) -> Change | None:
    level = _ORDER.index(Health(settings.level))
    bad = tuple(
        sorted(
            (finding for finding in findings if _ORDER.index(finding.health) >= level),
            key=lambda finding: -_ORDER.index(finding.health),
        )
    )
    was = told.health if told is not None else Health.OK
    shard = subject or None
    if not bad:
        # With a level of "critical" a warning is the end of what was told, too.
        is_over = health is not Health.UNKNOWN
        return Change(shard, was, health, False, (), told.about) if told is not None and is_over else None
    worst = bad[0].health
    if told is None or worst is not told.health or _is_new(bad, told):
        return Change(shard, was, worst, False, bad)
    pause = timedelta(hours=settings.repeat_hours)
    return Change(shard, was, worst, True, bad) if pause and now - told.told_at >= pause else None


def _is_new(findings: tuple[Judged, ...], told: Told) -> bool:
    """Something else than was told, or the same of another server."""
    known = {finding.code for finding in findings} <= set(told.codes)
    return not (known and {finding.subject for finding in findings} <= set(told.about))


def _health_of(status: FleetStatus) -> Health:
    """Of what is of no shard; unknown while nothing can be asked."""
    order = [finding.health for finding in status.findings]
    if status.unreachable is not None:
        order.append(Health.UNKNOWN)
    return max(order, key=_ORDER.index, default=Health.OK)


def _post(webhook: Secret, document: bytes, timeout_seconds: float) -> None:
    request = urllib.request.Request(  # noqa: S310 (the scheme is checked below)
        _address(webhook), document, {"Content-Type": "application/json"}, method="POST"
    )
    problem: str
    try:
        with urllib.request.urlopen(request, timeout=timeout_seconds):  # noqa: S310
            return
    except HTTPError as error:
        with error:
            problem = f"answered {error.code}"
    except URLError as error:
        problem = f"cannot be reached: {(getattr(error.reason, 'strerror', None) or 'no answer').lower()}"
    except (OSError, HTTPException) as error:
        problem = "gave no answer in time" if isinstance(error, TimeoutError) else "broke off"
    # Raised here and not above: the foreign error may hold the address, which is a secret.
    raise ToolError(f"the webhook {problem}")


def _address(webhook: Secret) -> str:
    address = webhook.reveal().strip()
    if not address.startswith(("http://", "https://")):
        raise ToolError("the webhook is no http:// or https:// address")
    return address


def _run(command: tuple[str, ...], document: bytes, timeout_seconds: float) -> None:
    program = command[0]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise ToolError(f"the command {program} cannot be run: {(error.strerror or '').lower()}") from None
    try:
        process.communicate(document, timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        raise ToolError(f"the command {program} took longer than {timeout_seconds:g} s") from None
    finally:
        if process.returncode is None:
            # Its children, too: they would hold the pipes.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stdin is not None
            with suppress(OSError):
                process.stdin.close()
    if process.returncode != 0:
        raise ToolError(f"the command {program} ended with status {process.returncode}")


def _read(path: Path) -> dict[str, Known]:
    try:
        return dict(_Document.model_validate_json(path.read_bytes()).root)
    except (OSError, ValidationError):
        return {}


@contextmanager
def _locked(path: Path) -> Generator[None]:
    """One at a time. Where there is no room for a lock, somebody is told twice rather than not at all."""
    lock: int | None = None
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)
