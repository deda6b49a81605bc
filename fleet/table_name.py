"""A table's name, as people write it and as its files are called."""

from __future__ import annotations

import re
from typing import NamedTuple, Self

from fleet.errors import UsageError

_PLAIN = re.compile(r"[A-Za-z0-9_]")
_CODE = re.compile(r"@(00[0-7][0-9a-f])")
_PART = re.compile(r"`((?:[^`]|``)+)`|([^.`]+)")


class TableName(NamedTuple):
    """Schema and table, without quotes."""

    schema: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """``shop.orders``; a part with a dot in it stands in backticks. Raises ``UsageError``."""
        found: list[str] = []
        at = 0
        while (part := _PART.match(text, at)) is not None:
            found.append(part[1].replace("``", "`") if part[1] else part[2])
            at = part.end()
            if at == len(text) or text[at] != ".":
                break
            at += 1
        if len(found) != 2 or at != len(text):
            raise UsageError(
                f"{text!r} is no table's name", hint="Write schema and table: shop.orders, or `a.b`.orders."
            )
        return cls(found[0], found[1])

    @classmethod
    def of_file(cls, path: str) -> Self | None:
        """The table whose file is called so, ``shop/orders#p#p1.ibd``; None if it is no table's own file.

        Letters beyond ASCII stay as the file name spells them.
        """
        *_, schema, file = ["", *path.rsplit("/", 2)]
        if not schema or schema.startswith("#") or not file.endswith(".ibd"):
            return None
        name = re.split(r"#[pP]#", file.removesuffix(".ibd"))[0]
        return cls(*(_CODE.sub(lambda found: chr(int(found[1], 16)), part) for part in (schema, name)))

    def __str__(self) -> str:
        """As the log and the archive's index name it."""
        return f"{self.schema}.{self.name}"

    @property
    def quoted(self) -> str:
        """For a statement."""
        return ".".join("`" + part.replace("`", "``") + "`" for part in self)

    @property
    def lowered(self) -> TableName:
        return TableName(self.schema.lower(), self.name.lower())

    @property
    def file_pattern(self) -> str:
        """A regular expression for ``schema/table`` in the encoding of file names.

        MySQL writes what is no letter, digit or underscore as ``@`` and four hexadecimal digits, and many
        letters beyond ASCII as ``@`` and two characters by a table of its own. Those are left open: the
        pattern may match a name that differs in such a letter. Source: strings/ctype-utf8.cc
        (my_wc_mb_filename).
        """
        return "/".join("".join(map(_pattern, part)) for part in self)


def _pattern(letter: str) -> str:
    if _PLAIN.match(letter):
        return letter
    code = f"@{ord(letter):04x}"
    return code if letter.isascii() else f"(?:{code}|@[0-\x7f]{{2}})"
