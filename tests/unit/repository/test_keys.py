from __future__ import annotations

import base64
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sealed_backups import file_keyring

from fleet.errors import ConfigError, KeyUnusable, ObjectDamaged
from fleet.repository_config import KeyConfig
from fleet.secrets import Secret
from repository.keys import (
    Binding,
    FileSource,
    Keyring,
    KeyringEntry,
    LocalKek,
    PassphraseSource,
    create_key_file,
    parse_key,
)
from repository.layout import BackupName

NOW = datetime(2026, 3, 1, tzinfo=UTC)
REPOSITORY = "0" * 32
BINDING = Binding(REPOSITORY, BackupName("s1", "20260301T021500Z-full"))
KEY = bytes(range(32))


def secret_file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def test_a_new_key_file_is_for_its_owner_alone_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key"
    create_key_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    content = path.read_bytes()
    assert parse_key(content) is not None
    with pytest.raises(ConfigError, match="File exists"):
        create_key_file(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "content",
    [
        KEY,
        KEY.hex().encode(),
        KEY.hex().upper().encode() + b"\n",
        base64.b64encode(KEY),
        b" " + base64.b64encode(KEY) + b"\r\n",
    ],
)
def test_a_key_is_read_raw_in_hex_and_in_base64(content: bytes) -> None:
    assert parse_key(content) == KEY


@pytest.mark.parametrize(
    "content", [b"", KEY[:31], KEY + b"x", b"g" * 64, base64.b64encode(KEY[:30]), b"secret"]
)
def test_other_content_is_no_key(content: bytes, tmp_path: Path) -> None:
    assert parse_key(content) is None
    if content:
        source = FileSource("k1", secret_file(tmp_path / "key", content))
        with pytest.raises(KeyUnusable, match=r"k1: .*key does not hold 32 bytes"):
            source.introduce(REPOSITORY, NOW)


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = secret_file(tmp_path / "key", KEY)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="0644"):
        FileSource("k1", path).introduce(REPOSITORY, NOW)


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyUnusable, match="no-such-key"):
        FileSource("k1", tmp_path / "no-such-key").introduce(REPOSITORY, NOW)


def test_a_wrong_key_is_found_before_anything_is_read(tmp_path: Path) -> None:
    right = FileSource("k1", secret_file(tmp_path / "right", KEY))
    wrong = FileSource("k1", secret_file(tmp_path / "wrong", KEY[::-1]))
    entry = right.introduce(REPOSITORY, NOW)
    right.open(entry, REPOSITORY)
    with pytest.raises(KeyUnusable, match=r"key k1 is wrong, or .*: the content of .*wrong") as caught:
        wrong.open(entry, REPOSITORY)
    assert KEY.hex() not in str(caught.value)


def test_a_check_value_holds_for_one_repository_and_one_key_id(tmp_path: Path) -> None:
    path = secret_file(tmp_path / "key", KEY)
    entry = FileSource("k1", path).introduce(REPOSITORY, NOW)
    with pytest.raises(KeyUnusable):
        FileSource("k1", path).open(entry, "1" * 32)
    with pytest.raises(KeyUnusable):
        FileSource("k2", path).open(entry.model_copy(update={"key_id": "k2"}), REPOSITORY)
    with pytest.raises(KeyUnusable):
        FileSource("k1", path).open(entry.model_copy(update={"check": None}), REPOSITORY)


def test_a_passphrase_opens_whatever_newline_its_file_ends_with() -> None:
    entry = PassphraseSource("p", lambda: "grüß dich").introduce(REPOSITORY, NOW)
    assert entry.kdf is not None
    assert (entry.kdf.n, entry.kdf.r, entry.kdf.p) == (65536, 8, 1)
    assert len(base64.b64decode(entry.kdf.salt)) == 16
    kek = PassphraseSource("p", lambda: "grüß dich\r\n").open(entry, REPOSITORY)
    assert kek.unwrap(kek.wrap(KEY, BINDING), BINDING) == KEY
    with pytest.raises(KeyUnusable, match=r"key p is wrong, or .*: the passphrase"):
        PassphraseSource("p", lambda: "gruss dich").open(entry, REPOSITORY)


