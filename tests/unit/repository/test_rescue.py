"""The second reader, run as a stranger would run it: by itself, on a copy of the repository."""

from __future__ import annotations

import ast
import base64
import shutil
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from sealed_backups import TickingClock, differing, flipped, restored, sample, take
from test_catalog import proof_of

import repository.repository
from repository import layout
from repository.catalog import Catalog
from repository.codec import encode_document
from repository.damage_notes import DamageNotes
from repository.held_lease import HeldLease
from repository.held_turn import HeldTurn
from repository.holds import Holds
from repository.keys import Binding, FileSource, Keyring, PassphraseSource, WrappedKey, create_key_file
from repository.leases import LeaseTerms
from repository.marks import Marks
from repository.repository import Repository
from repository.seal import Identity, ObjectKind, seal_object
from repository.stores.filesystem import FilesystemStore
from repository.turns import TurnTerms

RESCUE = Path(repository.repository.__file__).with_name("rescue") / "rescue.py"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "copy"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "backup.key"
    create_key_file(path)
    return path


@pytest.fixture
def kept(folder: Path, key: Path, ticking: TickingClock) -> Repository:
    return Repository.create(FilesystemStore(folder), Keyring([FileSource("k1", key)]), ticking)


def rescue(folder: Path, *arguments: str | Path, secret: str = "") -> subprocess.CompletedProcess[str]:
    """Run the copy's own rescue.py, isolated from this checkout's modules."""
    return subprocess.run(
        [sys.executable, "-I", folder / "rescue.py", *arguments],
        capture_output=True,
        text=True,
        input=secret,
        cwd="/",
        timeout=60,
        check=False,
    )


def files_below(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def assert_failed(run: subprocess.CompletedProcess[str], fact: str) -> None:
    assert run.returncode == 1
    assert run.stderr.startswith("rescue: ")
    assert fact in run.stderr
    assert "Traceback" not in run.stderr


def test_it_needs_python_and_two_packages_and_nothing_of_ours() -> None:
    tree = ast.parse(RESCUE.read_text("utf-8"), feature_version=(3, 9))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    roots = {name.partition(".")[0] for name in imported}
    assert roots - set(sys.stdlib_module_names) == {"cryptography", "zstandard"}
    assert not any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(tree))


def test_every_repository_carries_it(kept: Repository, folder: Path) -> None:
    assert (folder / "rescue.py").read_bytes() == RESCUE.read_bytes()
    assert (folder / "RESCUE.md").read_bytes() == RESCUE.with_name("RESCUE.md").read_bytes()


def test_it_restores_the_same_bytes_as_the_reader(
    kept: Repository, folder: Path, key: Path, tmp_path: Path, ticking: TickingClock
) -> None:
    take(kept, ticking, sample(5))
    manifest = take(kept, ticking, sample())
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy)
    target = tmp_path / "data"
    run = rescue(copy, "restore", copy, "s1", manifest.label, target, "--key", key)
    assert run.returncode == 0, run.stderr
    assert differing(files_below(target), restored(kept, manifest)) == []
    assert differing(files_below(target), sample().content()) == []
    directories = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_dir()}
    assert directories == {"mysql", "shop", "#clone", "#innodb_redo"}
    assert "--innodb-page-size=16384" in run.stdout
    assert "--innodb-data-file-path='ibdata1:12M:autoextend'" in run.stdout
    assert "9.7.4" in run.stdout


def test_latest_is_the_newest_and_an_empty_directory_is_filled(
    kept: Repository, folder: Path, key: Path, tmp_path: Path, ticking: TickingClock
) -> None:
    take(kept, ticking, sample(5))
    take(kept, ticking, sample(6))
    target = tmp_path / "data"
    target.mkdir()
    assert rescue(folder, "restore", folder, "s1", "latest", target, "--key", key).returncode == 0
    assert differing(files_below(target), sample(6).content()) == []


def test_a_directory_with_anything_in_it_is_refused(
    kept: Repository, folder: Path, key: Path, tmp_path: Path, ticking: TickingClock
) -> None:
    take(kept, ticking, sample())
    target = tmp_path / "data"
    target.mkdir()
    (target / "precious").write_text("mine")
    run = rescue(folder, "restore", folder, "s1", "latest", target, "--key", key)
    assert_failed(run, "is not an empty directory; nothing was written")
    assert files_below(target) == {"precious": b"mine"}
    assert_failed(
        rescue(folder, "restore", folder, "s1", "latest", key, "--key", key), "not an empty directory"
    )


def test_it_lists_backups_with_and_without_a_key(
    kept: Repository, folder: Path, key: Path, ticking: TickingClock
) -> None:
    assert rescue(folder, "list", folder).stdout == ""
    one, two = take(kept, ticking, sample()), take(kept, ticking, sample(), shard="s2")
    run = rescue(folder, "list", folder)
    assert run.returncode == 0
    lines = run.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["s1", one.label], ["s2", two.label]]
    assert all("wrapped by k1" in line and "MySQL" not in line for line in lines)
    run = rescue(folder, "list", folder, "--key", key)
    assert all("MySQL 9.7.4" in line and "6 files" in line for line in run.stdout.splitlines())


