"""kill -9 between any two steps of telling: told again at most once, and never not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from drills.status import notify as telling
from drills.status.lag_history import replace_file
from drills.status.notify import notify
from fleet.service_config import Notify
from tests.inbox import Inbox
from tests.unit.drills.test_notify import LAG, both, fleet, lines, shard, webhook

__all__ = ["both", "webhook"]

TROUBLE = fleet(shard("s1", LAG))


class Killed(BaseException):
    """The process is no more."""


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("nth", [1, 2])
def test_who_is_killed_as_it_is_written_down_tells_by_one_way_again_at_most(
    webhook: Inbox, both: Notify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int, *, after: bool
) -> None:
    state, writes = tmp_path / "state" / "notified.json", 0

    def deadly(path: Path, text: str) -> bool:
        nonlocal writes
        writes += 1
        if writes == nth and not after:
            raise Killed
        is_kept = replace_file(path, text)
        if writes == nth:
            raise Killed
        return is_kept

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(telling, "replace_file", deadly)
        notify(TROUBLE, both, state)
    assert len(webhook.bodies) == 1
    for _ in range(2):
        assert notify(TROUBLE, both, state) == ()
    told = [len(webhook.bodies), len(lines(tmp_path))]
    twice = [1, 1] if after else [2, 1] if nth == 1 else [1, 2]
    assert told == twice
