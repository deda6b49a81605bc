"""How a run ends: two lines, or one JSON object, and a stable exit code."""

from __future__ import annotations

import json
import signal
from collections import Counter

import pytest
import typer

from cli.ending import end, error_kinds, exit_codes
from cli.invocation import Invocation
from fleet.errors import Cancelled, ConfigError, DonorBusy


def test_an_error_is_two_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    code = end(ConfigError("no such key", hint="Remove it."), Invocation())
    out, err = capsys.readouterr()
    assert (code, out, err) == (10, "", "error: no such key\nhint: Remove it.\n")


def test_an_error_without_a_way_out_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    end(DonorBusy("replica-1 is cloned already"), Invocation())
    assert capsys.readouterr().err == "error: replica-1 is cloned already\n"


def test_an_error_is_a_json_object_on_stdout_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    end(DonorBusy("replica-1 is cloned already"), Invocation(as_json=True))
    out, err = capsys.readouterr()
    assert json.loads(out) == {
        "error": {
            "kind": "DonorBusy",
            "message": "replica-1 is cloned already",
            "hint": None,
            "exit_code": 15,
            "retryable": True,
        }
    }
    assert err == "error: replica-1 is cloned already\n"


def test_an_unexpected_exception_is_one_line_that_calls_it_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    assert end(KeyError("shard"), Invocation()) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: KeyError: 'shard': this is a bug")
    assert err.count("\n") == 1


def test_the_traceback_is_printed_only_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise KeyError("shard")
    except KeyError as error:
        end(error, Invocation(debug=True))
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (None, 130)])
def test_a_cancelled_run_tells_which_signal_it_was(number: signal.Signals | None, code: int) -> None:
    invocation = Invocation()
    invocation.interruption.signal = number
    assert end(Cancelled("stopped"), invocation) == code


def test_a_question_without_an_answer_cancels(capsys: pytest.CaptureFixture[str]) -> None:
    assert end(typer.Abort(), Invocation()) == 130
    assert "--yes" in capsys.readouterr().err


def test_every_error_has_its_own_exit_code_and_a_meaning() -> None:
    codes = Counter(kind.exit_code for kind in error_kinds())
    assert [code for code, count in codes.items() if count > 1] == []
    listed = dict(exit_codes())
    assert set(codes) <= set(listed)
    assert {0, 1, 2, 130, 141, 143} <= set(listed)
    assert all(meaning.endswith(".") and len(meaning) > 10 for meaning in listed.values())
