"""A signal while a command reads: it ends with the signal's code, and says nothing of the archive."""

from __future__ import annotations

import os
import signal

import pytest
from door import Backstay


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    ("command", "place"),
    [
        ("archive verify s1", "repository.archive.archive.ShardArchive.epochs"),
        ("archive status s1", "backup.archive.status.choose_source"),
        ("check", "cli.cmd_check.try_store"),
        ("backup list", "repository.stores.filesystem.FilesystemStore.list_page"),
    ],
)
def test_a_signal_in_the_middle_of_a_read_ends_the_command(
    backstay: Backstay,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    place: str,
    number: signal.Signals,
    code: int,
) -> None:
    assert backstay("init", "--new-key", "k1.key").exit_code == 0

    def stopped(*_: object, **__: object) -> None:
        os.kill(os.getpid(), number)

    monkeypatch.setattr(place, stopped)
    run = backstay(*command.split())
    assert (run.exit_code, run.out) == (code, "")
    assert f"stopped by {number.name}" in run.err
