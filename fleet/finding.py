"""What ``check`` and preflight find: a judgement apart from its cure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is: ``FAIL`` stops a backup, ``WARN`` does not."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """``subject`` is what was looked at (``server s1-b``), ``message`` the fact, ``hint`` the way out."""

    level: Level
    subject: str
    message: str
    hint: str | None = None


def failures(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Those that stop a backup."""
    return tuple(finding for finding in findings if finding.level is Level.FAIL)
