"""Telling somebody that a shard's health has changed: by a webhook, by a command, by events of Prefect.

What was told is kept on disk for each of these ways, so a restart repeats nothing, and one that fails is
tried again without the others being told twice. What is unknown never counts as well again.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from drills.status.judge import by_urgency, what_to_do
from drills.status.lag_history import replace_file
from drills.status.notify_failures import (
    Failure,
    Way,
    failed_again,
    news,
    read_failures,
    subject_of,
    ways_of,
    write_failures,
)
from drills.status.notify_prefect import AGAIN_EVENT, HEALTH_EVENTS, Event, EventsApi, event_of, post_events
from drills.status.posting import post_json
from drills.status.report import FleetStatus, Health, Judged
from fleet import figures
from fleet.errors import ToolError
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
    ``again``: it only goes on. ``findings`` are those that count, worst first; ``new``: those of them that
    were not told before, or not as bad; ``about``: the subjects of what was told, where that is over.
    """

    shard: str | None
    was: Health
    health: Health
    again: bool
    findings: tuple[Judged, ...]
    about: tuple[str, ...] = ()
    new: tuple[Judged, ...] = ()


@dataclass(frozen=True, slots=True)
class Telling:
    """What is to be told now, and what is known when it was."""

    changes: tuple[Change, ...]
    known: Known


