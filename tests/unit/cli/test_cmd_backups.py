"""``backstay backup list``, ``backup show`` and ``verify``: what people and programs are told of a backup."""

from __future__ import annotations

from pathlib import Path

import pytest
from door import Backstay

from fleet.blocks import Extent, Stage
from fleet.clock import SystemClock
from fleet.parallelism import Parallelism
from repository.catalog import Catalog
from repository.keys import FileSource, Keyring
from repository.manifest import (
    BackupFacts,
    BinlogBracket,
    Donor,
    FileEntry,
    GtidBracket,
    Lsn,
    Manifest,
    Proof,
    ProofCheck,
    Settings,
)
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore
from repository.writer import begin_backup

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
SIZE = 4 * 1024 * 1024


def facts() -> BackupFacts:
    return BackupFacts(
        files=(FileEntry(number=0, name="ibdata1", size=SIZE, space_id=0, page_size=16384),),
        donor=Donor(
            server_uuid=UUID,
            server_name="s1-b",
            host="db-b.example",
            port=3306,
            version="8.4.5",
            compile_machine="x86_64",
            compile_os="Linux",
        ),
        settings=Settings(
            innodb_page_size=16384,
            lower_case_table_names=0,
            innodb_data_file_path="ibdata1:12M:autoextend",
            character_set_server="utf8mb4",
            collation_server="utf8mb4_0900_ai_ci",
        ),
        lsn=Lsn(start=1, checkpoint=2, end=3),
        gtid=GtidBracket(low=f"{UUID}:1-77", high=f"{UUID}:1-80"),
        binlog=BinlogBracket(low_file="b.000001", low_position=4, high_file="b.000001", high_position=5),
    )


@pytest.fixture
def repository(backstay: Backstay, home: Path) -> Repository:
    assert backstay("init", "--new-key", "k1.key").exit_code == 0
    store = FilesystemStore(home / "repository")
    return Repository.open(store, Keyring([FileSource("k1", home / "k1.key")]))


@pytest.fixture
def manifest(repository: Repository) -> Manifest:
    """A backup of shard s1: one file of 4 MiB that compresses well."""
    with begin_backup(
        repository,
        "s1",
        "full",
        parallelism=Parallelism(),
        pack_size=1024 * 1024,
        level=1,
        clock=SystemClock(),
    ) as writer:
        lane = writer.open_lane()
        lane.add(Stage.FILE, [Extent(0, 0, SIZE)], memoryview(bytes(SIZE)))
        lane.close()
        return writer.complete(facts())


def prove(repository: Repository, manifest: Manifest, *, passed: bool = True) -> None:
    proof = Proof(
        repository_id=repository.repository_id,
        shard=manifest.shard,
        label=manifest.label,
        proven=passed,
        gtid_executed=f"{UUID}:1-78",
        server_version="8.4.5",
        checks=(ProofCheck(name="gtid set", passed=passed),),
        finished_at=manifest.timings.finished_at,
        created_by="backstay 0.1.0",
    )
    Catalog(repository).record_proof(manifest, proof)


def test_an_empty_repository_says_how_to_take_a_backup(backstay: Backstay, repository: Repository) -> None:
    answer = backstay("backup", "list")
    assert (answer.exit_code, answer.out) == (
        0,
        "There is no backup yet. Take one: backstay backup full --all\n",
    )
    assert backstay("backup", "list", "--json").json == {"backups": [], "unreadable": [], "holds": []}


def test_the_list_tells_taken_from_proven(
    backstay: Backstay, repository: Repository, manifest: Manifest
) -> None:
    lines = backstay("backup", "list").out.splitlines()
    assert lines[0].split() == ["shard", "backup", "state", "data", "stored", "took"]
    assert lines[1].split()[:5] == ["s1", manifest.label, "taken", "4.19", "MB"]
    prove(repository, manifest)
    assert backstay("backup", "list", "s1").out.splitlines()[1].split()[2] == "proven"
    assert backstay("backup", "list", "s2").out.startswith("There is no backup yet.")


