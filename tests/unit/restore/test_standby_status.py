"""What a standby says of itself, and what is made of it when nobody says anything any more."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleet.errors import NotFound
from repository.archive.beyond import HeldBeyond
from restore.journal import JOURNAL_NAME, Journal, ReplayBegun, RestoreHeader, read_journal
from restore.standby_status import (
    STATUS_NAME,
    StandbyStatus,
    ask_to_stop,
    forget_standby,
    is_asked_to_stop,
    status,
    write_status,
)

HEADER = RestoreHeader("r" * 32, "s1", "20260301T021500Z-full", delta=False)
AT = datetime(2026, 3, 1, 2, 15, 0, 123456, tzinfo=UTC)


def journal(directory: Path) -> Journal:
    return Journal.open(directory / JOURNAL_NAME, HEADER, None, go_on=False)


def following(directory: Path) -> StandbyStatus:
    return StandbyStatus(
        "s1",
        directory,
        HEADER.label,
        "following",
        pid=7,
        applied_at=AT,
        lag_seconds=0.5,
        lag_transactions=3,
        updated_at=AT,
    )


def test_what_was_written_is_read_while_somebody_holds_the_directory(tmp_path: Path) -> None:
    held = journal(tmp_path)
    assert status(tmp_path).state == "fetching"
    write_status(following(tmp_path))
    assert status(tmp_path) == following(tmp_path)
    held.close()
    left = status(tmp_path)
    assert (left.state, left.pid) == ("stopped", None)
    # How far the archive has gone since, nobody has looked.
    assert (left.lag_seconds, left.lag_transactions) == (None, None)


def test_a_backup_with_more_than_the_archive_is_read_back_and_not_there_in_older_files(
    tmp_path: Path,
) -> None:
    known = replace(following(tmp_path), beyond=HeldBeyond("20260302T021500Z-full", 5, "u:78-82"))
    with closing(journal(tmp_path)):
        write_status(known)
        assert status(tmp_path) == known
        written = json.loads((tmp_path / STATUS_NAME).read_text())
        del written["beyond"]
        (tmp_path / STATUS_NAME).write_text(json.dumps(written))
        assert status(tmp_path) == replace(known, beyond=None)


def test_a_problem_keeps_its_way_out(tmp_path: Path) -> None:
    with closing(journal(tmp_path)):
        write_status(replace(following(tmp_path), problem="its line went another way", hint="Start anew."))
    left = status(tmp_path)
    assert (left.problem, left.hint) == ("its line went another way", "Start anew.")


def test_a_status_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    with closing(journal(tmp_path)):
        (tmp_path / STATUS_NAME).write_text('{"shard": "s1", "unknown": 1')
        assert status(tmp_path).state == "fetching"


def test_where_no_standby_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        status(tmp_path)
    with pytest.raises(NotFound):
        status(tmp_path / "nowhere")


def test_the_word_to_stop_is_left_and_taken_back(tmp_path: Path) -> None:
    write_status(following(tmp_path))
    assert not is_asked_to_stop(tmp_path)
    ask_to_stop(tmp_path)
    assert is_asked_to_stop(tmp_path)
    forget_standby(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_journal_remembers_what_is_replayed(tmp_path: Path) -> None:
    held = journal(tmp_path)
    held.fetched()
    held.replay(ReplayBegun("a", standby=True))
    held.replay(ReplayBegun("b", standby=False))
    held.close()
    found = read_journal(tmp_path / JOURNAL_NAME)
    assert found is not None
    assert found.fetched
    assert found.replay == ReplayBegun("b", standby=False)
