"""What MySQL's applier says of a failure, word by word as seen on 9.7.4."""

from __future__ import annotations

import pytest

from restore.applier import ApplierFailure
from tests.unit.restore.made_lines import A, gtid

ROWS = (
    f"Worker 1 failed executing transaction '{A}:8' at source log archive.000001, end_log_pos 5100; Could "
    "not execute Update_rows event on table app.late; Can't find record in 'late', Error_code: 1032; handler "
    "error HA_ERR_KEY_NOT_FOUND; the event's source log FIRST, end_log_pos 5100"
)
QUERY = (
    f"Worker 2 failed executing transaction '{A}:tag_a:9' at source log archive.000001, end_log_pos 700; "
    "Error 'Unknown table 'app.x'' on query. Default database: 'app'. Query: 'DROP TABLE x'"
)


def test_a_row_that_does_not_fit_is_told_with_its_table() -> None:
    failure = ApplierFailure.read(ROWS, 1032)
    assert failure.gtid == gtid("a:8")
    assert failure.table == "app.late"
    assert failure.cause == "Can't find record in 'late' (error 1032, HA_ERR_KEY_NOT_FOUND)"
    error = failure.error()
    assert error.message == (
        f"transaction {A}:8 cannot be applied on table app.late: Can't find record in 'late' "
        "(error 1032, HA_ERR_KEY_NOT_FOUND)"
    )
    assert f"--skip-gtid {A}:8" in (error.hint or "")
    assert f"backstay show {A}:8" in (error.hint or "")


def test_a_statement_that_fails_is_told_with_its_text() -> None:
    failure = ApplierFailure.read(QUERY, 1051)
    assert str(failure.gtid) == f"{A}:tag_a:9"
    assert failure.table is None
    assert failure.cause.startswith("Error 'Unknown table 'app.x'' on query")
    assert "end_log_pos" not in failure.cause


@pytest.mark.parametrize(
    "text", ["", "out of memory", "Worker 1 failed executing transaction 'ANONYMOUS' at"]
)
def test_without_a_name_the_transaction_that_it_was_at_is_named(text: str) -> None:
    failure = ApplierFailure.read(text, 1, gtid("a:4"))
    assert failure.gtid == (None if "ANONYMOUS" in text else gtid("a:4"))
    assert failure.error().hint
