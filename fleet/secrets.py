"""Secrets: where they are, how they are read, and what is never shown.

A secret is read when it is needed and not when the config is loaded, so ``backstay config show`` works on a
machine that holds no secrets. No error here shows what was read, nor what a command wrote: programs that
fetch secrets like to print them.

Permissions. A secret file that is open to everybody is refused. A key file, which opens every backup, is also
refused when it is open to its group, unless root owns it and the group may only read: then an administrator
chose that group. (This is libpq's rule for client keys; it suits secrets that an orchestrator mounts.)
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, SecretStr, ValidationInfo, field_validator, model_validator

from fleet.errors import ConfigError, KeyUnusable, ToolError
from fleet.section import FilePath, Section, directory_of, mistake

LARGEST_SECRET_BYTES = 64 * 1024

_KEY_HINT = "Put the key back from the copy you keep elsewhere; nothing else opens its backups."

SOURCES = ("file", "env", "command", "inline")


class Secret(Section):
    """Where one secret is found: one of ``file``, ``env``, ``command`` and, where allowed, ``inline``."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [source]} for source in SOURCES]})

    file: FilePath | None = Field(
        default=None, description="File whose content is the secret; one newline at its end is left out."
    )
    env: str | None = Field(
        default=None, min_length=1, description="Environment variable that holds the secret."
    )
    command: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Program and arguments, run without a shell; what it prints is the secret.",
    )
    timeout_seconds: Annotated[float, Field(strict=True, gt=0, le=600)] = Field(
        default=30.0, description="How long `command` may take."
    )
    inline: SecretStr | None = Field(
        default=None, description="The secret itself. Refused unless `allow_inline_secrets = true`."
    )

    @model_validator(mode="before")
    @classmethod
    def _is_a_table(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise mistake("must be a table with one of file, env and command, not a text")
        return value

    @field_validator("command")
    @classmethod
    def _finds_its_program(
        cls, command: tuple[str, ...] | None, info: ValidationInfo
    ) -> tuple[str, ...] | None:
        if command is None:
            return None
        program, *arguments = command
        if not program:
            raise mistake("names no program")
        directory = directory_of(info)
        # As in a shell, a name without a slash is looked up in PATH.
        if directory and "/" in program:
            program = str(directory / program)
        return (program, *arguments)

    @model_validator(mode="after")
    def _has_one_source(self) -> Secret:
        given = [source for source in SOURCES if getattr(self, source) is not None]
        if len(given) != 1:
            raise mistake(f"needs exactly one of file, env and command, has {' and '.join(given) or 'none'}")
        if "timeout_seconds" in self.model_fields_set and self.command is None:
            raise mistake("has timeout_seconds, which is for a command only")
        return self

    def reveal(self) -> str:
        """Read the secret. Raises ConfigError, without a trace of what was read."""
        if self.inline is not None:
            return _not_empty(self.inline.get_secret_value(), "inline secret")
        if self.env is not None:
            return _not_empty(os.environ.get(self.env, ""), f"environment variable {self.env}")
        if self.file is not None:
            return _text(_content(self.file, _refuse_if_public), f"secret file {self.file}")
        assert self.command is not None
        return _text(_output(self.command, self.timeout_seconds), f"what {self.command[0]} printed")

    def describe(self) -> dict[str, Any]:
        """Where the secret is, for people; arguments of a command may be secrets and are left out."""
        if self.inline is not None:
            return {"inline": "(hidden)"}
        if self.command is not None:
            program, *arguments = self.command
            shown = [program, "(hidden)"] if arguments else [program]
            return {"command": shown, "timeout_seconds": self.timeout_seconds}
        return {"env": self.env} if self.env is not None else {"file": str(self.file)}

    def __repr__(self) -> str:
        return f"Secret({self.describe()})"

    __str__ = __repr__


def read_key_file(path: Path) -> bytes:
    """The raw content of a file that holds a key.

    Raises KeyUnusable if it is missing, empty or cannot be read, ConfigError if others may read it.
    """
    content = _content(path, _refuse_if_shared, unreadable=KeyUnusable)
    if not content:
        raise KeyUnusable(f"key file {path} is empty", hint=_KEY_HINT)
    return content


def read_public_file(path: Path) -> bytes:
    """The raw content of a file that anybody may read. Raises KeyUnusable if it cannot be read."""
    return _content(path, _accept, unreadable=KeyUnusable)


def _content(
    path: Path,
    check: Callable[[Path, os.stat_result], None],
    *,
    unreadable: type[ToolError] = ConfigError,
) -> bytes:
    try:
        # The permissions are those of the file that was opened, whatever the name points to later.
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            check(path, status)
            content = file.read(LARGEST_SECRET_BYTES + 1)
    except OSError as error:
        hint = _KEY_HINT if unreadable is KeyUnusable else None
        raise unreadable(f"cannot read {path}: {error.strerror}", hint=hint) from None
    if len(content) > LARGEST_SECRET_BYTES:
        raise unreadable(f"{path} is larger than {LARGEST_SECRET_BYTES} bytes, too large for a secret")
    return content


def _accept(_path: Path, _status: os.stat_result) -> None: ...


def _refuse_if_public(path: Path, status: os.stat_result) -> None:
    if status.st_mode & stat.S_IRWXO:
        raise ConfigError(
            f"secret file {path} is open to everybody (mode {stat.S_IMODE(status.st_mode):04o})",
            hint=f"Close it: chmod o= {path}",
        )


def _refuse_if_shared(path: Path, status: os.stat_result) -> None:
    granted_by_root = stat.S_IRGRP if status.st_uid == 0 else 0
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) & ~granted_by_root:
        raise ConfigError(
            f"key file {path} is open to others than its owner (mode {stat.S_IMODE(status.st_mode):04o})",
            hint=f"Close it: chmod 600 {path}",
        )


def _output(command: tuple[str, ...], timeout_seconds: float) -> bytes:
    program = command[0]
    hint = f"Run {program} by hand to see why; what it wrote is not shown here, it may hold the secret."
    try:
        # A session of its own, so that children that outlive the program can be ended with it.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise ConfigError(f"cannot run {program} for a secret: {error.strerror}") from None
    output = b""
    try:
        with suppress(subprocess.TimeoutExpired):
            output, _ = process.communicate(timeout=timeout_seconds)
    finally:
        ended = process.returncode is not None
        if not ended:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
    if not ended:
        raise ConfigError(f"{program} gave no secret within {timeout_seconds:g} seconds", hint=hint)
    if process.returncode != 0:
        raise ConfigError(f"{program} gave no secret and ended with status {process.returncode}", hint=hint)
    return output


def _text(content: bytes, origin: str) -> str:
    text: str | None = None
    # What is raised here must not carry the bytes, as an exception raised inside an `except` would.
    with suppress(UnicodeDecodeError):
        text = content.decode()
    if text is None:
        raise ConfigError(f"{origin} is not UTF-8 text")
    return _not_empty(text.removesuffix("\n").removesuffix("\r"), origin)


def _not_empty(text: str, origin: str) -> str:
    if not text:
        raise ConfigError(f"{origin} is empty or not set")
    return text
