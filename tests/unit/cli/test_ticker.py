"""What a command that runs on tells: in a pipe only what somebody should look at."""

from __future__ import annotations

import io
import threading
from datetime import UTC, datetime

import pytest

from backup.archive.news import News
from cli.progress import counted
from cli.ticker import Ticker

AT = datetime(2026, 3, 1, 2, 15, tzinfo=UTC)
FOLLOWING = News("s1", "following", "s1-a from binlog.000004", AT)
GAP = News("s1", "gap", "5 transactions were never archived", AT)
EPOCH = News("s1", "epoch", "epoch 2 (promotion) on s1-b", AT)
RECOVERED = News("s1", "recovered", "the store answers again", AT)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_hears_alarms_that_they_are_over_and_new_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    with Ticker() as ticker:
        for news in (FOLLOWING, GAP, EPOCH, RECOVERED):
            ticker.tell(news)
        ticker.say("never seen")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "2026-03-01 02:15:00  s1  gap: 5 transactions were never archived\n"
        "2026-03-01 02:15:00  s1  epoch: epoch 2 (promotion) on s1-b\n"
        "2026-03-01 02:15:00  s1  recovered: the store answers again\n"
    )


def test_a_terminal_hears_everything_and_how_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    asked = threading.Event()

    def glance() -> str:
        asked.set()
        return "lag 0.4 s"

    with Ticker(glance, every_seconds=0.01) as ticker:
        ticker.tell(FOLLOWING)
        assert asked.wait(10)
    text = terminal.getvalue()
    assert "2026-03-01 02:15:00  s1  following: s1-a from binlog.000004" in text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((12_345, 300_000, 2_900.4, 100.0), "12,345 of 300,000 transactions   2,900/s     1:40 left"),
        ((0, 1, 0.0, None), "0 of 1 transaction          "),
    ],
)
def test_a_replay_is_counted_in_transactions(
    arguments: tuple[int, int, float, float | None], text: str
) -> None:
    assert counted(*arguments) == text
