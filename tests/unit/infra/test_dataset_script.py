"""The data set's script and its plan of growth."""

from __future__ import annotations

import re

from infra.sandbox.dataset import GROWTHS, SCHEMAS, SCRIPT, script


def test_bodies_of_triggers_and_routines_stay_whole() -> None:
    text = (
        "-- comment; with a semicolon\nCREATE TABLE a (\n    id INT\n);\n\n"
        "CREATE TRIGGER b\nBEGIN\n    SET x = 1;\nEND;\n"
    )
    assert script(text) == ["CREATE TABLE a (\n    id INT\n)", "CREATE TRIGGER b\nBEGIN\n    SET x = 1;\nEND"]


def test_every_statement_of_the_script_creates_something_in_our_schemas() -> None:
    for statement in script(SCRIPT.read_text()):
        assert statement.startswith("CREATE "), statement
        if re.match(r"CREATE (TABLE|VIEW|TRIGGER|EVENT|FUNCTION|PROCEDURE) ", statement):
            schema = re.split(r"[ .]", statement, maxsplit=3)[2]
            assert schema.strip("`") in {*SCHEMAS, "odd-names"}, statement


def test_shares_add_up_to_the_whole_size() -> None:
    assert 0.95 <= sum(growth.share for growth in GROWTHS) <= 1.05
