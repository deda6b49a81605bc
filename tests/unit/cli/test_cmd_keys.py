"""``backstay keys``: a key comes, takes over, and goes; and ``check`` finds the one that is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from door import Backstay
from test_cmd_backups import facts

from fleet.clock import SystemClock
from fleet.gtid import GtidSet
from fleet.parallelism import Parallelism
from repository.archive.archive import ShardArchive
from repository.archive.ledger import EpochFacts
from repository.keys import FileSource, Keyring, create_key_file
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore
from repository.writer import begin_backup

NOTHING = GtidSet.parse("")
FIRST = EpochFacts("first", "3e11fa47-71ca-11e1-9e33-c80aa9429562", "s1-a", NOTHING, None, NOTHING, NOTHING)
Configure = Callable[..., None]


@pytest.fixture
def configure(home: Path) -> Configure:
    """Write the configuration anew, with these keys in this order; each is ``id``, or the lines of one."""
    head = (home / "backstay.toml").read_text().split("[[keys]]")[0]

    def write(*keys: str) -> None:
        entries = [key if "\n" in key else file_key(key) for key in keys]
        (home / "backstay.toml").write_text(head + "\n".join(f"[[keys]]\n{entry}" for entry in entries))

    return write


def file_key(key_id: str) -> str:
    return f'id = "{key_id}"\nprovider = "file"\nfile = "{key_id}.key"\n'


@pytest.fixture
def label(backstay: Backstay, home: Path) -> str:
    """The backup's label; it and an epoch are wrapped by ``k1``, and ``k2.key`` is there."""
    backstay("init", "--new-key", "k1.key")
    create_key_file(home / "k2.key")
    return fill(home, "k1")


def fill(home: Path, key_id: str) -> str:
    source = FileSource(key_id, home / f"{key_id}.key")
    repository = Repository.open(FilesystemStore(home / "repository"), Keyring([source]))
    archive = ShardArchive(repository, "s1")
    archive.open_epoch(FIRST, SystemClock())
    with begin_backup(
        repository, "s1", "full", parallelism=Parallelism(), pack_size=1 << 20, level=1, clock=SystemClock()
    ) as writer:
        return writer.complete(facts().model_copy(update={"files": ()})).label


def test_a_key_comes_takes_over_and_goes(backstay: Backstay, configure: Configure, label: str) -> None:
    configure("k1", "k2")
    assert backstay("keys", "list").out.splitlines()[:2] == [
        "k1  file  first, opens                         1 backup, 1 epoch; 2 by it alone",
        "k2  -     unusable, unknown to the repository  0 backups, 0 epochs",
    ]
    assert backstay("keys", "add", "k2").out == (
        "Key k2 is known now; it opens what it wraps from here on.\n"
    )
    configure("k2", "k1")
    plan = backstay("keys", "rotate", "--dry-run")
    assert (plan.exit_code, plan.out) == (0, "Key k2 opens 0 wrapped keys already; to wrap: 2.\n")
    refused = backstay("keys", "retire", "k1", "--yes")
    assert refused.exit_code == 41
    assert refused.out.splitlines()[:3] == [
        "It alone opens 2:",
        "  no other key wraps it:",
        f"    backup s1/{label}",
    ]
    assert "Run `backstay keys rotate`" in refused.err
    rotated = backstay("keys", "rotate")
    assert rotated.exit_code == 0
    assert rotated.out.endswith("Key k2 now opens 2 more, 2 in all.\n")
    plan = backstay("keys", "retire", "k1", "--dry-run")
    assert plan.out == "Key k2 was tried just now, and opens 2 of what key k1 opens.\n"
    retired = backstay("keys", "retire", "k1", "--yes")
    assert retired.exit_code == 0
    assert "Key k1 is retired: 2 wrapped keys of it deleted" in retired.out
    configure("k2")
    assert backstay("keys", "list").out == "k2  file  first, opens  1 backup, 1 epoch; 2 by it alone\n"
    assert backstay("backup", "show", "s1", label).exit_code == 0
    configure("k1")
    shown = backstay("backup", "show", "s1", label)
    assert shown.exit_code == 11
    assert "the repository does not know key k1; it knows k2" in shown.err


