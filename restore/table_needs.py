"""What the dictionary of a backup adds to the tables that were asked for. Pure.

Partitions, general tablespaces and the hidden tables of a full-text index are known by the dictionary alone.
A foreign key that cascades makes a child's rows change without a word in the child's log (before 9.6, and
after it where the storage engine does it): then its parents are followed too, all the way up, and keys work
as they did. Otherwise keys are not checked, and parents are not needed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from fleet.errors import NotFound, TargetUnreachable, UsageError
from fleet.table_name import TableName
from wire.dictionary import ForeignKey, InnodbTable, KnownTable, Tablespace

AS_SQL = "Take it as SQL instead: --sql FILE."
_PARTITION = re.compile(r"#p#.*", re.IGNORECASE)
_FULL_TEXT = re.compile(r".*/fts_([0-9a-f]{16})_.*", re.IGNORECASE)


@dataclass(frozen=True)
class Dictionary:
    """What a server said: see ``wire.dictionary``. ``placed``: all tables with where they lie, None while
    nobody asked.
    """

    tables: Sequence[KnownTable]
    own: Sequence[Tablespace]
    keys: Sequence[ForeignKey] = ()
    full_text: frozenset[TableName] = frozenset()
    placed: Sequence[InnodbTable] | None = None


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
    def is_unclear(self) -> bool:
        """Must ``placed`` be asked for? Only it tells where a shared tablespace or a full-text index is."""
        return self._dictionary.placed is None and any(
            self._is_shared(name) or self._key(str(name)) in self._full_text for name in self._followed_names
        )

    @property
    def spaces(self) -> frozenset[int]:
        """The tablespaces in which the followed tables lie, as far as they are known."""
        own = {each.space for name in self._followed_names for each in self._own_of(name)}
        return frozenset(own | {each.space for each in (*self._placed, *self._hidden)})

    @cached_property
    def _followed_names(self) -> tuple[TableName, ...]:
        """Those of the followed tables that are there."""
        return tuple(each.name for each in self._dictionary.tables if self._is_followed(each.name))

    @cached_property
    def _own(self) -> Mapping[str, Sequence[Tablespace]]:
        """The tables' own tablespaces, several for one with partitions, by ``schema/table``."""
        found: dict[str, list[Tablespace]] = {}
        for each in self._dictionary.own:
            found.setdefault(self._folded(_PARTITION.sub("", each.name)), []).append(each)
        return found

    def _own_of(self, table: TableName) -> Sequence[Tablespace]:
        return self._own.get(self._folded("/".join(table)), ())

    def _is_shared(self, table: TableName) -> bool:
        return not self._own_of(table)

    @cached_property
    def _full_text(self) -> frozenset[str]:
        return frozenset(self._key(str(each)) for each in self._dictionary.full_text)

    @cached_property
    def _placed(self) -> tuple[InnodbTable, ...]:
        """The followed tables and their partitions, as ``placed`` has them."""
        pattern = re.compile(
            "|".join(name.file_pattern for name in self._followed_names) or "(?!)",
            re.IGNORECASE if self._folds else re.NOFLAG,
        )
        return tuple(
            each for each in self._dictionary.placed or () if pattern.fullmatch(_PARTITION.sub("", each.name))
        )

    @cached_property
    def _hidden(self) -> tuple[InnodbTable, ...]:
        """The tables that hold their full-text indexes."""
        ids = {each.table_id for each in self._placed}
        return tuple(
            each
            for each in self._dictionary.placed or ()
            if (match := _FULL_TEXT.fullmatch(each.name)) and int(match[1], 16) in ids
        )

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
        """Raise ``UsageError`` for a table of which a server cannot export the files."""
        wanted = {self._key(str(each)) for each in asked}
        for table in self._followed_names:
            if self._key(str(table)) not in wanted:
                continue
            if self._is_shared(table):
                raise UsageError(
                    f"{table} lies in a tablespace with others, and only one of its own can be exported",
                    hint=AS_SQL,
                )
            if self._key(str(table)) in self._full_text:
                raise UsageError(f"{table} has a full-text index, which no server imports", hint=AS_SQL)

    def usable_besides(self, asked: Iterable[TableName]) -> tuple[TableName, ...]:
        """Tables of users that can be read and were not asked for, and all that share a tablespace."""
        wanted = {self._key(str(each)) for each in asked}
        return tuple(
            each.name
            for each in self._dictionary.tables
            if self._key(str(each.name)) not in wanted and each.engine == "InnoDB"
            if self._is_shared(each.name) or any(own.has_file for own in self._own_of(each.name))
        )

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
