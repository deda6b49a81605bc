"""What the error log of a mysqld gives away."""

from __future__ import annotations

from restore.errorlog import first_error, last_line

MISSING_FILE = """\
22:15Z 1 [System] [MY-013576] [InnoDB] InnoDB initialization has started.
22:15Z 1 [ERROR] [MY-012592] [InnoDB] Operating system error number 2 in a file operation.
22:15Z 1 [ERROR] [MY-012593] [InnoDB] The error means the system cannot find the path specified.
22:15Z 1 [ERROR] [MY-012646] [InnoDB] File ./ibdata1: 'open' returned OS error 71. Cannot continue
22:15Z 1 [ERROR] [MY-012981] [InnoDB] Cannot continue operation.
"""


def test_the_first_error_that_tells_something_is_told() -> None:
    assert (
        first_error(MISSING_FILE)
        == "File ./ibdata1: 'open' returned OS error 71. Cannot continue (MY-012646)"
    )


def test_where_only_the_preamble_was_written_it_is_told() -> None:
    assert first_error("\n".join(MISSING_FILE.splitlines()[:2])) == (
        "Operating system error number 2 in a file operation (MY-012592)"
    )


def test_a_crash_is_told_by_its_signal() -> None:
    assert first_error("22:15:52 UTC - mysqld got signal 11 ;\nMost likely ...") == "mysqld got signal 11"


def test_an_assertion_before_the_crash_is_told_rather_than_the_signal() -> None:
    log = (
        "2026 0 [ERROR] [MY-013183] [InnoDB] Assertion failure: fil0fil.cc:1 thread 1\nmysqld got signal 6 ;"
    )
    assert first_error(log) == "Assertion failure: fil0fil.cc:1 thread 1 (MY-013183)"


def test_an_error_of_before_the_log_has_no_code() -> None:
    assert first_error("[ERROR] /nowhere/mysqld cannot be started: No such file or directory") == (
        "/nowhere/mysqld cannot be started: No such file or directory"
    )


def test_a_log_without_errors_has_none() -> None:
    assert first_error("2026 0 [Warning] [MY-010068] [Server] CA certificate ca.pem is self signed.") is None
    assert last_line("one\n2026-11-22T22:15:52.1Z 1 [System] [MY-013576] [InnoDB] starts.\n\n") == (
        "[System] [MY-013576] [InnoDB] starts."
    )
    assert last_line("") is None
