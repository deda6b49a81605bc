"""``backstay keys list``, ``add`` and ``generate``: which keys there are, and how one comes to be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType

from cli.configured import open_fleet
from cli.opening import open_repository
from cli.render import render_text, show
from cli.tables import facts, grid, lines
from fleet.clock import SystemClock
from fleet.figures import plural
from fleet.model import Fleet
from repository.introduction import Introduced, introduce_key
from repository.key_pair import create_pair
from repository.key_places import Shut
from repository.key_survey import KeySeen, KeysSeen, survey_keys
from repository.keys import Keyring
from repository.repository import Repository
from repository.stores.opening import open_store

_SHOWN = 5
_ROLES = {
    Introduced.NEW: "is known now; it opens what it wraps from here on",
    Introduced.KNOWN: "was known already",
    Introduced.TAKEN_BACK: "is no longer being retired",
}


@dataclass(frozen=True, slots=True)
class KeyAdded:
    """``outcome``: ``new``, ``known`` or ``taken back``."""

    key_id: str
    outcome: str


@dataclass(frozen=True, slots=True)
class KeysAdded:
    """What became of each key."""

    keys: tuple[KeyAdded, ...]


@dataclass(frozen=True, slots=True)
class PairGenerated:
    """The files of a new pair."""

    private_key: Path
    public_key: Path


def list_keys(context: typer.Context) -> None:
    """List the keys, what each opens, and what none of them opens.

    It goes by who wrapped what, and opens nothing: `backstay check` tries every key once, `backstay keys
    rotate --dry-run` every wrapped key.
    """
    fleet = open_fleet(context)
    show(context, survey_keys(look_at_repository(fleet), [key.id for key in fleet.keys], shards_of(fleet)))


def add_keys(
    context: typer.Context,
    keys: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY...]", help="Keys of the configuration. [default: all]"),
    ] = None,
) -> None:
    """Make keys of the configuration known to the repository.

    A new key opens nothing until it wraps something: put it first in the configuration for new backups, and
    run `backstay keys rotate` for old ones. For a key that is being retired this takes the retirement back;
    do so only while no `backstay keys retire` runs.
    """
    fleet = open_fleet(context)
    keyring = Keyring.from_config(fleet.keys)
    repository = look_at_repository(fleet)
    added = [
        KeyAdded(each, introduce_key(repository, keyring, each, SystemClock(), shards_of(fleet)).value)
        for each in dict.fromkeys(keys or [key.id for key in fleet.keys])
    ]
    show(context, KeysAdded(tuple(added)))


def generate_pair(
    context: typer.Context,
    private_key: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write the private half.")],
) -> None:
    """Make a pair of keys: one half writes backups, the other reads them.

    The private half goes into FILE, the public one into FILE.pub. With the public half alone a machine writes
    backups and reads none. The files are PEM, as openssl writes
    them, and are never written over others. Neither a configuration nor a repository is needed.
    """
    public = private_key.with_name(private_key.name + ".pub")
    create_pair(private_key, public)
    show(context, PairGenerated(private_key, public))


def look_at_repository(fleet: Fleet) -> Repository:
    """The repository, also where no key can be used."""
    return Repository.look_at(open_store(fleet.repository), Keyring.from_config(fleet.keys))


def open_both(context: typer.Context) -> tuple[Fleet, Repository]:
    """The fleet, and its repository opened by a key."""
    fleet = open_fleet(context)
    return fleet, open_repository(fleet)


def shards_of(fleet: Fleet) -> list[str]:
    return [shard.name for shard in fleet.shards]


def told_shut(shut: tuple[Shut, ...]) -> Iterator[RenderableType]:
    """The places that stay shut, below the reason that they share; a few of each."""
    reasons: dict[str, list[str]] = {}
    for each in shut:
        reasons.setdefault(each.reason, []).append(str(each.place))
    for reason, places in list(reasons.items())[:_SHOWN]:
        yield f"  {reason}:"
        yield from (f"    {place}" for place in places[:_SHOWN])
        if len(places) > _SHOWN:
            yield f"    and {len(places) - _SHOWN:,} more; --json names them all"
    if len(reasons) > _SHOWN:
        yield f"  and {len(reasons) - _SHOWN:,} more reasons; --json names them all"


@render_text.register
def _(seen: KeysSeen) -> RenderableType:
    parts: list[RenderableType] = [grid(_row(key) for key in seen.keys)]
    for key in seen.keys:
        if key.problem:
            parts += ["", f"{key.key_id}: {key.problem}"]
    if seen.lost:
        parts += ["", f"No key of the configuration opens {_count_shut(seen.lost)}:", *told_shut(seen.lost)]
    return lines(*parts)


def _row(key: KeySeen) -> tuple[str, str, str, str]:
    role = "first, " if key.primary else ""
    known = "" if key.known else ", unknown to the repository"
    opens = f"{plural(key.backups, 'backup')}, {plural(key.epochs, 'epoch')}"
    alone = key.only_backups + key.only_epochs
    only = f"; {alone:,} by it alone" if alone else ""
    return key.key_id, key.provider or "-", f"{role}{key.state}{known}", f"{opens}{only}"


def _count_shut(shut: tuple[Shut, ...]) -> str:
    backups = sum(each.epoch is None for each in shut)
    counts = [(backups, "backup"), (len(shut) - backups, "epoch")]
    return " and ".join(plural(count, noun) for count, noun in counts if count)


@render_text.register
def _(added: KeysAdded) -> RenderableType:
    return lines(*(f"Key {each.key_id} {_ROLES[Introduced(each.outcome)]}." for each in added.keys))


@render_text.register
def _(made: PairGenerated) -> RenderableType:
    rows = [("private_key", str(made.private_key)), ("public_key", str(made.public_key))]
    return lines(
        facts(rows),
        "",
        "The private half opens every backup that the public one seals: keep it, and a",
        "copy, where backups are read, and not where they are written.",
    )
