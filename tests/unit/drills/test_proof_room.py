import sys
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from drills.proof_room import MARK_SUFFIX, proof_room
from fleet.errors import TargetRefused
from tests.conftest import ManualClock

HELD = """
import sys
from pathlib import Path
from drills.proof_room import proof_room
from fleet.clock import SystemClock
with proof_room(Path(sys.argv[1]), "s1", SystemClock(), print) as room:
    room.path.mkdir()
    (room.path / "ibdata1").write_text("data")
    print(room.path, flush=True)
    sys.stdin.read()
"""


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_a_room_is_gone_afterwards_whatever_happened(tmp_path: Path, clock: ManualClock) -> None:
    root, told = tmp_path / "proofs", list[str]()
    with pytest.raises(KeyboardInterrupt), proof_room(root, "s1", clock, told.append) as room:
        (room.path / "mysql").mkdir(parents=True)
        assert names(root) == [room.path.name, room.path.name + MARK_SUFFIX]
        raise KeyboardInterrupt
    assert (names(root), told) == ([], [])
    assert root.stat().st_mode & 0o777 == 0o700


def test_a_room_that_is_kept_is_no_longer_ours(tmp_path: Path, clock: ManualClock) -> None:
    with proof_room(tmp_path, "s1", clock, print) as room:
        room.path.mkdir()
        room.keep()
    with proof_room(tmp_path, "s1", clock, print):
        pass
    assert names(tmp_path) == [room.path.name]


def test_what_died_is_deleted_and_what_lives_or_is_of_others_is_not(
    tmp_path: Path, clock: ManualClock
) -> None:
    told = list[str]()
    (tmp_path / "s1-backup-of-mine").mkdir()
    with Popen([sys.executable, "-c", HELD, str(tmp_path)], stdin=PIPE, stdout=PIPE, text=True) as other:
        assert other.stdout
        theirs = Path(other.stdout.readline().strip())
        with proof_room(tmp_path, "s1", clock, told.append):
            assert (theirs / "ibdata1").exists()
        assert told == []
        other.kill()
    assert theirs.exists()
    with proof_room(tmp_path, "s2", clock, told.append):
        assert not theirs.exists()
    assert told == [f"deleting what a proof that was killed left behind: {theirs}"]
    assert names(tmp_path) == ["s1-backup-of-mine"]


def test_a_file_that_only_looks_like_a_mark_takes_no_directory_with_it(
    tmp_path: Path, clock: ManualClock
) -> None:
    told = list[str]()
    for name, text in (("thesis", ""), ("s1-0123abcd", "mine"), ("s1-0123abce", "")):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}{MARK_SUFFIX}").write_text(text)
    link = tmp_path / f"s1-0123abcf{MARK_SUFFIX}"
    link.symlink_to(tmp_path / "nowhere")
    with proof_room(tmp_path, "s1", clock, told.append):
        pass
    assert [name for name in names(tmp_path) if not name.endswith(MARK_SUFFIX)] == ["s1-0123abcd", "thesis"]
    assert link.is_symlink()
    assert "s1-0123abcd.proof is not empty" in told[0]
    assert "s1-0123abce" in told[1]
    assert f"{link} cannot be opened and was left as it is: " in told[2]


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(TargetRefused, match="cannot be used for a proof"),
        proof_room(tmp_path / "file" / "proofs", "s1", clock, print),
    ):
        pass
