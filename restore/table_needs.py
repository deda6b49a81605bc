"""What the dictionary of a backup adds to the tables that were asked for. Pure.

Partitions, general tablespaces and the hidden tables of a full-text index are known by the dictionary alone.
A foreign key that cascades makes a child's rows change without a word in the child's log (before 9.6, and
after it where the storage engine does it): then its parents are followed too, all the way up, and keys work
as they did. Otherwise keys are not checked, and parents are not needed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from fleet.errors import NotFound, TargetUnreachable
from fleet.table_name import TableName
from wire.dictionary import ForeignKey, InnodbTable, KnownTable

_PARTITION = re.compile(r"#p#.*", re.IGNORECASE)
_FULL_TEXT = re.compile(r".*/fts_([0-9a-f]{16})_.*", re.IGNORECASE)


@dataclass(frozen=True)
class Dictionary:
    """What a server said: see ``wire.dictionary``. ``present``: tablespaces that have a file."""

    tables: Sequence[KnownTable]
    innodb: Sequence[InnodbTable]
    keys: Sequence[ForeignKey]
    present: frozenset[int]


class Needs:
    """What ``followed`` tables need. ``key`` makes names equal that are the same table's."""

    def __init__(
        self, dictionary: Dictionary, followed: Iterable[str], key: Callable[[str], str], *, folds: bool
    ) -> None:
        self._dictionary = dictionary
        self._key = key
        self._folds = folds
        self.followed = frozenset(followed)

    @property
    def spaces(self) -> frozenset[int]:
        """The tablespaces in which the followed tables lie, as far as they are there."""
        return frozenset(each.space for each in (*self._own, *self._hidden))

    @cached_property
    def _own(self) -> tuple[InnodbTable, ...]:
        """The followed tables and their partitions."""
        names = [each.name for each in self._dictionary.tables if self._is_followed(each.name)]
        pattern = re.compile(
            "|".join(name.file_pattern for name in names) or "(?!)",
            re.IGNORECASE if self._folds else re.NOFLAG,
        )
        return tuple(
            each for each in self._dictionary.innodb if pattern.fullmatch(_PARTITION.sub("", each.name))
        )

    @cached_property
    def _hidden(self) -> tuple[InnodbTable, ...]:
        """The tables that hold their full-text indexes."""
        ids = {each.table_id for each in self._own}
        return tuple(
            each
            for each in self._dictionary.innodb
            if (match := _FULL_TEXT.fullmatch(each.name)) and int(match[1], 16) in ids
        )

    @property
    def missing_spaces(self) -> frozenset[int]:
        """Those of them that have no file."""
        return self.spaces - self._dictionary.present

    @property
    def parents(self) -> frozenset[TableName]:
        """Tables that must be followed too: none, unless a key above cascades."""
        above = self._above(self.followed, only_cascading=True)
        if not above:
            return frozenset()
        reached = self._above(self.followed | {self._key(str(each)) for each in above}, only_cascading=False)
        return frozenset(each for each in reached | above if not self._is_followed(each))

    @property
    def cascades(self) -> bool:
        """Do changes come down to the followed tables through foreign keys?"""
        return bool(self._above(self.followed, only_cascading=True))

    @property
    def unchecked(self) -> tuple[TableName, ...]:
        """Tables that followed ones refer to, and which are not there to be checked."""
        found = {
            each.parent
            for each in self._dictionary.keys
            if self._is_followed(each.child) and not self._is_followed(each.parent)
        }
        return tuple(sorted(found))

    @property
    def relatives(self) -> tuple[TableName, ...]:
        """Tables that are not followed, and that a foreign key joins to one that is."""
        found: set[TableName] = set()
        for each in self._dictionary.keys:
            child, parent = self._is_followed(each.child), self._is_followed(each.parent)
            if child != parent:
                found.add(each.parent if child else each.child)
        return tuple(sorted(found))

    def check(self, asked: Iterable[TableName], makes: Callable[[TableName], bool], shard: str) -> None:
        """Raise ``NotFound`` for a table that is not there and that no statement makes, ``TargetUnreachable``
        for what is no table of InnoDB.
        """
        known = {self._key(str(each.name)): each for each in self._dictionary.tables}
        for table in asked:
            found = known.get(self._key(str(table)))
            if found is None and not makes(table):
                close = difflib.get_close_matches(str(table), [str(each.name) for each in known.values()], 3)
                hint = (
                    f"Did you mean {' or '.join(close)}?" if close else "`backstay find` lists what changed."
                )
                raise NotFound(f"shard {shard} has no table {table} at the point", hint=hint)
            if found is not None and found.engine != "InnoDB" and not makes(table):
                what = "a view" if found.engine is None else f"a table of {found.engine}"
                raise TargetUnreachable(
                    f"{table} is {what}, and backups hold the rows of InnoDB's tables alone",
                    hint="Name the tables that hold the rows.",
                )

    def check_portable(self, asked: Iterable[TableName]) -> None:
        """Raise ``TargetUnreachable`` for a table of which a server cannot export the files."""
        hint = "Take it as SQL instead: --sql FILE."
        for table in asked:
            alone = Needs(self._dictionary, {self._key(str(table))}, self._key, folds=self._folds)
            if any(each.is_shared for each in alone._own):
                raise TargetUnreachable(
                    f"{table} lies in a tablespace with others, and only one of its own can be exported",
                    hint=hint,
                )
            if alone._hidden:
                raise TargetUnreachable(f"{table} has a full-text index, which no server imports", hint=hint)

    def usable_besides(self, asked: Iterable[TableName]) -> tuple[TableName, ...]:
        """Tables of users that have a file and were not asked for."""
        wanted = {self._key(str(each)) for each in asked}
        stems = {
            self._folded(_PARTITION.sub("", each.name))
            for each in self._dictionary.innodb
            if each.space in self._dictionary.present
        }
        others = (each.name for each in self._dictionary.tables if self._key(str(each.name)) not in wanted)
        return tuple(name for name in others if self._is_among(name, stems))

    def _is_among(self, table: TableName, stems: frozenset[str] | set[str]) -> bool:
        pattern = self._folded(table.file_pattern)
        if str(table).isascii():
            # Then there is one way to write it, and the pattern is that.
            return pattern in stems
        return any(re.fullmatch(pattern, stem) for stem in stems)

    def _folded(self, text: str) -> str:
        return text.lower() if self._folds else text

    def _is_followed(self, table: TableName) -> bool:
        return self._key(str(table)) in self.followed

    def _above(self, names: frozenset[str], *, only_cascading: bool) -> frozenset[TableName]:
        """Parents, their parents, and so on."""
        found: set[TableName] = set()
        reached = set(names)
        while True:
            more = {
                each.parent
                for each in self._dictionary.keys
                if self._key(str(each.child)) in reached and (each.cascades or not only_cascading)
            } - found
            if not more:
                return frozenset(found)
            found |= more
            reached |= {self._key(str(each)) for each in more}
