"""What a verification counts, and what it finds: kept apart from how it reads."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from fleet.errors import FormatUnsupported, KeyUnusable, NotFound, ObjectDamaged, ObjectMissing

DAMAGE = (ObjectMissing, ObjectDamaged, FormatUnsupported, KeyUnusable, NotFound)
"""Errors that say something about what is stored; all others say that it could not be looked at."""

PageCheck = Callable[[memoryview, int, int], Sequence[int]]
"""Which of the whole pages in some data have a wrong checksum, by position in it.

Called with the data, the server's page size (``innodb_page_size``) and the file's physical one, in bytes.
"""


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong: the object's name, and what is wrong with it."""

    name: str
    problem: str


@dataclass(frozen=True)
class VerifyProgress:
    """How far it is, in bytes of stored objects. ``bytes_total`` becomes exact while it goes on."""

    bytes_done: int
    bytes_total: int
    objects_done: int
    damages: int


class Suspect(NamedTuple):
    """A page of the file stage whose checksum is wrong, in a pack that is as it was written."""

    file: int
    page: int
    pack: str


@dataclass
class Tally:
    """What was read so far, or in one step. ``objects`` and bytes are those that were read.

    ``passed_bytes`` counts what was tried as well, so that progress comes to its end.
    """

    objects: int = 0
    stored_bytes: int = 0
    frames: int = 0
    records: int = 0
    pages: int = 0
    passed_bytes: int = 0
    damages: list[Damage] = field(default_factory=list[Damage])
    suspects: list[Suspect] = field(default_factory=list[Suspect])
    lost: dict[str, frozenset[int]] = field(default_factory=dict[str, frozenset[int]])
    """By damaged pack: its frames that a restore cannot read."""

    def add(self, other: Tally) -> None:
        self.objects += other.objects
        self.stored_bytes += other.stored_bytes
        self.frames += other.frames
        self.records += other.records
        self.pages += other.pages
        self.passed_bytes += other.passed_bytes
        self.damages += other.damages
        self.suspects += other.suspects
        self.lost |= other.lost

    @contextmanager
    def noting(self, name: str) -> Generator[None]:
        """Count the object ``name``, and keep its damage instead of raising it."""
        self.objects += 1
        try:
            yield
        except DAMAGE as error:
            self.damages.append(Damage(name, error.message))

    @property
    def is_clean(self) -> bool:
        return not self.damages and not self.suspects

    def figures(self) -> list[int]:
        """What a journal keeps of a clean one."""
        return [self.objects, self.stored_bytes, self.frames, self.records, self.pages, self.passed_bytes]

    @classmethod
    def of(cls, figures: Sequence[int]) -> Tally:
        """What ``figures`` kept."""
        objects, stored_bytes, frames, records, pages, passed_bytes = figures
        return cls(objects, stored_bytes, frames, records, pages, passed_bytes)


def each_once(damages: Iterable[Damage]) -> tuple[Damage, ...]:
    """The first of each object: several index parts name one pack, and several backups one base."""
    found: dict[str, Damage] = {}
    for damage in damages:
        found.setdefault(damage.name, damage)
    return tuple(found.values())
