"""The server's side of a login, without TLS and without RSA: packets as bytes, nothing is read or sent here.

``caching_sha2_password`` has a fast path for clients whose password the server knows: the scramble is
checked, ``01 03`` says that it was right. A client accepts that from any server, so no key is exchanged.
Source: the connection phase pages of the MySQL internals manual; sql/auth/sha2_password.cc.
"""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256
from typing import NamedTuple

from fleet.errors import ProtocolViolation
from wire.packet import Reader

NONCE_BYTES = 20
PLUGIN = b"caching_sha2_password"
FAST_PATH_SUCCEEDED = b"\x01\x03"

_PROTOCOL_41 = 0x200
_SECURE_CONNECTION = 0x8000
_PLUGIN_AUTH = 0x80000
_LENENC_SCRAMBLE = 0x200000
_CONNECT_WITH_DB = 0x8
_LONG_PASSWORD, _FOUND_ROWS, _LONG_FLAG, _TRANSACTIONS, _CONNECT_ATTRIBUTES = 0x1, 0x2, 0x4, 0x2000, 0x100000

# No SSL; and no DEPRECATE_EOF, so that results are of the plain old kind.
CAPABILITIES = (_LONG_PASSWORD | _FOUND_ROWS | _LONG_FLAG | _TRANSACTIONS | _CONNECT_ATTRIBUTES) | (
    _CONNECT_WITH_DB | _PROTOCOL_41 | _SECURE_CONNECTION | _PLUGIN_AUTH | _LENENC_SCRAMBLE
)
_CHARSET = 0xFF
_AUTOCOMMIT = 0x0002


class Login(NamedTuple):
    """What a client answers to the greeting. ``plugin`` is empty if it names none."""

    user: str
    scramble: bytes
    plugin: str


def make_nonce() -> bytes:
    """20 random bytes of 1 to 126: the client reads it as a text that ends with a NUL."""
    return bytes(1 + secrets.randbelow(126) for _ in range(NONCE_BYTES))


def greeting(version: str, connection: int, nonce: bytes) -> bytes:
    """The first packet of a connection; ``version`` as in ``9.7.4``."""
    return b"".join(
        (
            b"\x0a",
            version.encode("ascii", "replace") + b"\0",
            (connection % 2**32).to_bytes(4, "little"),
            nonce[:8] + b"\0",
            (CAPABILITIES & 0xFFFF).to_bytes(2, "little"),
            bytes((_CHARSET,)),
            _AUTOCOMMIT.to_bytes(2, "little"),
            (CAPABILITIES >> 16).to_bytes(2, "little"),
            bytes((NONCE_BYTES + 1,)) + bytes(10),
            nonce[8:] + b"\0",
            PLUGIN + b"\0",
        )
    )


def parse_login(payload: bytes) -> Login:
    """``capabilities u32 | largest packet u32 | charset u8 | 23 zeros | user NUL | scramble | plugin NUL``.

    Raises ProtocolViolation for anything else: a client that wants TLS, or speaks the protocol before 4.1.
    """
    reader = Reader(payload, "the answer to the greeting", "little")
    capabilities = reader.number(4)
    if not capabilities & _PROTOCOL_41 or not capabilities & (_SECURE_CONNECTION | _LENENC_SCRAMBLE):
        raise ProtocolViolation(f"a client with capabilities {capabilities:#x} cannot log in here")
    reader.take(4 + 1 + 23)
    user, rest = _text(reader.rest())
    reader = Reader(rest, "the answer to the greeting", "little")
    # A length of 251 or more would be no scramble, whether it is counted in one byte or packed.
    length = reader.number(1)
    if length > 250:
        raise ProtocolViolation(f"a scramble of {length} bytes or more")
    scramble, rest = reader.take(length), reader.rest()
    if capabilities & _CONNECT_WITH_DB:
        _, rest = _text(rest)
    plugin = _text(rest)[0] if capabilities & _PLUGIN_AUTH else ""
    return Login(user, scramble, plugin)


def auth_switch(nonce: bytes) -> bytes:
    """Asks a client that began with another plugin for a scramble of ours."""
    return b"\xfe" + PLUGIN + b"\0" + nonce + b"\0"


def scramble(password: str, nonce: bytes) -> bytes:
    """What a client that knows ``password`` answers; nothing at all for an empty one."""
    if not password:
        return b""
    once = sha256(password.encode()).digest()
    mask = sha256(sha256(once).digest() + nonce).digest()
    return bytes(a ^ b for a, b in zip(once, mask, strict=True))


def knows_password(answer: bytes, password: str, nonce: bytes) -> bool:
    """Whether ``answer`` is the scramble of ``password``; takes the same time either way."""
    return hmac.compare_digest(answer, scramble(password, nonce))


def _text(data: bytes) -> tuple[str, bytes]:
    """A text that ends with a NUL, and what follows it."""
    text, found, rest = data.partition(b"\0")
    if not found:
        raise ProtocolViolation("the answer to the greeting is truncated in a name")
    return text.decode("utf-8", "replace"), rest
