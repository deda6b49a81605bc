"""Keys of encrypted tablespaces and redo: a clone sends them in clear, a server wants them wrapped.

The donor sends pages encrypted, and their keys in clear, where page 0 or the redo header keeps a wrapped
key. We wrap them by the constant key that a server without a keyring uses; the restored server opens them
with it, and wraps them anew under a master key of its own keyring. So a backup holds these keys, in effect,
in clear: it is sealed.
Source: storage/innobase/os/os0enc.cc (fill_encryption_info, decode_encryption_info) of MySQL 8.0 to 9.7.
"""

from __future__ import annotations

import google_crc32c
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from fleet.errors import ProtocolViolation
from wire.clone.descriptors import IV_BYTES, KEY_BYTES

_MAGIC = b"lCC"
_MASTER_KEY_ID = len(_MAGIC)
_SECRET = _MASTER_KEY_ID + 4 + 36
_SECRET_BYTES = KEY_BYTES + IV_BYTES
_CRC = _SECRET + _SECRET_BYTES

INFO_BYTES = _CRC + 4
"""Bytes of a key as page 0 or the redo header keeps it: magic, master key id, uuid, key, iv, crc32c."""

_DEFAULT_MASTER_KEY = b"DefaultMasterKey".ljust(KEY_BYTES, b"\0")


def wrapped_info(key: bytes, iv: bytes) -> bytes:
    """A key and its iv, wrapped by the constant key (master key id 0), as a server reads them."""
    clear = key + iv
    head = _MAGIC + bytes(_SECRET - len(_MAGIC))
    return head + _wrap(clear) + google_crc32c.value(clear).to_bytes(4, "big")


def holds_key(info: memoryview) -> bool:
    """True if there is a key at all; where there is none, the bytes are zeros."""
    if len(info) != INFO_BYTES:
        raise ProtocolViolation(f"the place of a key has {INFO_BYTES} bytes, not {len(info)}")
    return bytes(info[: len(_MAGIC)]) == _MAGIC


def rewrap(info: memoryview) -> None:
    """Wrap, in place, the key that the donor sent in clear.

    Raises ProtocolViolation when it is not in clear: nobody could open what would be stored.
    """
    clear = bytes(info[_SECRET:_CRC])
    if not holds_key(info) or google_crc32c.value(clear).to_bytes(4, "big") != info[_CRC:]:
        raise ProtocolViolation("the donor sent a key that is not in clear, so no other server could open it")
    info[:] = wrapped_info(clear[:KEY_BYTES], clear[KEY_BYTES:])


def _wrap(clear: bytes) -> bytes:
    # ECB over four blocks of random bytes, without padding: the format that MySQL reads.
    encryptor = Cipher(AES(_DEFAULT_MASTER_KEY), ECB()).encryptor()  # noqa: S305
    return encryptor.update(clear) + encryptor.finalize()