def test_the_list_has_the_same_keys_for_every_backup(backstay: Backstay, manifest: Manifest) -> None:
    (backup,) = backstay("backup", "list", "--json").json["backups"]
    assert backup["left_bytes"] == backup["stored_bytes"] > 0
    assert backup | {"started_at": "", "finished_at": "", "stored_bytes": 0, "left_bytes": 0} == {
        "shard": "s1",
        "label": manifest.label,
        "kind": "full",
        "started_at": "",
        "finished_at": "",
        "proven": False,
        "files": 1,
        "files_bytes": SIZE,
        "stored_bytes": 0,
        "donor": "s1-b",
        "server_version": "8.4.5",
        "gtid_high": f"{UUID}:1-80",
        "gtid_low": f"{UUID}:1-77",
        "base": None,
        "built_on": None,
        "consolidates": None,
        "refers": False,
        "broken": None,
        "expired_at": None,
        "expired_because": None,
        "reduced": False,
        "damaged": None,
        "left_bytes": 0,
    }
    assert backup["finished_at"].endswith("Z")


def test_a_damaged_manifest_is_listed_with_its_reason_beside_the_sound_ones(
    backstay: Backstay, home: Path, manifest: Manifest
) -> None:
    stored = home / "repository/manifests/s1"
    (stored / "20260301T021500Z-full").write_bytes((stored / manifest.label).read_bytes())
    answer = backstay("backup", "list")
    assert answer.exit_code == 23
    assert manifest.label in answer.out
    assert "fail  s1/20260301T021500Z-full" in answer.out
    (unreadable,) = backstay("backup", "list", "--json").json["unreadable"]
    assert unreadable["label"] == "20260301T021500Z-full"


def test_a_shard_that_is_nowhere_is_no_empty_answer(backstay: Backstay, manifest: Manifest) -> None:
    answer = backstay("backup", "list", "s11")
    assert answer.exit_code == 40
    assert "s11" in answer.err


def test_a_repository_of_which_nothing_can_be_read_is_not_called_empty(
    backstay: Backstay, home: Path, manifest: Manifest
) -> None:
    (home / "repository/manifests/s1" / manifest.label).write_bytes(b"nonsense")
    answer = backstay("backup", "list", "--json")
    assert answer.exit_code == 25
    assert answer.json["error"]["kind"] == "ObjectDamaged"
    assert answer.json["backups"] == []


def test_show_tells_all_that_is_known_of_the_newest_backup(backstay: Backstay, manifest: Manifest) -> None:
    answer = backstay("backup", "show", "s1")
    told = {line[:16].strip(): line[16:].strip() for line in answer.out.splitlines()}
    assert told["backup"] == f"s1/{manifest.label}"
    assert told["state"] == "taken, not proven yet"
    assert told["donor"] == "s1-b at db-b.example:3306, MySQL 8.4.5"
    assert told["data"] == "4.19 MB in 1 file"
    assert told["GTIDs, at least"] == f"{UUID}:1-77"
    assert told["at most"] == f"{UUID}:1-80"


def test_show_gives_programs_the_manifest_without_its_lists(
    backstay: Backstay, repository: Repository, manifest: Manifest
) -> None:
    prove(repository, manifest, passed=False)
    shown = backstay("backup", "show", "s1", manifest.label, "--json").json
    assert set(shown) == {"backup", "manifest", "proofs", "chain", "holds"}
    assert shown["manifest"]["lsn"] == {"start": 1, "checkpoint": 2, "end": 3, "log_uuid": None}
    assert not shown["manifest"].keys() & {"files", "directories", "index"}
    assert shown["proofs"][0]["proven"] is False
    assert "the last restore of it failed its proof" in backstay("backup", "show", "s1").out


def test_a_backup_that_is_not_there_is_named_with_the_nearest_one(
    backstay: Backstay, manifest: Manifest
) -> None:
    answer = backstay("backup", "show", "s1", "20200101T000000Z-full")
    assert answer.exit_code == 40
    assert manifest.label in answer.err


def test_verify_says_that_every_byte_is_as_it_was_written(backstay: Backstay, manifest: Manifest) -> None:
    answer = backstay("verify", "s1")
    assert answer.exit_code == 0
    assert answer.out.splitlines()[-1] == "verdict  every stored byte is as it was written"
    verified = backstay("verify", "s1", "--backup", manifest.label, "--json").json
    assert (verified["sound"], verified["damages"], verified["frames"]) == (True, [], 1)


