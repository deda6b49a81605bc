"""``backstay init``: create the repository, its keyring and its rescue files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType

from cli.configured import open_fleet
from cli.render import render_text, show
from cli.tables import facts, lines
from fleet.clock import SystemClock
from fleet.errors import KeyUnusable, UsageError
from fleet.model import Fleet
from repository.bucket_survey import refuse_bucket
from repository.keys import Keyring, create_key_file
from repository.repository import Repository
from repository.stores.opening import open_store

_ADVICE = """\
Keep a copy of every key in another place: without a key nobody can read the
backups. RESCUE.md in the repository tells how to restore with nothing but a
key, a copy of the bucket and Python."""


@dataclass(frozen=True, slots=True)
class RepositoryCreated:
    """``new_key`` is the key file that was made just now, ``None`` when there was none to make."""

    url: str
    repository_id: str
    keys: tuple[str, ...]
    new_key: Path | None


def init(
    context: typer.Context,
    new_key: Annotated[
        Path | None,
        typer.Option(
            "--new-key",
            metavar="FILE",
            help="First make this key file of the configuration; one that is there is kept.",
        ),
    ] = None,
) -> None:
    """Create the repository, its keyring and its rescue files.

    URL and keys are those of the configuration. A place that already holds a repository is left alone; a
    bucket whose lifecycle rules would delete backups, or that cannot lock what lock_days wants locked, is
    refused.
    """
    fleet = open_fleet(context)
    made = new_key is not None and _make_key(fleet, new_key)
    _check_first_key(fleet)
    refuse_bucket(fleet.repository, fleet.retention, SystemClock())
    keyring = Keyring.from_config(fleet.keys)
    repository = Repository.create(open_store(fleet.repository), keyring, SystemClock())
    created = RepositoryCreated(
        url=repository.store.describe(),
        repository_id=repository.repository_id,
        keys=tuple(key.id for key in fleet.keys),
        new_key=new_key if made else None,
    )
    show(context, created)


def _make_key(fleet: Fleet, path: Path) -> bool:
    """Make the key file ``path``; False when it is already there, which is fine."""
    named = {key.file.resolve() for key in fleet.keys if key.file is not None}
    if path.resolve() not in named:
        raise UsageError(
            f"--new-key {path} is not a key file of the configuration",
            hint=f'Name it there first: [[keys]] with id, provider = "file" and file = "{path}".',
        )
    if path.exists():
        return False
    create_key_file(path)
    return True


def _check_first_key(fleet: Fleet) -> None:
    first = fleet.keys[0]
    if first.file is not None and not first.file.exists():
        raise KeyUnusable(
            f"key {first.id}: there is no file {first.file}",
            hint=f"Put the key there, or have one made: backstay init --new-key {first.file}",
        )


@render_text.register
def _(created: RepositoryCreated) -> RenderableType:
    rows = [
        ("repository", created.url),
        ("id", created.repository_id),
        ("readable with", " or ".join(created.keys)),
    ]
    if created.new_key is not None:
        rows.append(("new key", str(created.new_key)))
    return lines("The repository is ready.", "", facts(rows), "", _ADVICE)
