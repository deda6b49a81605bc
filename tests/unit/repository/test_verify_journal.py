"""The journal of a verification: what it goes on with, and what it does not believe."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sealed_backups import TickingClock

from repository.verify_journal import VerifyJournal
from repository.verify_sample import Sample, SampleState
from repository.verify_tally import Tally

TALLY = Tally(objects=1, stored_bytes=10, frames=2, records=3, pages=4, passed_bytes=10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "verify.jsonl"


def opened(
    path: Path, clock: TickingClock, repository_id: str = "r", *, restart: bool = False
) -> VerifyJournal:
    return VerifyJournal.open(path, repository_id, "all full", clock, restart=restart)


def written(path: Path, clock: TickingClock) -> bytes:
    """The journal of a run that was stopped in its second group."""
    journal = opened(path, clock)
    assert not journal.goes_on and journal.is_kept
    journal.note_object("i0", "p0", TALLY)
    journal.note_group("i0", TALLY, "gtids")
    journal.note_object("i1", "p1", TALLY)
    journal.close(finished=False)
    return path.read_bytes()


def test_what_was_sound_is_known_again(path: Path) -> None:
    clock = TickingClock()
    written(path, clock)
    journal = opened(path, clock)
    assert journal.goes_on
    noted = journal.group("i0")
    assert noted is not None and (noted.tally, noted.gtids) == (TALLY, "gtids")
    assert journal.object("i1", "p1") == TALLY
    assert journal.object("i1", "p2") is journal.group("i1") is None
    journal.close(finished=True)
    assert not path.exists()


def test_a_journal_of_another_repository_or_from_the_start_is_not_gone_on_with(path: Path) -> None:
    clock = TickingClock()
    written(path, clock)
    other = opened(path, clock, "other")
    assert not other.goes_on and other.group("i0") is None
    other.close(finished=True)
    written(path, clock)
    anew = opened(path, clock, restart=True)
    assert not anew.goes_on and anew.group("i0") is None
    anew.close(finished=False)


def test_an_old_journal_proves_nothing(path: Path) -> None:
    clock = TickingClock()
    written(path, clock)

    class Later(TickingClock):
        def now(self) -> datetime:
            return super().now() + timedelta(days=40)

    assert not opened(path, Later()).goes_on


def test_whatever_a_kill_or_a_disk_leaves_of_it_is_never_believed(path: Path) -> None:
    clock = TickingClock()
    whole = written(path, clock)
    group = len(b"".join(whole.splitlines(keepends=True)[:3]))
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        journal = opened(path, clock)
        assert bool(journal.group("i0")) == (end >= group)
        assert not journal.object("i1", "p1")
        journal.note_object("i9", "p9", TALLY)
        journal.close(finished=False)
        again = opened(path, clock)
        assert again.object("i9", "p9") == TALLY
        again.close(finished=False)
    lines = whole.splitlines(keepends=True)
    for noise in (b"\0\0\n", b"[]\n", b'{"group": 1, "figures": []}\n', b'{"group": "x", "figures": [-1]}\n'):
        path.write_bytes(b"".join([lines[0], noise, *lines[1:]]))
        journal = opened(path, clock)
        assert journal.group("i0") is journal.object("i1", "p1") is None
        journal.close(finished=False)


def test_a_second_run_at_the_same_time_does_without(path: Path) -> None:
    clock = TickingClock()
    first = opened(path, clock)
    second = opened(path, clock)
    assert first.is_kept and not second.is_kept
    second.note_object("i0", "p0", TALLY)
    second.close(finished=True)
    assert path.exists()
    first.close(finished=True)


def test_where_no_journal_can_be_kept_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file, and no directory")
    assert not opened(tmp_path / "state" / "verify.jsonl", TickingClock()).is_kept


def test_a_sample_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    state = SampleState(tmp_path / "state" / "sample.json")
    first = state.begin(40)
    assert state.begin(40) == first, "it was not finished"
    state.finish(first)
    second = state.begin(40)
    assert (second.seed, second.window) == (first.seed, 2)
    assert state.begin(10).seed != first.seed
    (tmp_path / "state" / "sample.json").write_text('{"fraction": "x"}')
    assert state.begin(40).window == 1


@pytest.mark.parametrize("percent", [0.5, 7, 30, 50, 100])
def test_each_object_has_the_same_chance_and_all_windows_hold_every_one(percent: float) -> None:
    names = [f"data/s1/label/p{number:08d}" for number in range(4000)]
    sample = Sample.begin(percent, "seed")
    counts: list[int] = []
    left = set(names)
    for _ in range(sample.windows):
        taken = {name for name in names if sample.takes(name)}
        counts.append(len(taken))
        left -= taken
        sample = sample.next
    assert not left
    wanted = len(names) * percent / 100
    assert sum(counts) / len(counts) == pytest.approx(wanted, rel=0.05)
    assert str(Sample.begin(percent, str(sample))) == str(sample)