def test_an_empty_passphrase_is_refused() -> None:
    with pytest.raises(KeyUnusable, match="empty"):
        PassphraseSource("p", lambda: "\n").introduce(REPOSITORY, NOW)


def test_a_keyring_entry_cannot_demand_gigabytes() -> None:
    entry = PassphraseSource("p", lambda: "x").introduce(REPOSITORY, NOW)
    raw = entry.model_dump(mode="json")
    raw["kdf"]["n"] = 2**30
    with pytest.raises(ValueError, match=r"kdf.n"):
        KeyringEntry.model_validate(raw)


def test_an_entry_of_another_provider_is_refused(tmp_path: Path) -> None:
    entry = file_keyring(tmp_path).primary.introduce(REPOSITORY, NOW)
    with pytest.raises(KeyUnusable, match="says provider file, the configuration passphrase"):
        PassphraseSource("k1", lambda: "x").open(entry, REPOSITORY)


@pytest.mark.parametrize(
    "other",
    [
        Binding("1" * 32, BINDING.backup),
        Binding(REPOSITORY, BackupName("s2", BINDING.backup.label)),
        Binding(REPOSITORY, BackupName("s1", "20260301T021501Z-full")),
    ],
)
def test_a_wrapped_key_opens_for_its_own_backup_alone(other: Binding) -> None:
    kek = LocalKek("k1", KEY)
    wrapped = kek.wrap(bytes(32), BINDING)
    assert len(wrapped) == 60
    assert kek.unwrap(wrapped, BINDING) == bytes(32)
    with pytest.raises(ObjectDamaged, match=f"does not open the wrapped key of backup {other.backup}"):
        kek.unwrap(wrapped, other)
    with pytest.raises(ObjectDamaged):
        LocalKek("k2", KEY).unwrap(wrapped, BINDING)


def test_keys_come_from_the_configuration_and_none_is_read_before_it_is_needed(tmp_path: Path) -> None:
    keyring = Keyring.from_config(
        [
            KeyConfig(id="a", provider="file", file=tmp_path / "missing"),
            KeyConfig(id="b", provider="passphrase", passphrase=Secret(env="NOT_SET_ANYWHERE")),
            KeyConfig(id="c", provider="aws-kms", kms_key="arn:aws:kms:eu-central-1:1:key/x"),
        ]
    )
    assert [source.key_id for source in keyring.sources] == ["a", "b", "c"]
    assert keyring.primary.key_id == "a"


def test_a_fleet_without_a_key_is_a_mistake_in_the_configuration() -> None:
    with pytest.raises(ConfigError, match="no key"):
        Keyring([])


def test_one_bad_key_does_not_lock_out_the_others(tmp_path: Path) -> None:
    good = FileSource("good", secret_file(tmp_path / "good", KEY))
    bad = FileSource("bad", tmp_path / "missing")
    entries = {"good": good.introduce(REPOSITORY, NOW)}
    entries["bad"] = entries["good"].model_copy(update={"key_id": "bad"})
    keys = Keyring([bad, good]).unlock(entries, REPOSITORY, known=["bad", "good"])
    assert set(keys.keks) == {"good"}
    with pytest.raises(KeyUnusable, match="missing"):
        _ = keys.primary


def test_the_first_key_tells_what_is_wrong_when_none_opens(tmp_path: Path) -> None:
    keyring = file_keyring(tmp_path)
    with pytest.raises(KeyUnusable, match="does not know key k1; it knows x, y"):
        keyring.unlock({}, REPOSITORY, known=["x", "y"]).require_one()
    with pytest.raises(KeyUnusable, match="it knows none"):
        keyring.unlock({}, REPOSITORY, known=[]).require_one()


def test_no_key_shows_itself() -> None:
    assert KEY.hex() not in repr(LocalKek("k1", KEY))
    assert os.fspath("k1") in repr(LocalKek("k1", KEY))
