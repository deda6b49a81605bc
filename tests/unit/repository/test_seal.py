from __future__ import annotations

import struct

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from sealed_backups import flipped

from fleet.errors import FormatUnsupported, ObjectDamaged
from repository.seal import (
    HEADER_BYTES,
    MAX_PLAINTEXT_BYTES,
    BackupKey,
    FrameOpener,
    Identity,
    ObjectKind,
    ObjectSealer,
    damaged,
    parse_header,
    seal_object,
    unseal_object,
)

KEY = BackupKey(bytes(range(32)))
WHO = Identity("0" * 32, "data/s1/20260301T021500Z-full/p00000000", ObjectKind.PACK)


def unsealed(data: bytes, who: Identity = WHO, key: BackupKey = KEY) -> list[bytes]:
    return [bytes(plaintext) for plaintext in unseal_object(who, key, data)]


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=6))
def test_what_was_sealed_unseals(frames: list[bytes]) -> None:
    assert unsealed(bytes(seal_object(WHO, KEY, frames))) == frames


def test_a_sealed_object_has_the_layout_of_the_format() -> None:
    """Written against FORMAT.md, section 6, with nothing of ours but the object itself."""
    data = bytes(seal_object(WHO, KEY, [b"one", b"three"]))
    assert data[:10] == b"BACKSTAY\x01\x01"
    context = f"backstay/1/data-key/{WHO.repository_id}/{WHO.name}".encode()
    data_key = AESGCM(bytes(range(32))).decrypt(data[10:22], data[22:70], context)
    assert len(data_key) == 32
    (length,) = struct.unpack(">I", data[70:74])
    assert length == 3 + 16
    context = f"backstay/1/frame/{WHO.repository_id}/{WHO.name}/1/0/0".encode()
    assert AESGCM(data_key).decrypt(struct.pack(">IQ", 0, 0), data[74 : 74 + length], context) == b"one"
    rest = data[74 + length :]
    (length,) = struct.unpack(">I", rest[:4])
    assert length == 0x8000_0000 | (5 + 16)
    context = f"backstay/1/frame/{WHO.repository_id}/{WHO.name}/1/1/1".encode()
    assert AESGCM(data_key).decrypt(struct.pack(">IQ", 0, 1), rest[4:], context) == b"three"


def test_every_flipped_bit_is_detected_and_the_object_is_named() -> None:
    data = bytes(seal_object(WHO, KEY, [b"first frame", b"", b"last"]))
    for bit in range(8 * len(data)):
        with pytest.raises((ObjectDamaged, FormatUnsupported), match=WHO.name):
            unsealed(flipped(data, bit))


def test_every_truncation_is_detected() -> None:
    data = bytes(seal_object(WHO, KEY, [b"first frame", b"", b"last"]))
    for length in range(len(data)):
        with pytest.raises(ObjectDamaged, match=WHO.name):
            unsealed(data[:length])


@pytest.mark.parametrize("more", [b"\x00", b"x" * 100])
def test_nothing_may_follow_the_last_frame(more: bytes) -> None:
    with pytest.raises(ObjectDamaged, match=f"{len(more)} bytes follow its last frame"):
        unsealed(bytes(seal_object(WHO, KEY, [b"a"])) + more)


def test_frames_in_another_order_do_not_unseal() -> None:
    data = bytes(seal_object(WHO, KEY, [b"one", b"two", b"end"]))
    size = 4 + 16 + 3
    head, first, second, last = data[:70], data[70 : 70 + size], data[70 + size : 70 + 2 * size], data[-size:]
    for changed in (
        head + second + first + last,
        head + first + first + last,
        head + first + last,
        head + last,
        head + second + last,
        head + first + second + second + last,
    ):
        with pytest.raises(ObjectDamaged, match="does not unseal"):
            unsealed(changed)


def test_a_frame_cannot_be_made_the_last_one() -> None:
    data = bytearray(seal_object(WHO, KEY, [b"one", b"two"]))
    data[70] |= 0x80
    with pytest.raises(ObjectDamaged, match="follow its last frame"):
        unsealed(bytes(data))
    with pytest.raises(ObjectDamaged, match="frame 0 does not unseal"):
        unsealed(bytes(data[: 70 + 23]))


@pytest.mark.parametrize(
    "who",
    [
        WHO._replace(repository_id="1" * 32),
        WHO._replace(name="data/s1/20260301T021500Z-full/p00000001"),
        WHO._replace(kind=ObjectKind.INDEX_PART),
    ],
)
def test_an_object_unseals_under_no_other_name_kind_or_repository(who: Identity) -> None:
    with pytest.raises(ObjectDamaged):
        unsealed(bytes(seal_object(WHO, KEY, [b"a"])), who)


def test_the_kind_is_bound_even_if_the_header_is_rewritten() -> None:
    data = bytearray(seal_object(WHO, KEY, [b"a"]))
    data[9] = ObjectKind.MANIFEST
    with pytest.raises(ObjectDamaged, match="frame 0 does not unseal"):
        unsealed(bytes(data), WHO._replace(kind=ObjectKind.MANIFEST))


def test_another_backup_key_does_not_open_it() -> None:
    with pytest.raises(ObjectDamaged, match="data key does not unwrap"):
        unsealed(bytes(seal_object(WHO, KEY, [b"a"])), key=BackupKey(bytes(32)))


def test_a_newer_format_is_named() -> None:
    data = bytearray(seal_object(WHO, KEY, [b"a"]))
    data[8] = 2
    with pytest.raises(FormatUnsupported, match="has format 2, and this version reads 1"):
        unsealed(bytes(data))


def test_no_two_objects_have_the_same_data_key() -> None:
    keys = set()
    for _ in range(100):
        data = bytes(seal_object(WHO, KEY, [b"same"]))
        keys.add(KEY.unwrap(parse_header(data, WHO), WHO))
    assert len(keys) == 100


def test_a_frame_that_claims_to_be_huge_is_refused_before_memory_is_taken() -> None:
    opener = FrameOpener(WHO, bytes(32))
    for length in (0, 15, MAX_PLAINTEXT_BYTES + 17, 0x7FFF_FFFF):
        frame = memoryview(struct.pack(">I", length) + bytes(64))
        with pytest.raises(ObjectDamaged, match="claims to have"):
            opener.open(0, frame, bytearray(64))


@settings(max_examples=30)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_object_are_refused(data: bytes) -> None:
    with pytest.raises((ObjectDamaged, FormatUnsupported)):
        unsealed(data)
    with pytest.raises(ObjectDamaged):
        unsealed(bytes(seal_object(WHO, KEY, [b"a"]))[:HEADER_BYTES] + data)


def test_an_object_has_one_last_frame() -> None:
    sealer = ObjectSealer(WHO, KEY, bytearray(200))
    sealer.append(b"a", last=False)
    with pytest.raises(ValueError, match="no last frame"):
        sealer.view()
    sealer.append(b"b", last=True)
    with pytest.raises(ValueError, match="nothing can follow"):
        sealer.append(b"c", last=True)


def test_a_backup_key_has_32_bytes_and_is_never_shown() -> None:
    with pytest.raises(ValueError, match="32 bytes, not 31"):
        BackupKey(bytes(31))
    assert repr(KEY) == "BackupKey(...)"


def test_each_damage_names_the_command_that_looks_for_more() -> None:
    assert "Run verify" in str(damaged("data/s1/x/000001", "it is short").hint)
    assert "`backstay archive verify s1`" in str(damaged("archive/s1/000001/opened", "it is short").hint)