def test_what_retention_keeps_beside_the_backups_is_nothing_to_it(
    kept: Repository, folder: Path, key: Path, ticking: TickingClock
) -> None:
    old, new = take(kept, ticking, sample()), take(kept, ticking, sample())
    before = rescue(folder, "list", folder, "--key", key)
    Marks(kept).put(old.backup, "a trial")
    Marks(kept).begin_pruning(old.backup)
    until = ticking.now() + timedelta(days=9)
    Holds(kept).place(new.backup, "a trial", until, now=ticking.now(), by="ops")
    assert HeldLease(kept, LeaseTerms("s1", "restore", (new.label,)), ticking).take()
    assert HeldTurn(kept, TurnTerms("shard", "s1"), ticking).take() is None
    DamageNotes(kept).put(layout.pack(old.backup, 0), "a trial")
    assert {"expired", "holds", "findings", "leases", "turns"} <= {path.name for path in folder.iterdir()}
    after = rescue(folder, "list", folder, "--key", key)
    assert (after.returncode, after.stdout, after.stderr) == (0, before.stdout, "")
    assert rescue(folder, "check", folder, "s1", old.label, "--key", key).returncode == 0


def test_an_unreadable_backup_is_listed_as_such(
    kept: Repository, folder: Path, key: Path, ticking: TickingClock
) -> None:
    manifest = take(kept, ticking, sample())
    path = folder / layout.manifest(manifest.backup)
    path.write_bytes(path.read_bytes()[:-1])
    run = rescue(folder, "list", folder, "--key", key)
    assert run.returncode == 1
    assert "UNREADABLE" in run.stdout


def test_a_wrong_a_missing_and_a_malformed_key_are_named(
    kept: Repository, folder: Path, key: Path, tmp_path: Path, ticking: TickingClock
) -> None:
    manifest = take(kept, ticking, sample())
    wrong = tmp_path / "wrong.key"
    create_key_file(wrong)
    target = tmp_path / "data"
    restore = ("restore", folder, "s1", "latest", target)
    assert_failed(rescue(folder, *restore, "--key", wrong), "none of those that the repository knows: k1")
    assert_failed(rescue(folder, *restore), "give one of --key FILE")
    assert_failed(rescue(folder, *restore, "--key", tmp_path / "nothing"), "cannot read a key from")
    (tmp_path / "short").write_bytes(b"c2hvcnQ=")
    assert_failed(rescue(folder, *restore, "--key", tmp_path / "short"), "does not hold 32 bytes")
    (folder / layout.wrapped_key(manifest.backup, "k1")).unlink()
    assert_failed(rescue(folder, *restore, "--key", key), "no key: it is missing in this copy")
    assert not target.exists()


def test_a_passphrase_opens_it_too(tmp_path: Path, folder: Path, ticking: TickingClock) -> None:
    keyring = Keyring([PassphraseSource("p", lambda: "grüß dich\n")])
    made = Repository.create(FilesystemStore(folder), keyring, ticking)
    take(made, ticking, sample())
    secret = tmp_path / "passphrase"
    secret.write_text("grüß dich\r\n", encoding="utf-8")
    run = rescue(folder, "restore", folder, "s1", "latest", tmp_path / "a", "--passphrase-file", secret)
    assert run.returncode == 0, run.stderr
    assert differing(files_below(tmp_path / "a"), sample().content()) == []
    secret.write_text("gruss dich", encoding="utf-8")
    run = rescue(folder, "restore", folder, "s1", "latest", tmp_path / "b", "--passphrase-file", secret)
    assert_failed(run, "none of those that the repository knows: p")


def test_a_backup_key_unwrapped_by_kms_opens_its_backup(
    kept: Repository, folder: Path, tmp_path: Path, ticking: TickingClock
) -> None:
    manifest = take(kept, ticking, sample())
    envelope = (folder / layout.wrapped_key(manifest.backup, "k1")).read_bytes()
    wrapped = base64.b64decode(WrappedKey.model_validate_json(envelope).wrapped)
    unwrapped = kept.keys.primary.unwrap(wrapped, Binding(kept.repository_id, manifest.backup))
    (tmp_path / "this-backup.key").write_bytes(base64.b64encode(unwrapped) + b"\n")
    run = rescue(
        folder,
        "restore",
        folder,
        "s1",
        "latest",
        tmp_path / "a",
        "--backup-key",
        tmp_path / "this-backup.key",
    )
    assert run.returncode == 0, run.stderr
    assert differing(files_below(tmp_path / "a"), sample().content()) == []


