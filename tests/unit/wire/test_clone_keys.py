from __future__ import annotations

import google_crc32c
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from fleet.errors import ProtocolViolation
from wire.clone import keys

KEY, IV = bytes(range(32)), bytes(range(32, 64))


def in_clear() -> bytearray:
    """A key as the donor sends it."""
    crc = google_crc32c.value(KEY + IV).to_bytes(4, "big")
    return bytearray(b"lCC" + bytes(4) + b"u" * 36 + KEY + IV + crc)


def test_a_key_is_wrapped_by_the_constant_master_key_and_keeps_its_checksum() -> None:
    info = in_clear()
    keys.rewrap(memoryview(info))
    assert len(info) == keys.INFO_BYTES == 111
    assert info[:7] == b"lCC" + bytes(4)
    decryptor = Cipher(AES(b"DefaultMasterKey".ljust(32, b"\0")), ECB()).decryptor()
    assert decryptor.update(bytes(info[43:107])) == KEY + IV
    assert info[107:] == google_crc32c.value(KEY + IV).to_bytes(4, "big")
    assert bytes(info) == keys.wrapped_info(KEY, IV)


def test_a_key_that_is_not_in_clear_is_a_violation() -> None:
    info = in_clear()
    keys.rewrap(memoryview(info))
    with pytest.raises(ProtocolViolation, match="not in clear"):
        keys.rewrap(memoryview(info))


def test_zeros_hold_no_key() -> None:
    assert not keys.holds_key(memoryview(bytes(111)))
    assert keys.holds_key(memoryview(in_clear()))
    with pytest.raises(ProtocolViolation, match="111 bytes, not 3"):
        keys.holds_key(memoryview(b"lCC"))
