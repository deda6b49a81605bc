"""What a logged statement is and which tables it names, as far as its text tells without a parser of SQL.

DDL is logged as text only. The words that can come between a statement's verb and its tables are few, so that
a tokenizer and a table of forms are enough; what does not fit names no table. For finding transactions, never
for changing or replaying them.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

from fleet.transaction import Kind

# What is opened and never closed reaches to the end of the text: so no text takes more than one pass.
_TOKEN = re.compile(
    r"""(?P<space>\s+|/\*!\d*|/\*(?!!)(?:.*?\*/|.*)|\*/|--[\s].*?(?:\n|\Z)|--\Z|\#.*?(?:\n|\Z))
      | (?P<quoted>`(?:[^`]|``)*+`?)
      | (?P<string>'(?:[^'\\]|\\.|'')*+'?|"(?:[^"\\]|\\.|"")*+"?)
      | (?P<word>[\w$]+)
      | (?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)
_SECRET = re.compile(r"\bIDENTIFIED\b|(?<=\bPASSWORD)\s*(?:FOR\b|[=('\"])", re.IGNORECASE)
_LONGEST_READ = 20_000
_LONGEST_EXCERPT = 200


class Part(Enum):
    """Where in a transaction a statement stands."""

    BEGINS = "begins"
    """BEGIN, XA START: more events of the transaction follow."""
    ENDS = "ends"
    """COMMIT, ROLLBACK, XA COMMIT: nothing follows."""
    INSIDE = "inside"
    """SAVEPOINT, XA END: it changes nothing."""
    CHANGES = "changes"
    """Any other: within BEGIN and COMMIT, or a whole transaction by itself."""


class Sql(NamedTuple):
    """``tables`` as ``schema.table``; ``schema.*`` for a whole schema, created, altered or dropped."""

    part: Part
    kinds: Kind
    tables: tuple[str, ...] = ()


_CONTROL = {
    "BEGIN": Part.BEGINS,
    "COMMIT": Part.ENDS,
    "SAVEPOINT": Part.INSIDE,
    "RELEASE": Part.INSIDE,
}
_DDL = frozenset(
    (
        "ALTER",
        "CREATE",
        "DROP",
        "GRANT",
        "IMPORT",
        "INSTALL",
        "RENAME",
        "REVOKE",
        "SET",
        "TRUNCATE",
        "UNINSTALL",
    )
)
_ROWS = {
    "INSERT": Kind.INSERT,
    "REPLACE": Kind.INSERT,
    "LOAD": Kind.INSERT,
    "UPDATE": Kind.UPDATE,
    "DELETE": Kind.DELETE,
}
_SUBJECTS = frozenset(
    (
        *("TABLE", "TABLES", "VIEW", "INDEX", "TRIGGER", "DATABASE", "SCHEMA"),
        *("EVENT", "FUNCTION", "PROCEDURE", "USER", "ROLE", "SERVER", "TABLESPACE", "LOGFILE", "RESOURCE"),
        *("INSTANCE", "COMPONENT", "PLUGIN", "LIBRARY", "PASSWORD", "DEFAULT"),
    )
)
"""What a statement can be about; the first of these words decides."""
_NOISE = frozenset(("IF", "NOT", "EXISTS"))
_OPTIONS = frozenset(("CHARACTER", "CHARSET", "COLLATE", "DEFAULT", "ENCRYPTION", "READ"))
"""What follows ALTER DATABASE at once if it means the session's default schema."""
_ROW_NOISE = frozenset(("LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE", "INTO"))


def read_sql(text: str, schema: str) -> Sql:
    """``schema`` is the session's default, for names without one."""
    words = Words(text[:_LONGEST_READ], schema)
    verb = words.take()
    if verb == "XA":
        return _xa(words.take())
    if verb == "ROLLBACK":
        return Sql(Part.INSIDE if words.take() == "TO" else Part.ENDS, Kind.EMPTY)
    if verb in _CONTROL:
        return Sql(_CONTROL[verb], Kind.EMPTY)
    if verb in _DDL:
        return Sql(Part.CHANGES, Kind.DDL, _unique(_ddl_tables(verb, words, schema)))
    if verb in _ROWS:
        return Sql(Part.CHANGES, Kind.STATEMENT | _ROWS[verb], _unique(_row_tables(verb, words)))
    return Sql(Part.CHANGES, Kind.STATEMENT)


def excerpt(text: str) -> str:
    """The first 200 characters; what follows a word that announces a password is left out."""
    if secret := _SECRET.search(text, 0, _LONGEST_EXCERPT + 20):
        text = f"{text[: secret.start()]}..."
    return text[:_LONGEST_EXCERPT]


def _xa(verb: str) -> Sql:
    if verb in ("START", "BEGIN"):
        return Sql(Part.BEGINS, Kind.XA)
    return Sql(Part.ENDS if verb in ("COMMIT", "ROLLBACK") else Part.INSIDE, Kind.XA)


def _unique(tables: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tables))


class Words:
    """The statement's tokens, read one ahead; comments are gone, and what stands in ``/*! */`` counts."""

    def __init__(self, text: str, schema: str) -> None:
        self._found = _TOKEN.finditer(text)
        self._schema = schema
        self._token = ""
        self._advance()

    def _advance(self) -> None:
        self._token = next((match[0] for match in self._found if match.lastgroup != "space"), "")

    def peek(self) -> str:
        """The next token in upper case, or an empty text at the end."""
        return self._token.upper()

    def take(self) -> str:
        token = self.peek()
        self._advance()
        return token

    def skip(self, noise: frozenset[str]) -> Words:
        while self.peek() in noise:
            self._advance()
        return self

    def behind(self, wanted: frozenset[str]) -> str:
        """Go behind the first token that is ``wanted`` and tell which it was; empty if none comes."""
        while token := self.take():
            if token in wanted:
                return token
        return ""

    def name(self) -> list[str]:
        """One table's name, or nothing."""
        first = self.identifier()
        if not first:
            return []
        if self.peek() != ".":
            return [f"{self._schema}.{first}"] if self._schema else [first]
        self._advance()
        second = self.identifier()
        return [f"{first}.{second}"] if second else []

    def names(self) -> list[str]:
        """Names with commas between them."""
        found = self.name()
        while self.peek() == ",":
            self._advance()
            found += self.name()
        return found

    def identifier(self) -> str:
        token = self._token
        if token[:1] in ("`", '"') and len(token) > 1 and token[-1] == token[0]:
            self._advance()
            return token[1:-1].replace(token[0] * 2, token[0])
        if token[:1].isalnum() or token[:1] in ("_", "$"):
            self._advance()
            return token
        return ""


