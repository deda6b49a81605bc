"""What a turn is, object by object: the highest number counts (FORMAT.md, section 18)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from pydantic import BaseModel, ConfigDict, Field

from fleet.errors import FormatUnsupported, ObjectDamaged, ObjectMissing
from fleet.process import is_gone
from repository import layout
from repository.manifest import UtcTime, parse_document
from repository.seal import FORMAT_NUMBER
from repository.stores.interface import ObjectInfo, Store

LONGEST_SECONDS = 900
"""No turn is in force for longer after it was renewed, whatever it says."""

_LONGEST_BYTES = 1 << 16
_READ_AGAIN = 5
# Stores tell whole seconds, cut off.
_ROUNDING = timedelta(seconds=1)


class TurnDocument(BaseModel):
    """What an object of a turn says."""

    model_config = ConfigDict(frozen=True)

    format: int = Field(default=FORMAT_NUMBER, description="Number of the format.")
    token: str = Field(pattern=r"^[0-9a-f]{16}$", description="Whose turn it is; another one each time.")
    told_by: str = Field(max_length=300, pattern=r"^[ -~]*$", description="Host and process id.")
    process: str | None = Field(
        default=None, max_length=200, description="Which process of which boot; of no use on another machine."
    )
    since: UtcTime | None = Field(
        default=None, description="The time of the first object of this token; null in that one."
    )
    ttl_seconds: int = Field(ge=1, description="How long it is in force after its object's time.")
    released: bool = Field(default=False, description="It is over.")


@dataclass(frozen=True, slots=True)
class TurnTerms:
    """What there is one turn of: ``name`` in ``scope``, as a shard, or a place of a region."""

    scope: str
    name: str

    def __str__(self) -> str:
        return f"{self.scope} {self.name}"


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn as it was seen; times are UTC by the store's clock.

    ``token`` is None of one that cannot be read; it is in force as long as any may be.
    """

    terms: TurnTerms
    number: int
    token: str | None
    told_by: str
    since: datetime
    put_at: datetime
    until: datetime
    is_released: bool
    process: str | None = None

    @property
    def is_let_go(self) -> bool:
        """Is it over whatever time it is? Who died on this very machine has no turn any more."""
        return self.is_released or is_gone(self.process)

    def is_in_force(self, store_now: datetime) -> bool:
        """Has somebody this turn?"""
        return store_now < self.until and not self.is_let_go

    def __str__(self) -> str:
        return f"{self.terms} is taken {self.whose}"

    @property
    def whose(self) -> str:
        """By whom, and since when."""
        return f"by {self.told_by} since {self.since:%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True, slots=True)
class TurnObject:
    """One number of a turn, as the store lists it."""

    terms: TurnTerms
    number: int
    info: ObjectInfo

    def is_old(self, store_now: datetime) -> bool:
        """Is it over, whatever it says?"""
        return store_now >= self.longest()

    def longest(self) -> datetime:
        return self.info.modified_at + timedelta(seconds=LONGEST_SECONDS)


def objects_by_turn(store: Store, prefix: str) -> Iterator[list[TurnObject]]:
    """The objects of one turn after the other, by number. Raises what the store raises."""
    found: list[TurnObject] = []
    for info in store.list(prefix):
        parsed = layout.parse_turn(info.key)
        if parsed is not None:
            found.append(TurnObject(TurnTerms(*parsed[:2]), parsed[2], info))
    found.sort(key=lambda each: (each.terms.scope, each.terms.name, each.number))
    for _, same in groupby(found, key=lambda each: each.terms):
        yield list(same)


def newest_turn(store: Store, terms: TurnTerms) -> Turn | None:
    """The turn by its highest number, whether in force or not; None if nobody ever had it.

    Costs a list and a get. Raises what the store raises.
    """
    last: TurnObject | None = None
    for _ in range(_READ_AGAIN):
        objects = next(objects_by_turn(store, layout.turns(terms.scope, terms.name)), None)
        if objects is None:
            return None
        last = objects[-1]
        try:
            return read_turn(store, last)
        except ObjectMissing:
            # Renewed meanwhile.
            continue
    assert last is not None
    return _unreadable(last)


def read_turn(store: Store, last: TurnObject) -> Turn:
    """What ``last`` says. Raises ``ObjectMissing`` if it is gone, and what the store raises."""
    key, size, put_at = last.info
    if size > _LONGEST_BYTES:
        return _unreadable(last)
    try:
        said = parse_document(TurnDocument, key, store.get(key))
    except (ObjectDamaged, FormatUnsupported):
        return _unreadable(last)
    lasts = timedelta(seconds=min(said.ttl_seconds, LONGEST_SECONDS)) + _ROUNDING
    return Turn(
        last.terms,
        last.number,
        said.token,
        said.told_by,
        said.since or put_at,
        put_at,
        put_at + lasts,
        said.released,
        said.process,
    )


def _unreadable(last: TurnObject) -> Turn:
    put_at = last.info.modified_at
    return Turn(
        last.terms, last.number, None, "somebody unknown", put_at, put_at, last.longest(), is_released=False
    )
