"""What a verification is given on the command line: how it reads, how fast, and where it goes on."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Literal, TypeAlias

import typer

from cli.sizes import parse_size_option
from drills.reading import page_check, reading_threads
from fleet import figures
from fleet.clock import SystemClock
from fleet.errors import UsageError
from fleet.model import Fleet
from fleet.state_place import user_state
from repository.keys import Keyring
from repository.repository import Repository
from repository.stores.opening import open_store
from repository.verify import Reading
from repository.verify_journal import VerifyJournal
from repository.verify_sample import Sample, SampleState

_SLOWEST = 1_000_000

Mode: TypeAlias = Literal["quick", "full", "sample"]

Quick: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--quick",
        help="Read no data: keys, manifests and chains; packs by a list with their sizes, archived segments "
        "by their names alone: one that is gone is seen, one that was cut or changed is not.",
    ),
]
Full: TypeAlias = Annotated[
    bool, typer.Option("--full", help="Read everything. This is what is done anyway.")
]
SampleOf: TypeAlias = Annotated[
    str | None,
    typer.Option("--sample", metavar="P%", help="Read this part of all data, each time another one."),
]
Seed: TypeAlias = Annotated[
    str | None, typer.Option("--seed", metavar="SEED", help="Read the very sample that a run told.")
]
Rate: TypeAlias = Annotated[
    str | None, typer.Option("--rate", metavar="SIZE/s", help="Read no faster: 200MB/s; at least 1MB/s.")
]
Restart: TypeAlias = Annotated[
    bool, typer.Option("--restart", help="Begin anew where an earlier run was stopped.")
]


@dataclass(frozen=True, slots=True)
class How:
    """How it is verified. ``sample`` is above 0 and up to 100 percent, or None."""

    mode: Mode
    sample: float | None
    seed: str | None
    rate: int | None
    restart: bool

    @classmethod
    def of(  # noqa: PLR0917 - the options as they come
        cls, quick: bool, full: bool, sample: str | None, seed: str | None, rate: str | None, restart: bool
    ) -> How:
        """Raises ``UsageError`` for what cannot go together."""
        if quick + full + (sample is not None) > 1:
            raise UsageError("more than one of --quick, --full and --sample is given", hint="Give one.")
        if seed is not None and sample is None:
            raise UsageError("--seed is given without --sample", hint="Give --sample, too: --sample 5%.")
        percent = None if sample is None else _percent(sample)
        if percent is not None:
            Sample.begin(percent, seed)
        speed = None if rate is None else parse_size_option(rate.strip().removesuffix("/s"), "--rate")
        if speed is not None and speed < _SLOWEST:
            raise UsageError(
                f"--rate {rate} is {figures.size(speed)} a second, and less than 1 MB/s comes to no end",
                hint="Give it with its unit: --rate 5MB/s; or leave it out.",
            )
        mode: Mode = "quick" if quick else "full" if percent is None else "sample"
        return cls(mode, percent, seed, speed, restart)


def open_for_verifying(fleet: Fleet, how: How) -> Repository:
    """The fleet's repository, with its keys, at the rate that was asked for; the config's if that is less."""
    config = fleet.repository
    if how.rate is not None:
        rate = min(how.rate, config.throttle_bytes_per_second or how.rate)
        config = config.model_copy(update={"throttle_bytes_per_second": rate})
    return Repository.open(open_store(config), Keyring.from_config(fleet.keys))


@contextmanager
def reading_of(fleet: Fleet, repository: Repository, how: How, scope: Sequence[str]) -> Generator[Reading]:
    """How the backups named by ``scope`` are read; its journal is kept unless the block comes to its end."""
    directory, place = user_state() / "verify", repository.store.describe()
    # A mirror has the same id, and what is sound there says nothing of this place.
    told = sha256(place.encode()).hexdigest()[:8]
    name = "-".join((repository.repository_id[:16], told, *scope))
    sample, state = None, SampleState(directory / f"{name}.sample.json")
    if how.sample is not None:
        sample = Sample.begin(how.sample, how.seed) if how.seed else state.begin(how.sample)
    if how.mode == "quick":
        yield Reading(fleet.parallelism.download_threads)
        return
    journal = VerifyJournal.open(
        directory / f"{name}.{how.mode}.jsonl",
        repository.repository_id,
        f"{place} {name} {how.mode} {sample or ''}",
        SystemClock(),
        restart=how.restart,
    )
    finished = False
    try:
        yield Reading(reading_threads(fleet, how.rate), page_check, sample, journal)
        finished = True
    finally:
        journal.close(finished=finished)
    if sample is not None and not how.seed:
        state.finish(sample)


def _percent(text: str) -> float:
    try:
        return float(text.strip().removesuffix("%"))
    except ValueError:
        raise UsageError(f"--sample: {text!r} is no percentage", hint="Write it like 5% or 0.5%.") from None