def plan_telling(
    status: FleetStatus, known: Known, settings: Notify, *, at: datetime | None = None
) -> Telling:
    """What has changed since ``known``. Pure; ``at`` is now, if ``status`` is older.

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
    now = at or status.seen_at
    for subject, health, findings in subjects:
        told = known.get(subject)
        change = _change(subject, health, findings, told, now=now, settings=settings)
        if change is not None:
            changes.append(change)
            if change.findings:
                after[subject] = _told_of(change.findings, told, health, now=now)
        elif told is not None:
            after[subject] = told
    return Telling(tuple(changes), after)


def _told_of(findings: tuple[Judged, ...], before: Told | None, health: Health, *, now: datetime) -> Told:
    codes = {finding.code for finding in findings} | set(before.codes if before else ())
    about = {finding.subject for finding in findings} | set(before.about if before else ())
    return Told(health=health, codes=tuple(sorted(codes)), about=tuple(sorted(about)), told_at=now)


class _Message(NamedTuple):
    """What is to be told by one way. ``was_silent``: why it could not be used until now."""

    status: FleetStatus
    changes: tuple[Change, ...]
    was_silent: Failure | None
    at: datetime

    def document(self) -> bytes:
        return document_of(self.status, self.changes, was_silent=self.was_silent)


_Tell: TypeAlias = Callable[[_Message], None]


def notify(
    status: FleetStatus,
    settings: Notify,
    path: Path,
    *,
    at: datetime | None = None,
    prefect: EventsApi | None = None,
    at_once: bool = False,
) -> tuple[str, ...]:
    """Tell whoever is to be told; what was told is kept in ``path``, and beside it which way does not work.
    In words, that hold no secret: which way has begun to fail, and which works again.

    Processes may do so at once: one waits for the other, and then has nothing to tell. A way that has failed
    is tried after a pause that grows, or ``at_once``, until it works. ``at`` is now, if ``status`` is older.
    ``prefect``: where events go; None while its server is only being started. Never raises for what others
    do wrong.
    """
    now, wanted = at or status.seen_at, ways_of(settings)
    if not wanted and not read_failures(path.parent):
        return ()
    with _locked(path):
        failed = read_failures(path.parent)
        known: dict[str, Known] = {way: told for way, told in _read(path).items() if way in wanted}
        fails: dict[Way, Failure] = {way: each for way, each in failed.items() if way in wanted}
        is_kept = True
        for way, tell in _ways(settings, prefect).items():
            before = fails.get(way)
            if before is not None and not at_once and not before.is_due(now):
                continue
            telling = plan_telling(_without(status, way), known.get(way, {}), settings, at=now)
            if telling.changes or before is not None:
                try:
                    tell(_Message(status, telling.changes, before, now))
                except ToolError as error:
                    fails[way] = failed_again(error.message, before, now)
                    continue
            fails.pop(way, None)
            known[way] = telling.known
            # Now, and not at the end: who is killed while the next way is slow tells by this one just once.
            is_kept = replace_file(path, _Document(known).model_dump_json()) and is_kept
        if fails != failed:
            is_kept = write_failures(path.parent, fails) and is_kept
    lost = () if is_kept else (f"{path} cannot be written: the same will be told again",)
    return (*news(failed, fails, settings), *lost)


def forget_told(path: Path, way: Way) -> None:
    """Nobody heard what was told by ``way`` until now: what is not well is told again."""
    with _locked(path):
        known = _read(path)
        if known.pop(way, None):
            replace_file(path, _Document(known).model_dump_json())


def _ways(settings: Notify, prefect: EventsApi | None) -> dict[Way, _Tell]:
    """How somebody is told, by each way that can be used now."""
    ways: dict[Way, _Tell] = {}
    seconds = settings.timeout_seconds
    if (webhook := settings.webhook) is not None:
        ways["webhook"] = lambda message: post_json(
            "the webhook", webhook.reveal().strip(), message.document(), timeout_seconds=seconds
        )
    if settings.command:
        ways["command"] = lambda message: _run(settings.command, message.document(), seconds)
    if settings.tells_prefect and prefect is not None:
        ways["prefect"] = lambda message: post_events(prefect, _events(message), seconds)
    return ways


def _events(message: _Message) -> Iterator[Event]:
    """One for each change, with the document that a webhook would get if there were no other."""
    status, silent = message.status, message.was_silent
    for change in message.changes:
        document = json.loads(document_of(status, (change,)))
        name = f"{HEALTH_EVENTS}{change.health}"
        yield event_of(name, status.fleet, change.shard, message.at, payload=document)
    if silent is not None:
        document = json.loads(document_of(status, (), was_silent=silent))
        yield event_of(AGAIN_EVENT, status.fleet, None, message.at, payload=document)


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
        lines.append(what_to_do(finding for change in found for finding in change.new or change.findings))
    return [*lines, *(_over(status, change) for change in changes if not change.findings)]


def _found(fleet: str, change: Change) -> str:
    """What is new comes first: whoever has read the rest must not take this for the same once more."""
    new = change.new or change.findings
    subject, worst = _place(fleet, change), new[0]
    if worst.subject != f"shard {change.shard}":
        subject += f": {worst.subject}"
    told = f"{subject}: {'still ' if change.again else ''}{worst.health}: {worst.message}{_others(new)}"
    old = [finding for finding in change.findings if finding not in new]
    return f"{told}; still {old[0].health}: {old[0].message}{_others(old)}" if old else told


def _others(findings: Sequence[Judged]) -> str:
    more = len(findings) - 1
    return f", and {figures.plural(more, 'other finding')}" if more else ""


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
    bad = by_urgency(finding for finding in findings if _ORDER.index(finding.health) >= level)
    was = told.health if told is not None else Health.OK
    shard = subject or None
    if not bad:
        # With a level of "critical" a warning is the end of what was told, too.
        is_over = health is not Health.UNKNOWN
        return Change(shard, was, health, False, (), told.about) if told is not None and is_over else None
    worst = bad[0].health
    new = tuple(finding for finding in bad if told is None or _is_new(finding, told))
    if told is None or worst is not told.health or new:
        return Change(shard, was, worst, False, bad, new=new)
    pause = timedelta(hours=settings.repeat_hours)
    # Told at a time that has not come yet: a clock was set back, and who waited would wait on.
    is_time = abs(now - told.told_at) >= pause
    return Change(shard, was, worst, True, bad) if pause and is_time else None


def _is_new(finding: Judged, told: Told) -> bool:
    """Something else than was told, the same of another server, or worse than all that was told."""
    is_known = finding.code in told.codes and finding.subject in told.about
    return not is_known or _ORDER.index(finding.health) > _ORDER.index(told.health)


def _health_of(status: FleetStatus) -> Health:
    """Of what is of no shard; unknown while nothing can be asked."""
    order = [finding.health for finding in status.findings]
    if status.unreachable is not None:
        order.append(Health.UNKNOWN)
    return max(order, key=_ORDER.index, default=Health.OK)


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
