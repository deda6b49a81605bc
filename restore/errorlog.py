"""What a mysqld's error log says about why it ended. Pure."""

from __future__ import annotations

import re

# Codes of lines that go before the one that tells something: "Operating system error number 2", "The error
# means that ...", "If you are installing InnoDB ..." and "Plugin initialization aborted".
_PREAMBLE = frozenset({"MY-012592", "MY-012593", "MY-012594", "MY-012595", "MY-012596"})

_LINE = re.compile(r"\[ERROR\]\s*(?:\[(MY-\d+)\]\s*)?(?:\[(\w+)\]\s*)?(.*)")
_SIGNAL = re.compile(r"mysqld got (?:signal|exception).*")
_LONGEST = 300


def first_error(log: str) -> str | None:
    """The first error of the log that means something, as ``text (MY-012345)``; without any, the first there
    is.
    """
    fallback: str | None = None
    for line in log.splitlines():
        crash = _SIGNAL.search(line)
        if crash:
            return fallback or crash.group(0).rstrip(" ;.")
        found = _LINE.search(line)
        if not found:
            continue
        code, _, text = found.groups()
        told = _told(text, code)
        if code not in _PREAMBLE:
            return told
        fallback = fallback or told
    return fallback


def last_line(log: str) -> str | None:
    """The last line that is not empty, without its time stamp: how far a server came that said no error."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    if not lines:
        return None
    return re.sub(r"^\S+Z \d+ ", "", lines[-1])[:_LONGEST]


def _told(text: str, code: str | None) -> str:
    shortened = text.strip().rstrip(".")[:_LONGEST]
    return f"{shortened} ({code})" if code else shortened
