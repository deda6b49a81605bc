"""File names from the wire, made safe: whatever a donor says, nothing leaves the data directory.

The rules are narrow on purpose. A name that MySQL would not write itself is a violation, not a guess.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from fleet.errors import ProtocolViolation
from wire.clone.pages import NO_SPACE, SYSTEM_SPACE, is_general, is_undo

BUFFER_POOL_FILE = "ib_buffer_pool"
LARGEST_NAME = 1024

_RESERVED = {"auto.cnf", "my.cnf", "mysqld-auto.cnf", "backup-my.cnf", BUFFER_POOL_FILE}
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


def is_external(name: bytes) -> bool:
    """True for the absolute path of a file that the donor keeps outside of its data directory."""
    return name.startswith(b"/")


def safe_name(name: bytes, space_id: int) -> str:
    """The relative name of a donor's file, ``db/t.ibd`` for ``./db/t.ibd``.

    Raises ProtocolViolation for what is not the name of such a tablespace.
    """
    text = _text(name)
    parts = text.removeprefix("./").split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise ProtocolViolation(f"the donor's file name {text!r} is not a plain relative path")
    if any(_is_ours(part) for part in parts[:-1]) or _is_hidden(parts):
        raise ProtocolViolation(f"the donor's file name {text!r} lies where no tablespace can be")
    expected = _expected(parts, space_id)
    if expected is not None:
        raise ProtocolViolation(
            f"the donor names the file of space {space_id} {text!r}, which is not {expected}"
        )
    return "/".join(parts)


def mapped_name(name: bytes, space_id: int, fsp_flags: int) -> str:
    """Where an external tablespace goes in the data directory, so that the server finds it by its scan.

    A table's own file keeps its schema's directory, a general tablespace goes to the top.
    Raises ProtocolViolation as ``safe_name`` does.
    """
    path = PurePosixPath(_text(name))
    if is_general(fsp_flags):
        return safe_name(path.name.encode(), space_id)
    if len(path.parts) < 3:
        raise ProtocolViolation(f"the donor's table file {str(path)!r} has no schema directory")
    return safe_name("/".join(path.parts[-2:]).encode(), space_id)


def _text(name: bytes) -> str:
    if len(name) > LARGEST_NAME:
        raise ProtocolViolation(f"the donor sent a file name of {len(name)} bytes")
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        raise ProtocolViolation(f"the donor's file name {name!r} is not UTF-8") from None
    if not text or _CONTROL.search(text):
        raise ProtocolViolation(f"the donor's file name {text!r} is empty or has characters that no name has")
    return text


def _is_ours(directory: str) -> bool:
    """``#innodb_redo`` and its like: made by the server or by us, never by a data file's name."""
    return directory.startswith("#")


def _is_hidden(parts: list[str]) -> bool:
    return any(part.startswith(".") for part in parts)


def _expected(parts: list[str], space_id: int) -> str | None:
    """What the name should have been, or ``None`` if it is right."""
    alone, last = len(parts) == 1, parts[-1]
    if space_id == NO_SPACE:
        return None if parts == [BUFFER_POOL_FILE] else BUFFER_POOL_FILE
    if space_id == SYSTEM_SPACE:
        fine = alone and last not in _RESERVED and not last.startswith("#")
        return None if fine else "the name of a system tablespace's file"
    if is_undo(space_id):
        fine = alone and (last.endswith(".ibu") or bool(re.fullmatch(r"undo_\d+", last)))
        return None if fine else "undo_<number> or *.ibu"
    fine = last.endswith(".ibd") and not (alone and last.startswith("#"))
    return None if fine else "*.ibd"