def test_verify_names_the_object_in_which_one_bit_was_flipped(
    backstay: Backstay, home: Path, manifest: Manifest
) -> None:
    pack = home / "repository/data/s1" / manifest.label / "p00000000"
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    answer = backstay("verify", "s1")
    assert answer.exit_code == 41
    assert f"fail  data/s1/{manifest.label}/p00000000" in answer.out
    assert answer.err.startswith(f"error: backup s1/{manifest.label} is damaged in 1 object\nhint: ")
    damaged = backstay("verify", "s1", "--json").json
    assert damaged["error"]["exit_code"] == 41
    assert [damage["name"] for damage in damaged["damages"]] == [f"data/s1/{manifest.label}/p00000000"]


def test_verify_reads_every_backup_of_a_shard_or_of_all(
    backstay: Backstay, repository: Repository, manifest: Manifest
) -> None:
    for arguments in (["s1", "--all"], ["--all"]):
        verified = backstay("verify", *arguments, "--json").json
        assert (verified["sound"], verified["unreadable"]) == (True, [])
        assert [one["label"] for one in verified["backups"]] == [manifest.label]
    assert backstay("verify", "--all").out.splitlines()[1].split()[:3] == ["s1", manifest.label, "sound"]
    assert backstay("verify", "s2", "--all", "--json").json["backups"] == []
    assert backstay("verify", "s11", "--all").exit_code == 40


def test_verify_of_all_names_every_backup_that_is_damaged_or_cannot_be_read(
    backstay: Backstay, home: Path, manifest: Manifest
) -> None:
    stored = home / "repository/manifests/s1"
    (stored / "20260301T021500Z-full").write_bytes((stored / manifest.label).read_bytes())
    (home / "repository/data/s1" / manifest.label / "p00000000").unlink()
    answer = backstay("verify", "--all")
    assert answer.exit_code == 41
    assert f"fail  data/s1/{manifest.label}/p00000000" in answer.out
    assert "fail  s1/20260301T021500Z-full" in answer.out
    assert answer.err.startswith("error: 2 of 2 backups cannot be restored whole: s1/20260301T021500Z-full, ")
    told = backstay("verify", "s1", "--all", "--json").json
    assert (told["sound"], told["error"]["exit_code"]) == (False, 41)
    assert [one["sound"] for one in told["backups"]] == [False]
    assert [one["label"] for one in told["unreadable"]] == ["20260301T021500Z-full"]


def test_a_restore_of_a_damaged_backup_says_how_to_find_a_sound_one(
    backstay: Backstay, home: Path, manifest: Manifest
) -> None:
    damaged = home / "repository/manifests/s1" / manifest.label
    damaged.chmod(0o600)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    answer = backstay("restore", "s1", "--into", "restored")
    assert answer.exit_code == 25
    assert f"manifests/s1/{manifest.label} is damaged" in answer.err
    assert "hint: `backstay verify s1 --all` tells which backups are sound" in answer.err
    assert not (home / "restored").exists()


def test_verify_without_a_shard_reads_everything(backstay: Backstay, manifest: Manifest) -> None:
    told = backstay("verify", "--json").json
    assert [one["label"] for one in told["backups"]] == [manifest.label]
    assert (told["sound"], told["how"]["mode"], told["pages"]) == (True, "full", SIZE // 16384)


def test_verify_is_of_one_backup_or_of_all(backstay: Backstay, manifest: Manifest) -> None:
    assert backstay("verify", "s1", manifest.label, "--json").json["label"] == manifest.label
    assert backstay("verify", "s1", manifest.label, "--all").exit_code == 2
    assert backstay("verify", "s1", manifest.label, "--backup", manifest.label).exit_code == 2
    assert backstay("verify", "s1", "--all", "--backup", "20260301T021500Z-full").exit_code == 2


def test_the_wrong_key_is_an_error_of_its_own(backstay: Backstay, home: Path, manifest: Manifest) -> None:
    (home / "k1.key").write_bytes(bytes(32))
    answer = backstay("backup", "list")
    assert answer.exit_code == 11
    assert answer.err.startswith("error: key k1 is wrong, or ")


@pytest.mark.parametrize(
    "arguments", [["backup", "list"], ["backup", "show", "s1"], ["verify", "s1"], ["verify", "--all"]]
)
def test_everything_fits_80_columns(
    backstay: Backstay, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    answer = backstay(*arguments)
    assert max(map(len, answer.out.splitlines())) <= 80
    assert not any(line.endswith(" ") for line in answer.out.splitlines())
