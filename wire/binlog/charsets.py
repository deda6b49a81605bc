"""MySQL's collation numbers and character sets, as far as Python can read them.

Source: information_schema.COLLATIONS of MySQL 9.7. A scenario test asks a server for the meaning of every
character that is read here; where Python's table is another, ``_OTHERWISE`` says what MySQL means.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable

BINARY = 63
"""The collation of binary strings: bytes, no text."""

UTF8MB4 = 255
"""The default collation of MySQL 8.0 and later, utf8mb4_0900_ai_ci."""

Decoder = Callable[[bytes], str]
"""Text of bytes; raises UnicodeDecodeError for bytes that are none."""

_COLLATIONS: dict[str, tuple[int | range, ...]] = {
    "ascii": (11, 65),
    "big5": (1, 84),
    "cp1250": (26, 34, 44, 66, 99),
    "cp1251": (14, 23, range(50, 53)),
    "cp1256": (57, 67),
    "cp1257": (29, 58, 59),
    "cp850": (4, 80),
    "cp852": (40, 81),
    "cp866": (36, 68),
    "cp932": (95, 96),
    "eucjpms": (97, 98),
    "euckr": (19, 85),
    "gb18030": (248, 249, 250),
    "gb2312": (24, 86),
    "gbk": (28, 87),
    "greek": (25, 70),
    "hebrew": (16, 71),
    "hp8": (6, 72),
    "koi8r": (7, 74),
    "koi8u": (22, 75),
    "latin1": (5, 8, 15, 31, range(47, 50), 94),
    "latin2": (2, 9, 21, 27, 77),
    "latin5": (30, 78),
    "latin7": (20, 41, 42, 79),
    "macce": (38, 43),
    "macroman": (39, 53),
    "sjis": (13, 88),
    "tis620": (18, 89),
    "ucs2": (35, 90, range(128, 152), 159),
    "ujis": (12, 91),
    "utf16": (54, 55, range(101, 125)),
    "utf16le": (56, 62),
    "utf32": (60, 61, range(160, 184)),
    "utf8mb3": (33, 76, 83, range(192, 216), 223),
    "utf8mb4": (45, 46, range(224, 248), range(255, 324)),
}

_CODECS = {
    "eucjpms": "euc_jp",
    "euckr": "cp949",
    "greek": "iso8859_7",
    "hebrew": "iso8859_8",
    "hp8": "hp_roman8",
    "koi8r": "koi8_r",
    "koi8u": "koi8_u",
    "latin2": "iso8859_2",
    "latin5": "iso8859_9",
    "latin7": "iso8859_13",
    "macce": "mac_latin2",
    "macroman": "mac_roman",
    "sjis": "shift_jis",
    "tis620": "tis_620",
    "ucs2": "utf_16_be",
    "ujis": "euc_jp",
    "utf16": "utf_16_be",
    "utf16le": "utf_16_le",
    "utf32": "utf_32_be",
    "utf8mb3": "utf_8",
    "utf8mb4": "utf_8",
}

_OTHERWISE = {
    "cp866": {"\u2116": "\u207f", "\u00a4": "\u00b2"},
    "eucjpms": dict(
        zip("\u301c\u2016\u2212\u00a2\u00a3\u00ac", "\uff5e\u2225\uff0d\uffe0\uffe1\uffe2", strict=True)
    ),
    "gb18030": {"\ue7c7": "\u1e3f"},
    "greek": {"\u2018": "\u02bd", "\u2019": "\u02bc"},
    "hebrew": {"\u00af": "\u203e"},
    "koi8u": {"\u2219": "\u2022"},
    "sjis": {"\uff3c": "\\"},
    "ujis": {"\uff3c": "\\"},
}

# MySQL's latin1 is Windows' cp1252, and its five unused bytes are control characters.
_LATIN1 = {n: text for n in range(256) if (text := bytes((n,)).decode("cp1252", "ignore"))}

_NAMES = {
    number: name
    for name, numbers in _COLLATIONS.items()
    for one in numbers
    for number in ((one,) if isinstance(one, int) else one)
}


def charset_of(collation: int) -> str | None:
    """The name of the character set of a collation; None for binary, and for the few that are not read here.

    Those are armscii8, dec8, geostd8, keybcs2 and swe7: Python knows none of them.
    """
    return _NAMES.get(collation)


def decoder_for(collation: int) -> Decoder | None:
    """How to read text of a collation; None where ``charset_of`` is."""
    name = charset_of(collation)
    return None if name is None else decoder_named(name)


def decoder_named(name: str) -> Decoder | None:
    """How to read text of a character set; None for those that are not read here.

    ``utf8`` is what servers before 8.0.30 call utf8mb3.
    """
    if name == "utf8":
        name = "utf8mb3"
    if name not in _COLLATIONS:
        return None
    if name == "latin1":
        return _decode_latin1
    decode = codecs.getdecoder(_CODECS.get(name, name))
    other = _OTHERWISE.get(name)
    if other is None:
        return lambda data: decode(data, "strict")[0]
    table = str.maketrans(other)
    return lambda data: decode(data, "strict")[0].translate(table)


def _decode_latin1(data: bytes) -> str:
    return data.decode("latin-1").translate(_LATIN1)
