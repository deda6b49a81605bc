"""What every section of the config file has in common, and the types of its fields.

A section is frozen, refuses unknown keys, and is strict where a lax reading would hide a mistake: ``"3306"``
is no port and ``1`` is no ``true``. Paths that are relative in a file are relative to that file's directory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo
from pydantic_core import PydanticCustomError

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
"""Names that become parts of object names; see section 2 of the repository format.

pydantic's ``$`` is the end of the text and nothing before it.
"""


class Section(BaseModel):
    """One table of the config file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def mistake(text: str) -> PydanticCustomError:
    """The error that a validator raises; people see ``text`` behind the key path and a colon."""
    # The text is passed as context and not as template: braces in it must stay braces.
    return PydanticCustomError("mistake", "{text}", {"text": text})


def mistakes(found: Iterable[tuple[str, str]]) -> PydanticCustomError:
    """Several mistakes as one error, each a key path below the section and a text."""
    listed = list(found)
    text = "; ".join(f"{path}: {text}" for path, text in listed)
    return PydanticCustomError("mistakes", "{text}", {"text": text, "mistakes": listed})


def directory_of(info: ValidationInfo) -> Path | None:
    """The directory of the config file that is being read, None when a model is made in memory."""
    context = cast(Mapping[str, Any] | None, info.context)
    return context["directory"] if context else None


def _resolved(path: Path, info: ValidationInfo) -> Path:
    if str(path) in {"", "."}:
        raise mistake("is an empty path")
    try:
        path = path.expanduser()
    except RuntimeError:
        raise mistake(f"has no home directory for {path}") from None
    directory = directory_of(info)
    return directory / path if directory else path


Name = Annotated[str, Field(pattern=NAME_PATTERN)]
FilePath = Annotated[Path, AfterValidator(_resolved)]
Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=0)]
Positive = Annotated[int, Field(strict=True, ge=1)]
Seconds = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