def test_check_reads_every_byte_and_names_all_damage(
    kept: Repository, folder: Path, key: Path, ticking: TickingClock
) -> None:
    manifest = take(kept, ticking, sample())
    Catalog(kept).record_proof(manifest, proof_of(manifest))
    run = rescue(folder, "check", folder, "--key", key)
    assert run.returncode == 0, run.stderr
    assert f"s1 {manifest.label}: every byte is as it was written" in run.stdout
    data = sorted((folder / "data/s1" / manifest.label).iterdir())
    packs = [path for path in data if path.name.startswith("p")]
    packs[0].unlink()
    packs[1].write_bytes(flipped(packs[1].read_bytes(), 800))
    packs[2].write_bytes(packs[2].read_bytes()[:-1])
    packs[3].write_bytes(packs[3].read_bytes() + b"x")
    run = rescue(folder, "check", folder, "s1", "latest", "--key", key)
    assert run.returncode == 1
    for path in packs[:4]:
        assert f"data/s1/{manifest.label}/{path.name} is" in run.stdout
    assert "4 damages" in run.stdout


def test_a_flipped_bit_anywhere_ends_a_restore_in_words(
    kept: Repository, folder: Path, key: Path, tmp_path: Path, ticking: TickingClock
) -> None:
    manifest = take(kept, ticking, sample())
    for number, path in enumerate(
        (
            folder / layout.pack(manifest.backup, 1),
            folder / layout.index_part(manifest.backup, 0),
            folder / layout.manifest(manifest.backup),
            folder / layout.wrapped_key(manifest.backup, "k1"),
        )
    ):
        good = path.read_bytes()
        path.write_bytes(flipped(good, 8 * (len(good) // 2)))
        target = tmp_path / f"data{number}"
        run = rescue(folder, "restore", folder, "s1", "latest", target, "--key", key)
        assert_failed(run, path.name)
        if target.exists():
            assert "is incomplete, remove it" in run.stderr
            # Nothing that a server would start on.
            assert not (target / "ibdata1").exists()
        path.write_bytes(good)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "a\\b", "a//b"])
def test_unsafe_file_names_are_refused(
    kept: Repository, folder: Path, key: Path, tmp_path: Path, ticking: TickingClock, name: str
) -> None:
    manifest = take(kept, ticking, sample())
    text = manifest.model_dump_json().replace('"shop/empty.ibd"', '"' + name.replace("\\", "\\\\") + '"')
    object_name = layout.manifest(manifest.backup)
    identity = Identity(kept.repository_id, object_name, ObjectKind.MANIFEST)
    backup_key = kept.backup_key(manifest.backup)
    (folder / object_name).write_bytes(seal_object(identity, backup_key, encode_document(text.encode(), 1)))
    target = tmp_path / "deep" / "data"
    run = rescue(folder, "restore", folder, "s1", "latest", target, "--key", key)
    assert_failed(run, "could lead out of the directory")
    assert not target.exists()
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("backstay.json", '"format": 1', '"format": 2'), ("backstay.json", '"read": []', '"read": ["magic"]')],
)
def test_a_newer_repository_is_refused(
    kept: Repository, folder: Path, key: Path, name: str, old: str, new: str
) -> None:
    path = folder / name
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")
    assert_failed(rescue(folder, "list", folder, "--key", key), "use the rescue.py of a newer version")


def test_a_document_that_is_not_what_it_should_be_is_an_error_in_words(
    kept: Repository, folder: Path, key: Path
) -> None:
    (folder / "keyring" / "k1.json").write_text('{"format": 1, "key_id": "k1", "provider": "file"}', "utf-8")
    assert_failed(rescue(folder, "list", folder, "--key", key), "malformed: KeyError('check')")


def test_what_is_not_there_is_said_so(kept: Repository, folder: Path, key: Path, tmp_path: Path) -> None:
    assert_failed(rescue(folder, "list", tmp_path), "holds no backstay.json")
    run = rescue(folder, "restore", folder, "s1", "latest", tmp_path / "data", "--key", key)
    assert_failed(run, "no backup s1 latest: see rescue.py list")
    assert rescue(folder, "explode", folder).returncode == 2


def test_it_never_writes_into_the_repository(
    kept: Repository, folder: Path, key: Path, tmp_path: Path, ticking: TickingClock
) -> None:
    take(kept, ticking, sample())

    def state() -> dict[str, tuple[bytes, int]]:
        return {
            str(path): (path.read_bytes(), path.stat().st_mtime_ns)
            for path in folder.rglob("*")
            if path.is_file()
        }

    before = state()
    rescue(folder, "list", folder, "--key", key)
    rescue(folder, "check", folder, "--key", key)
    rescue(folder, "restore", folder, "s1", "latest", tmp_path / "data", "--key", key)
    assert state() == before


def test_the_restored_directory_is_not_for_everybody(
    kept: Repository, folder: Path, key: Path, tmp_path: Path, ticking: TickingClock
) -> None:
    take(kept, ticking, sample())
    rescue(folder, "restore", folder, "s1", "latest", tmp_path / "data", "--key", key)
    mode = (tmp_path / "data").stat().st_mode
    assert not mode & stat.S_IRWXO


def test_the_guide_names_every_command_and_option() -> None:
    guide = RESCUE.with_name("RESCUE.md").read_text("utf-8")
    for word in (
        "list",
        "restore",
        "check",
        "--key",
        "--passphrase",
        "--passphrase-file",
        "--backup-key",
        "latest",
    ):
        assert word in guide
    assert "pip install cryptography zstandard" in guide
