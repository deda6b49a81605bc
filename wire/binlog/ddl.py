"""What a logged DDL statement does to tables by name: which it makes, drops, renames, and which it needs.

By the tokens alone, as ``sql_text`` reads. For following a table through its log; what does not fit the forms
changes no table.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wire.binlog.sql_text import Words

_LONGEST_READ = 1 << 20
_NOISE = frozenset(("IF", "NOT", "EXISTS"))
_BEFORE_SUBJECT = frozenset(("TEMPORARY", "UNIQUE", "FULLTEXT", "SPATIAL", "UNDO"))
_RENAMED = frozenset(("TO", "AS", "="))
_NO_TABLE = frozenset(("COLUMN", "INDEX", "KEY"))
_ACTIONS = frozenset(("CASCADE", "SET"))


@dataclass(frozen=True, slots=True)
class Parent:
    """A table that a foreign key refers to. ``cascades``: its changes may change rows of the child."""

    table: str
    cascades: bool


@dataclass(slots=True)
class Ddl:
    """``schema.table`` each; ``schema.*`` for a whole schema, made or dropped.

    ``changed`` were there before and are there afterwards. ``needs`` must be there, and are not changed.
    ``imported``: rows come from a file or go to one, past the log. ``truncates``: all of ``changed`` are
    empty afterwards. ``makes_space``: a general tablespace.
    """

    made: list[str] = field(default_factory=list[str])
    dropped: list[str] = field(default_factory=list[str])
    changed: list[str] = field(default_factory=list[str])
    needs: list[str] = field(default_factory=list[str])
    renamed: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    parents: list[Parent] = field(default_factory=list[Parent])
    imported: bool = False
    makes_space: bool = False

    @property
    def touched(self) -> tuple[str, ...]:
        """All tables and schemas that the statement makes, changes, renames or drops."""
        both = [name for pair in self.renamed for name in pair]
        return tuple(dict.fromkeys((*self.made, *self.dropped, *self.changed, *both)))


def read_ddl(text: str, schema: str) -> Ddl:
    """``schema`` is the session's default, for names without one."""
    words = Words(text[:_LONGEST_READ], schema)
    verb = words.take()
    found = Ddl()
    if verb == "TRUNCATE":
        found.changed += words.skip(frozenset(("TABLE",))).name()
        return found
    subject = _subject(words)
    if subject in ("TABLE", "TABLES"):
        _read_table(verb, words, found)
    elif subject in ("DATABASE", "SCHEMA"):
        _read_schema(verb, words, schema, found)
    elif subject == "INDEX":
        words.behind(frozenset(("ON",)))
        found.changed += words.name()
    elif subject == "TABLESPACE":
        found.makes_space = verb == "CREATE"
    return found


def _subject(words: Words) -> str:
    subject = words.take()
    undo = subject == "UNDO"
    while subject in _BEFORE_SUBJECT:
        subject = words.take()
    return "" if undo else subject


def _read_table(verb: str, words: Words, found: Ddl) -> None:
    words.skip(_NOISE)
    if verb == "DROP":
        found.dropped += words.names()
    elif verb == "RENAME":
        while old := words.name():
            words.skip(frozenset(("TO",)))
            found.renamed += zip(old, words.name(), strict=False)
            words.skip(frozenset((",",)))
    elif verb == "CREATE":
        found.made += words.name()
        _read_definition(words, found)
    elif verb == "ALTER":
        found.changed += words.name()
        _read_alteration(words, found)


def _read_definition(words: Words, found: Ddl) -> None:
    words.skip(frozenset(("(",)))
    if words.peek() == "LIKE":
        words.take()
        found.needs += words.name()
        return
    while words.peek():
        if words.take() == "REFERENCES":
            _read_parent(words, found)


def _read_alteration(words: Words, found: Ddl) -> None:
    while word := words.take():
        if word == "REFERENCES":
            _read_parent(words, found)
        elif word == "RENAME" and words.peek() not in _NO_TABLE:
            found.renamed += zip(found.changed, words.skip(_RENAMED).name(), strict=False)
            found.changed.clear()
        elif word == "EXCHANGE" and words.peek() == "PARTITION":
            words.behind(frozenset(("WITH",)))
            found.changed += words.skip(frozenset(("TABLE",))).name()
        elif word in ("IMPORT", "DISCARD") and words.peek() in ("TABLESPACE", "PARTITION"):
            found.imported = True


def _read_parent(words: Words, found: Ddl) -> None:
    names = words.name()
    if words.peek() == "(":
        words.behind(frozenset((")",)))
    cascades = False
    while words.peek() and words.peek() not in (",", "REFERENCES"):
        if words.take() == "ON":
            words.take()
            cascades = cascades or words.peek() in _ACTIONS
    found.parents += (Parent(name, cascades) for name in names)


def _read_schema(verb: str, words: Words, schema: str, found: Ddl) -> None:
    name = words.skip(_NOISE).identifier() or schema
    if verb == "CREATE":
        found.made.append(f"{name}.*")
    elif verb == "DROP":
        found.dropped.append(f"{name}.*")
