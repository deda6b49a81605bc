"""A directory for one run: locked while it is used, removed at the end or by the next run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.errors import TargetRefused
from restore.workroom import PREFIX, open_workroom


def test_a_room_is_for_its_owner_alone_and_gone_at_the_end(tmp_path: Path) -> None:
    with open_workroom(tmp_path) as room:
        (room / "data").mkdir()
        (room / "data" / "rows").write_text("rows")
        assert room.parent == tmp_path
        assert room.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []


def test_rooms_that_are_in_use_stay_and_those_of_killed_runs_go(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from restore.workroom import open_workroom\n"
        "with open_workroom(Path(sys.argv[1])) as room:\n"
        "    (room / 'rows').write_text('rows'); print(room, flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    ) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        with open_workroom(tmp_path) as ours:
            assert theirs.exists() and ours != theirs
        assert (theirs / "rows").exists()
        other.kill()
        other.communicate()
    assert theirs.exists()
    with open_workroom(tmp_path):
        assert not theirs.exists()


def test_what_is_no_room_of_ours_is_left_alone(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(elsewhere)
    (tmp_path / f"{PREFIX}file").touch()
    with open_workroom(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"elsewhere", f"{PREFIX}link", f"{PREFIX}file"}


def test_a_place_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetRefused), open_workroom(tmp_path / "no"):
        pass


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with open_workroom(tmp_path):
            pass
    assert len(os.listdir("/proc/self/fd")) == before
