"""What people read of a verification on a narrow screen: whole names, and what is wrong below them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from door import Backstay

from fleet.clock import SystemClock
from fleet.gtid import GtidSet
from repository import layout
from repository.archive.archive import ShardArchive
from repository.archive.columns import gtids_of
from repository.archive.ledger import EpochFacts
from repository.archive.line import Line
from repository.archive.segment import SegmentDraft
from repository.keys import FileSource, Keyring
from repository.layout import BinlogFile
from repository.manifest import GtidBracket
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore
from tests.unit.restore.made_chains import MadeServer
from wire.binlog.transactions import TransactionReader

PLAIN = Path(__file__).parents[2] / "golden" / "binlogs" / "plain.binlog"
UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"


@pytest.fixture
def paths(backstay: Backstay, home: Path) -> list[Path]:
    """The three segments of a binlog file of shard s1, which has a backup, too."""
    assert backstay("init", "--new-key", "k1.key").exit_code == 0
    repository = Repository.open(
        FilesystemStore(home / "repository"), Keyring([FileSource("k1", home / "k1.key")])
    )
    archive = ShardArchive(repository, "s1")
    none, begun = GtidSet(), GtidSet.parse(f"{UUID}:1-20")
    archive.open_epoch(EpochFacts("first", UUID, "s1-a", none, None, none, none), SystemClock())
    data = PLAIN.read_bytes()
    found = TransactionReader().feed(data, 0)
    low = (begun | gtids_of(found[:1])).one_line()
    MadeServer(3, pages=6).full(repository, gtid=GtidBracket(low=low, high=low))
    file = BinlogFile(1, UUID, "binlog.000001", 1)
    first, last = found[1].start, found[-1].start
    for start, end, part in (
        (0, first, found[:1]),
        (first, last, found[1:-1]),
        (last, len(data), found[-1:]),
    ):
        before = begun | gtids_of([each for each in found if each.start < start])
        draft = SegmentDraft(
            file, start, data[start:end], "rotate" if end == len(data) else None, begun, before, part
        )
        archive.put(archive.seal(draft))
    refs = archive.files(1)[0].segments
    return [home / "repository" / layout.segment("s1", ref.name) for ref in refs]


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("columns", ["80", "100"])
def test_damage_of_an_archive_is_told_whole_below_the_objects_name(
    backstay: Backstay, home: Path, paths: list[Path], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    cut(paths[1])
    answer = backstay("verify", "s1", "--all")
    assert answer.exit_code == 41
    name = os.fspath(paths[1].relative_to(home / "repository"))
    at = answer.out.splitlines().index(f"fail  {name}")
    assert answer.out.splitlines()[at + 1].startswith("      ")
    told = " ".join(answer.out.split())
    assert "…" not in answer.out
    assert "what came later cannot be reached" in told
    assert ":22-35arenotarchivedbehindbinlog.000001" in "".join(told.split())


def test_what_was_only_listed_is_not_called_sound(
    backstay: Backstay, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    cut(paths[1])
    quick = backstay("verify", "--quick")
    assert quick.exit_code == 0
    row = next(line for line in quick.out.splitlines() if "archive" in line)
    assert "archive, only listed" in row and "there" in row
    assert "sound" not in quick.out and "0 transactions" not in quick.out
    assert "One that was cut or changed is not seen" in " ".join(quick.out.split())
    (archive,) = backstay("verify", "--quick", "--json").json["archives"]
    assert (archive["listed"], archive["segments"]) == (3, 0)
    assert archive["stored_bytes"] == sum(path.stat().st_size for path in paths)


def test_a_segment_that_is_gone_inside_of_a_file_is_seen_in_a_list(
    backstay: Backstay, paths: list[Path]
) -> None:
    paths[1].unlink()
    quick = backstay("verify", "--quick")
    assert quick.exit_code == 41
    assert "are missing" in quick.out


def test_a_sample_says_how_much_of_the_archive_it_read(backstay: Backstay, paths: list[Path]) -> None:
    found = backstay("verify", "--sample", "50%", "--json").json
    (archive,) = found["archives"]
    told = backstay("verify", "--sample", "50%", "--seed", found["how"]["seed"]).out
    assert f"archive, {archive['segments']} of 3 segments" in told
    assert "sound" not in told


def test_an_archive_that_ends_before_the_newest_backup_is_a_warning_and_no_damage(
    backstay: Backstay, home: Path, paths: list[Path]
) -> None:
    assert "the archive ends before" not in backstay("verify", "s1", "--all").out
    repository = Repository.open(
        FilesystemStore(home / "repository"), Keyring([FileSource("k1", home / "k1.key")])
    )
    archive = ShardArchive(repository, "s1")
    held = Line.of(archive).gtids | GtidSet.parse(f"{UUID}:1-20")
    more = held | GtidSet.parse(f"{UUID}:900-903")
    server = MadeServer(4, pages=6)
    server.backups = 1
    newest = server.full(repository, gtid=GtidBracket(low=str(more), high=str(more)))
    answer = backstay("verify", "s1", "--all")
    assert answer.exit_code == 0
    told = " ".join(answer.out.split())
    assert f"warn s1 the archive ends before the newest backup: {newest.label} holds 4 transactions" in told
    assert "backstay archive run s1" in told
    (window,) = backstay("verify", "s1", "--all", "--json").json["windows"]
    assert window["beyond"] == {"label": newest.label, "transactions": 4, "gtids": f"{UUID}:900-903"}


def test_what_is_damaged_in_the_mirror_comes_again_from_the_repository(
    backstay: Backstay, home: Path, paths: list[Path]
) -> None:
    cut(paths[1])
    (home / "repository").rename(home / "mirror")
    config = home / "backstay.toml"
    config.write_text(config.read_text() + f'\n[mirror]\nurl = "file://{home}/mirror"\n')
    hint = backstay("verify", "--all", "--from", "mirror", "--json").json["error"]["hint"]
    assert "`backstay mirror run --once --recheck`" in hint
    assert "backup full" not in hint and "undelete" not in hint
