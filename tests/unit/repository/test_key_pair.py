"""Keys of two halves: what each half can do, and what is refused."""

from __future__ import annotations

import base64
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from sealed_backups import flipped

from fleet.errors import ConfigError, KeyUnusable, ObjectDamaged
from fleet.repository_config import KeyConfig
from repository.key_pair import PairSource, create_pair
from repository.keys import Binding, Kek, Keyring
from repository.layout import BackupName

NOW = datetime(2026, 3, 1, tzinfo=UTC)
REPOSITORY = "0" * 32
BINDING = Binding(REPOSITORY, BackupName("s1", "20260301T021500Z-full"))
KEY = bytes(range(32))


class Pair:
    """A pair in files, and what it is by either half."""

    def __init__(self, folder: Path, name: str = "pair") -> None:
        self.private, self.public = folder / f"{name}.key", folder / f"{name}.pub"
        create_pair(self.private, self.public)

    def sealing(self) -> PairSource:
        return PairSource("p", self.public, None)

    def opening(self) -> PairSource:
        return PairSource("p", None, self.private)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def opened(source: PairSource, known: PairSource | None = None) -> Kek:
    return source.open((known or source).introduce(REPOSITORY, NOW), REPOSITORY)


def test_the_public_half_wraps_what_the_private_one_opens(pair: Pair) -> None:
    sealing, opening = opened(pair.sealing()), opened(pair.opening(), pair.sealing())
    assert (sealing.can_open, opening.can_open) == (False, True)
    wrapped = sealing.wrap(KEY, BINDING)
    assert len(wrapped) == 32 + 12 + 32 + 16
    assert opening.unwrap(wrapped, BINDING) == KEY
    assert opening.unwrap(opening.wrap(KEY, BINDING), BINDING) == KEY


def test_the_public_half_opens_nothing_not_even_its_own(pair: Pair) -> None:
    sealing = opened(pair.sealing())
    wrapped = sealing.wrap(KEY, BINDING)
    with pytest.raises(KeyUnusable, match="of key p only the public half is here"):
        sealing.unwrap(wrapped, BINDING)


def test_no_two_wrappings_are_alike(pair: Pair) -> None:
    sealing = opened(pair.sealing())
    first, second = sealing.wrap(KEY, BINDING), sealing.wrap(KEY, BINDING)
    assert first[:32] != second[:32]
    assert first[32:] != second[32:]


@pytest.mark.parametrize("bit", [0, 8 * 31 + 6, 8 * 32, 8 * 44, 8 * 91])
def test_a_wrapped_key_that_was_altered_in_one_bit_does_not_open(pair: Pair, bit: int) -> None:
    opening = opened(pair.opening())
    with pytest.raises(ObjectDamaged, match="key p is right, but does not open"):
        opening.unwrap(flipped(opening.wrap(KEY, BINDING), bit), BINDING)


@pytest.mark.parametrize("wrapped", [b"", bytes(31), bytes(32), bytes(92), bytes(93)])
def test_what_is_no_wrapped_key_does_not_open(pair: Pair, wrapped: bytes) -> None:
    """Among them the point of which every result is zero."""
    with pytest.raises(ObjectDamaged):
        opened(pair.opening()).unwrap(wrapped, BINDING)


def test_a_wrapped_key_is_bound_to_repository_backup_and_key(pair: Pair) -> None:
    opening = opened(pair.opening())
    wrapped = opening.wrap(KEY, BINDING)
    for other in (
        Binding("1" * 32, BINDING.backup),
        Binding(REPOSITORY, BackupName("s2", BINDING.backup.label)),
    ):
        with pytest.raises(ObjectDamaged):
            opening.unwrap(wrapped, other)
    namesake = opened(PairSource("q", None, pair.private))
    with pytest.raises(ObjectDamaged):
        namesake.unwrap(wrapped, BINDING)


def test_another_pair_than_the_repository_knows_is_found_before_anything_is_sealed(
    pair: Pair, tmp_path: Path
) -> None:
    stranger = Pair(tmp_path, "stranger")
    for source in (pair.sealing(), pair.opening()):
        with pytest.raises(KeyUnusable, match=r"key p: its public half .* are not the same"):
            opened(source, stranger.sealing())


