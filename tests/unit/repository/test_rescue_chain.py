"""The second reader on chains and fulls that refer: links applied whole, the oldest first."""

from __future__ import annotations

import base64
import random
from pathlib import Path

import pytest
from chained import Donor, Taken, by_overlay, take_link, take_referring
from sealed_backups import TickingClock, differing, flipped
from test_chain import seal_anew
from test_overlay import live
from test_rescue import assert_failed, files_below, rescue

from backup.repack import repack
from repository import layout
from repository.keys import Binding, FileSource, Keyring, WrappedKey, create_key_file
from repository.manifest import Base
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore


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


def history(repository: Repository, clock: TickingClock, seed: int, kinds: str) -> list[Taken]:
    """A full, then an incremental or a full that refers for each letter, on the one before."""
    donor = Donor(random.Random(seed))
    for space_id in (0, 50, 51, 52):
        donor.create(space_id, 20)
    taken = [take_link(repository, clock, donor)]
    for kind in kinds:
        live(donor)
        step = take_link if kind == "i" else take_referring
        taken.append(step(repository, clock, donor, taken[-1].manifest))
    return taken


@pytest.mark.parametrize("seed", range(3))
def test_every_backup_of_a_history_comes_back(
    kept: Repository, folder: Path, key: Path, tmp_path: Path, ticking: TickingClock, seed: int
) -> None:
    taken = history(kept, ticking, seed, "iiriir"[seed % 3 :])
    for number, each in enumerate(taken[1:]):
        target = tmp_path / f"data{number}"
        run = rescue(folder, "restore", folder, "s1", each.manifest.label, target, "--key", key)
        assert run.returncode == 0, run.stderr
        assert differing(files_below(target), dict(each.content)) == []
    run = rescue(folder, "check", folder, "--key", key)
    assert run.returncode == 0, run.stdout
    assert run.stdout.count("every byte is as it was written") == len(taken)


def test_it_says_which_links_it_goes_through(
    kept: Repository, folder: Path, key: Path, tmp_path: Path, ticking: TickingClock
) -> None:
    full, first, second = (each.manifest for each in history(kept, ticking, 1, "ii"))
    run = rescue(folder, "list", folder, "--key", key)
    assert run.returncode == 0
    lines = run.stdout.splitlines()
    assert "continues" not in lines[0]
    assert f"continues {full.label}" in lines[1]
    assert f"continues {first.label}" in lines[2]
    run = rescue(folder, "restore", folder, "s1", "latest", tmp_path / "data", "--key", key)
    assert f"{second.label} is a chain of 3 links, down to {full.label}" in run.stdout


def test_what_is_left_of_an_expired_backup_serves_those_who_refer_to_it_and_nobody_else(
    kept: Repository, folder: Path, key: Path, tmp_path: Path, ticking: TickingClock
) -> None:
    taken = history(kept, ticking, 4, "rrr")
    full, last = taken[0].manifest, taken[-1]
    assert repack(kept, full, [last.manifest], below=1.01).reduced
    target = tmp_path / "data"
    run = rescue(folder, "restore", folder, "s1", "latest", target, "--key", key)
    assert run.returncode == 0, run.stderr
    assert differing(files_below(target), dict(last.content)) == []
    run = rescue(folder, "check", folder, "s1", "latest", "--key", key)
    assert run.returncode == 0, run.stdout
    run = rescue(folder, "restore", folder, "s1", full.label, tmp_path / "full", "--key", key)
    assert_failed(run, "its backup has expired")
    run = rescue(folder, "check", folder, "s1", full.label, "--key", key)
    assert run.returncode == 1


@pytest.mark.parametrize("kinds", ["ii", "ir"])
def test_what_is_missing_is_named_before_anything_is_written(
    kept: Repository, folder: Path, key: Path, tmp_path: Path, ticking: TickingClock, kinds: str
) -> None:
    full, first, last = (each.manifest for each in history(kept, ticking, 1, kinds))
    (folder / layout.manifest(first.backup)).unlink()
    run = rescue(folder, "list", folder, "--key", key)
    assert run.returncode == 1
    assert f"BROKEN: it needs s1 {first.label}, missing in this copy" in run.stdout
    target = tmp_path / "data"
    run = rescue(folder, "restore", folder, "s1", "latest", target, "--key", key)
    if kinds == "ii":
        assert_failed(run, f"s1 {last.label} continues {first.label}: ")
        assert "is missing in this copy" in run.stderr
        assert not target.exists()
    else:
        # The packs are there, and their key: on the day of need that is enough.
        assert run.returncode == 0, run.stderr
    run = rescue(folder, "check", folder, "s1", "latest", "--key", key)
    assert run.returncode == 1
    assert first.label in run.stdout
    run = rescue(folder, "restore", folder, "s1", full.label, tmp_path / "full", "--key", key)
    assert run.returncode == 0, run.stderr