def _ddl_tables(verb: str, words: Words, schema: str) -> list[str]:
    if verb == "TRUNCATE":
        return words.skip(frozenset(("TABLE",))).name()
    if verb in ("GRANT", "REVOKE"):
        # Privileges have the words of subjects in them (SHOW VIEW), and change no table.
        return []
    subject = words.behind(_SUBJECTS)
    if subject in ("TABLE", "TABLES", "VIEW"):
        return _tables_of(verb, words.skip(_NOISE))
    if subject in ("DATABASE", "SCHEMA"):
        name = words.skip(_NOISE).identifier()
        return [f"{schema if name.upper() in _OPTIONS else name}.*"] if name else []
    if subject == "INDEX" or (subject == "TRIGGER" and verb == "CREATE"):
        words.behind(frozenset(("ON",)))
        return words.name()
    return []


def _tables_of(verb: str, words: Words) -> list[str]:
    if verb == "DROP":
        return words.names()
    if verb == "RENAME":
        found = words.name()
        while words.take() in ("TO", ","):
            found += words.name()
        return found
    found = words.name()
    if verb == "ALTER":
        while words.behind(frozenset(("RENAME",))):
            if words.peek() not in ("COLUMN", "INDEX", "KEY"):
                found += words.skip(frozenset(("TO", "AS", "="))).name()
    return found


def _row_tables(verb: str, words: Words) -> list[str]:
    if verb == "LOAD":
        words.behind(frozenset(("TABLE",)))
    elif verb == "DELETE":
        words.behind(frozenset(("FROM",)))
    return words.skip(_ROW_NOISE).name()