def test_programs_are_told_the_same(backstay: Backstay, configure: Configure, label: str) -> None:
    configure("k2", "k1")
    assert backstay("keys", "add", "--json").json == {
        "keys": [{"key_id": "k2", "outcome": "new"}, {"key_id": "k1", "outcome": "known"}]
    }
    plan = backstay("keys", "rotate", "--dry-run", "--json").json
    assert [each["place"]["label"] for each in plan["wraps"]] == [label, "archive-000001"]
    assert backstay("keys", "rotate", "--json").json == {"primary": "k2", "wrapped": 2, "done": 0, "shut": []}
    plan = backstay("keys", "retire", "k1", "--dry-run", "--json").json
    assert (plan["opened_by"], len(plan["places"]), plan["alone"]) == ({"k2": 2}, 2, [])
    assert backstay("keys", "retire", "k1", "--yes", "--json").json == {"key_id": "k1", "deleted": 2}
    keys = backstay("keys", "list", "--json").json
    assert [(key["key_id"], key["state"], key["backups"]) for key in keys["keys"]] == [
        ("k2", "opens", 1),
        ("k1", "unusable", 0),
    ]
    assert keys["lost"] == []


def test_nobody_is_there_to_ask_before_a_key_is_retired(
    backstay: Backstay, configure: Configure, label: str
) -> None:
    configure("k2", "k1")
    backstay("keys", "add")
    backstay("keys", "rotate")
    answer = backstay("keys", "retire", "k1")
    assert answer.exit_code == 2
    assert "nobody is here to ask" in answer.err
    configure("k1")
    assert backstay("backup", "show", "s1", label).exit_code == 0


@pytest.mark.parametrize(
    ("key", "code", "fact"),
    [
        ("k1", 2, "key k1 is the first of the configuration"),
        ("k9", 40, "the repository does not know key k9"),
        ("no/key", 2, "cannot be part of an object name"),
    ],
)
def test_what_cannot_be_retired_is_refused(
    backstay: Backstay, label: str, key: str, code: int, fact: str
) -> None:
    assert label
    answer = backstay("keys", "retire", key, "--yes")
    assert answer.exit_code == code
    assert fact in answer.err


def test_a_key_that_is_lost_is_found_before_it_is_needed(
    backstay: Backstay, home: Path, configure: Configure, label: str
) -> None:
    configure("k1", "k2")
    backstay("keys", "add")
    configure("k2")
    (finding,) = [each for each in findings(backstay) if each["subject"] == "keys"]
    assert finding["level"] == "fail"
    assert finding["message"] == (
        "1 backup and 1 epoch cannot be opened by any key of the configuration: "
        f"backup s1/{label}, epoch s1/archive-000001"
    )
    assert "or name it under [[keys]]: k1." in finding["hint"]
    listed = backstay("keys", "list").out
    assert "No key of the configuration opens 1 backup and 1 epoch:" in listed
    configure("k2", "k1")
    (home / "k1.key").unlink()
    subjects = [(each["level"], each["subject"]) for each in findings(backstay)]
    assert ("warn", "key k1") in subjects and ("fail", "keys") in subjects
    answer = backstay("keys", "rotate")
    assert answer.exit_code == 41
    assert "k1.key" in answer.out


def test_a_key_that_does_not_open_its_newest_backup_is_found(
    backstay: Backstay, home: Path, label: str
) -> None:
    wrapped = home / f"repository/keys/s1/{label}/k1.json"
    wrapped.chmod(0o644)
    wrapped.write_text('{"format": 1, "key_id": "k1", "wrapped": "AAAA"}')
    (finding,) = [each for each in findings(backstay) if each["subject"] == "key k1"]
    assert finding["level"] == "fail"
    assert f"keys/s1/{label}/k1.json is damaged" in finding["message"]


def findings(backstay: Backstay) -> list[dict[str, str]]:
    return backstay("check", "s2", "--json").json["findings"]


def test_a_machine_with_the_public_half_alone_says_what_it_cannot_do(
    backstay: Backstay, home: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKSTAY_TEST_PASSWORD", "secret")
    made = backstay("keys", "generate", "pair.key")
    assert made.exit_code == 0
    assert made.out.startswith("private_key  pair.key\npublic_key   pair.key.pub\n")
    assert backstay("keys", "generate", "pair.key").exit_code == 10
    sealing = 'id = "pair"\nprovider = "x25519"\npublic_key = "pair.key.pub"\n'
    configure(sealing)
    assert backstay("init").exit_code == 0
    (finding,) = [each for each in findings(backstay) if each["subject"] == "key pair"]
    assert finding["message"] == "wraps new backups, and opens none: only its public half is here"
    refused = backstay("archive", "run", "--once", "s1")
    assert refused.exit_code == 11
    assert (
        "the archiver has to read what is stored, but of key pair only the public half is here" in refused.err
    )
    configure("[archive]\n[[keys]]\n" + sealing)
    config = (home / "backstay.toml").read_text().replace("[[keys]]\n[archive]", "[archive]")
    (home / "backstay.toml").write_text(config)
    failed = [each for each in findings(backstay) if (each["level"], each["subject"]) == ("fail", "archive")]
    assert "the archiver has to read" in failed[0]["message"]
