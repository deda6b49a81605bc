"""``backstay.toml``: found, read, checked, and shown without its secrets."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from fleet.errors import ConfigError
from fleet.mistakes import explain
from fleet.model import Fleet, secrets_of
from fleet.secrets import Secret
from fleet.section import Section

ENVIRONMENT_VARIABLE = "BACKSTAY_CONFIG"
DIRECTORY_VARIABLE = "BACKSTAY_CONFIG_DIRECTORY"
"""Where the file that BACKSTAY_CONFIG names was copied from: its relative paths are relative to that."""

PLACES = (Path("backstay.toml"), Path("/etc/backstay/backstay.toml"))

_MOST_MISTAKES_SHOWN = 25
_FIRST_STEPS = (
    "Name one with --config or BACKSTAY_CONFIG; `backstay sandbox up` makes a fleet to try with its config, "
    "`backstay config schema` describes every key."
)


def load(path: Path | None = None) -> Fleet:
    """The fleet of the config file at ``path``, or of the first that ``find`` sees.

    Raises ConfigError that names the file and every mistake in it, each with its key path.
    """
    path = find(path)
    document, mode = _read(path)
    try:
        fleet = Fleet.model_validate(document, context={"directory": _directory_of(path)})
    except ValidationError as error:
        lines = explain(error)
        hint = "`backstay config schema` describes every key."
    else:
        _refuse_inline_secrets_in_public(fleet, path, mode)
        return fleet
    # Raised here and not above: pydantic's error carries the values, and some of them are secrets.
    raise ConfigError(_message(path, lines), hint=hint)


def find(path: Path | None = None, places: Sequence[Path] = PLACES) -> Path:
    """The config file: ``path``, else the one that BACKSTAY_CONFIG names, else the first of ``places``.

    Raises ConfigError if it is not there; a file that was named is never replaced by another.
    """
    named = path or (Path(value) if (value := os.environ.get(ENVIRONMENT_VARIABLE)) else None)
    if named is not None:
        if not _is_there(named):
            origin = "" if path else f", which {ENVIRONMENT_VARIABLE} names"
            raise ConfigError(f"there is no config file {named}{origin}", hint=_FIRST_STEPS)
        return named
    for place in places:
        if _is_there(place):
            return place
    raise ConfigError(f"there is no config file: neither {' nor '.join(map(str, places))}", hint=_FIRST_STEPS)


def _is_there(path: Path) -> bool:
    """False only if it is not; a file that may not be looked at is there, and reading it will say so."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass
    return True


def schema() -> dict[str, Any]:
    """The JSON schema of the config file, with a description of every key."""
    described = Fleet.model_json_schema()
    return (
        {"$schema": "https://json-schema.org/draft/2020-12/schema"} | described | {"title": "backstay.toml"}
    )


def effective(fleet: Fleet) -> dict[str, Any]:
    """Every setting as it counts, defaults filled in, as plain data without secrets; unset ones are None."""
    return cast(dict[str, Any], _shown(fleet))


def _shown(value: object) -> object:
    if isinstance(value, Secret):
        return value.describe()
    if isinstance(value, Section):
        return {field: _shown(getattr(value, field)) for field in type(value).model_fields}
    if isinstance(value, tuple):
        return [_shown(item) for item in cast(tuple[object, ...], value)]
    return str(value) if isinstance(value, Path) else value


def _directory_of(path: Path) -> Path:
    origin = os.environ.get(DIRECTORY_VARIABLE)
    if origin and os.environ.get(ENVIRONMENT_VARIABLE) == str(path):
        return Path(origin)
    return path.absolute().parent


def _read(path: Path) -> tuple[dict[str, Any], int]:
    """The document and the permissions of the file."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file), os.fstat(file.fileno()).st_mode
    except OSError as error:
        raise ConfigError(f"cannot read the config file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: not UTF-8 text, byte {error.start} is wrong", hint="TOML is UTF-8."
        ) from None
    except tomllib.TOMLDecodeError as error:
        where = re.fullmatch(r"(?P<what>.*) \(at (?P<place>[^)]*)\)", str(error), re.DOTALL)
        what, place = (where["what"], f", {where['place']}") if where else (str(error), "")
        raise ConfigError(
            f"{path}{place}: {what[:1].lower()}{what[1:]}",
            hint="A text is put in quotes, a list in [ ], and each table has its own [header].",
        ) from None


def _message(path: Path, lines: Sequence[str]) -> str:
    if len(lines) == 1:
        return f"{path}: {lines[0]}"
    shown = [f"  {line}" for line in lines[:_MOST_MISTAKES_SHOWN]]
    if len(lines) > len(shown):
        shown.append(f"  and {len(lines) - len(shown)} more")
    return "\n".join([f"{path}: {len(lines)} mistakes", *shown])


def _refuse_inline_secrets_in_public(fleet: Fleet, path: Path, mode: int) -> None:
    if mode & stat.S_IRWXO and any(secret.inline is not None for _, secret in secrets_of(fleet)):
        raise ConfigError(
            f"{path} holds secrets and is open to everybody (mode {stat.S_IMODE(mode):04o})",
            hint=f"Close it: chmod o= {path}",
        )