def test_a_base_that_does_not_fit_and_a_chain_without_end_are_refused(
    kept: Repository, folder: Path, key: Path, tmp_path: Path, ticking: TickingClock
) -> None:
    full, first, second = (each.manifest for each in history(kept, ticking, 1, "ii"))
    restore = ("restore", folder, "s1", second.label, tmp_path / "data", "--key", key)
    for base, fact in (
        (Base(label=full.label, checkpoint_lsn=1), f"continues {full.label} from LSN 1, but that has"),
        (Base(label=second.label, checkpoint_lsn=second.lsn.checkpoint), "has no end"),
    ):
        (folder / layout.manifest(first.backup)).unlink()
        seal_anew(kept, kept.store, first, base=base)
        assert_failed(rescue(folder, *restore), fact)
    assert not (tmp_path / "data").exists()


def test_an_id_that_comes_back_with_another_page_size_is_another_file(
    kept: Repository, folder: Path, key: Path, tmp_path: Path, ticking: TickingClock
) -> None:
    donor = Donor(random.Random(3))
    first = donor.create(0, 20)
    gone = donor.create(7, 20, page_size=1024)
    base = take_link(kept, ticking, donor)
    donor.drop(gone)
    donor.change(first, 4)
    between = take_link(kept, ticking, donor, base.manifest)
    donor.create(7, 3, page_size=4096).pages[1] = bytes(4096)
    last = take_link(kept, ticking, donor, between.manifest)
    assert differing(by_overlay(kept, last.manifest), dict(last.content)) == []
    target = tmp_path / "data"
    run = rescue(folder, "restore", folder, "s1", "latest", target, "--key", key)
    assert run.returncode == 0, run.stderr
    assert differing(files_below(target), dict(last.content)) == []
    table = tuple(
        entry.model_copy(update={"page_size": 2048}) if entry.space_id == 0 else entry
        for entry in base.manifest.files
    )
    (folder / layout.manifest(base.manifest.backup)).unlink()
    seal_anew(kept, kept.store, base.manifest, files=table)
    run = rescue(folder, "restore", folder, "s1", "latest", tmp_path / "other", "--key", key)
    assert_failed(run, f"has another page size in s1 {base.manifest.label}")
    assert not (tmp_path / "other").exists()


def test_damage_in_a_pack_of_another_backup_is_found(
    kept: Repository, folder: Path, key: Path, tmp_path: Path, ticking: TickingClock
) -> None:
    full, referring = (each.manifest for each in history(kept, ticking, 1, "r"))
    packs = sorted((folder / "data/s1" / full.label).glob("p*"))
    for pack in packs:
        pack.write_bytes(flipped(pack.read_bytes(), 8 * (pack.stat().st_size // 2)))
    run = rescue(folder, "check", folder, "s1", referring.label, "--key", key)
    assert run.returncode == 1
    assert f"data/s1/{full.label}/p" in run.stdout
    assert f"data/s1/{referring.label}/" not in run.stdout
    target = tmp_path / "data"
    assert_failed(
        rescue(folder, "restore", folder, "s1", "latest", target, "--key", key), "is incomplete, remove it"
    )


def test_a_check_of_an_incremental_reads_its_whole_chain(
    kept: Repository, folder: Path, key: Path, ticking: TickingClock
) -> None:
    full, first, second = (each.manifest for each in history(kept, ticking, 1, "ii"))
    pack = next((folder / "data/s1" / full.label).glob("p*"))
    pack.write_bytes(flipped(pack.read_bytes(), 8 * 200))
    run = rescue(folder, "check", folder, "s1", "latest", "--key", key)
    assert run.returncode == 1
    lines = run.stdout.splitlines()
    assert f"data/s1/{full.label}/{pack.name}" in lines[0]
    assert lines[1:] == [
        f"s1 {full.label}: 1 damages",
        f"s1 {first.label}: every byte is as it was written",
        f"s1 {second.label}: every byte is as it was written",
    ]


@pytest.mark.parametrize("kinds", ["i", "r"])
def test_backup_keys_unwrapped_by_kms_open_a_chain_in_any_order(
    kept: Repository, folder: Path, tmp_path: Path, ticking: TickingClock, kinds: str
) -> None:
    taken = history(kept, ticking, 1, kinds)
    given: list[str | Path] = []
    for each in taken:
        envelope = (folder / layout.wrapped_key(each.manifest.backup, "k1")).read_bytes()
        wrapped = base64.b64decode(WrappedKey.model_validate_json(envelope).wrapped)
        unwrapped = kept.keys.primary.unwrap(wrapped, Binding(kept.repository_id, each.manifest.backup))
        path = tmp_path / f"{each.manifest.label}.key"
        path.write_bytes(base64.b64encode(unwrapped) + b"\n")
        given += ["--backup-key", path]
    run = rescue(folder, "restore", folder, "s1", "latest", tmp_path / "data", *given)
    assert run.returncode == 0, run.stderr
    assert differing(files_below(tmp_path / "data"), dict(taken[-1].content)) == []
    alone = rescue(folder, "restore", folder, "s1", "latest", tmp_path / "alone", *given[2:])
    assert_failed(alone, taken[0].manifest.label)