def test_halves_of_two_pairs_are_refused(pair: Pair, tmp_path: Path) -> None:
    stranger = Pair(tmp_path, "stranger")
    with pytest.raises(KeyUnusable, match="is not the public half of"):
        PairSource("p", stranger.public, pair.private).introduce(REPOSITORY, NOW)


def test_the_keyring_holds_the_public_half_alone(pair: Pair) -> None:
    entry = pair.opening().introduce(REPOSITORY, NOW)
    secret = load_pem_private_key(pair.private.read_bytes(), None)
    raw = secret.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    public = secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert (entry.provider, entry.check, entry.public_key) == (
        "x25519",
        None,
        base64.b64encode(public).decode(),
    )
    assert base64.b64encode(raw).decode() not in entry.model_dump_json()


def test_the_keyring_must_know_it_as_a_pair(pair: Pair) -> None:
    entry = pair.sealing().introduce(REPOSITORY, NOW).model_copy(update={"provider": "file"})
    with pytest.raises(KeyUnusable, match="says provider file, the configuration x25519"):
        pair.sealing().open(entry, REPOSITORY)


def test_a_new_pair_is_never_written_over_an_old_one(pair: Pair, tmp_path: Path) -> None:
    assert pair.private.stat().st_mode & 0o777 == 0o600
    before = pair.private.read_bytes(), pair.public.read_bytes()
    for private, public in ((pair.private, tmp_path / "x"), (tmp_path / "x", pair.public)):
        with pytest.raises(ConfigError, match="exists already"):
            create_pair(private, public)
    assert not (tmp_path / "x").exists()
    assert before == (pair.private.read_bytes(), pair.public.read_bytes())


def test_a_pair_that_openssl_made_is_understood(tmp_path: Path) -> None:
    private, public = tmp_path / "o.key", tmp_path / "o.pub"
    subprocess.run(["openssl", "genpkey", "-algorithm", "X25519", "-out", private], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    private.chmod(0o600)
    sealing, opening = opened(PairSource("p", public, None)), opened(PairSource("p", public, private))
    assert opening.unwrap(sealing.wrap(KEY, BINDING), BINDING) == KEY


def test_files_that_hold_no_such_key_are_refused_without_a_trace_of_them(tmp_path: Path) -> None:
    x25519 = Pair(tmp_path).private.read_bytes()
    locked = load_pem_private_key(x25519, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
    )
    signing = Ed25519PrivateKey.generate()
    other = signing.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content in (locked, other, x25519[:60], b"hunter2", bytes(32)):
        path = tmp_path / "wrong.key"
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(
            KeyUnusable, match=r"key p: .*wrong\.key does not hold the private half"
        ) as caught:
            PairSource("p", None, path).introduce(REPOSITORY, NOW)
        assert "hunter2" not in str(caught.value)
    path = tmp_path / "wrong.pub"
    for content in (
        x25519,
        signing.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        b"",
    ):
        path.write_bytes(content)
        with pytest.raises(KeyUnusable, match=r"key p: .*wrong\.pub does not hold the public half"):
            PairSource("p", path, None).introduce(REPOSITORY, NOW)


def test_a_private_half_that_others_can_read_is_refused(pair: Pair) -> None:
    pair.private.chmod(0o644)
    with pytest.raises(ConfigError, match="0644"):
        pair.opening().introduce(REPOSITORY, NOW)


def test_a_missing_half_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyUnusable, match="no-such-key"):
        PairSource("p", None, tmp_path / "no-such-key").introduce(REPOSITORY, NOW)
    with pytest.raises(KeyUnusable, match="no-such-half"):
        PairSource("p", tmp_path / "no-such-half", None).introduce(REPOSITORY, NOW)


def test_the_configuration_says_which_half_is_here(pair: Pair) -> None:
    for key in (
        KeyConfig(id="p", provider="x25519", public_key=pair.public),
        KeyConfig(id="p", provider="x25519", private_key=pair.private),
    ):
        (source,) = Keyring.from_config([key]).sources
        assert opened(source, pair.sealing()).can_open is (key.private_key is not None)  # pyright: ignore[reportArgumentType]
