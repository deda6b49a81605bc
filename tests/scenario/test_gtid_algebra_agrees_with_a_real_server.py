"""Our GTID sets beside GTID_SUBTRACT and GTID_SUBSET of a real server."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest

from fleet.errors import GtidSetMalformed
from fleet.gtid import LAST_NUMBER, GtidSet

pytestmark = pytest.mark.mysql

ER_MALFORMED_GTID_SET_SPECIFICATION = 1772

UUIDS = [
    "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
    "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeef",
    "00000000-0000-0000-0000-000000000001",
    "ffffffff-0000-0000-0000-000000000000",
]
TAGS = ["", "", "a", "a1", "a_", "ab", "_a", "b" * 32]
U = UUIDS[0]

EDGES = [
    "",
    " ",
    ",",
    ",, ,\n",
    U,
    f"{U}:tag",
    f"{U}:tag:other:1",
    f"{U}:5-3",
    f"{U}:1-0",
    f"{U}:9:1-3:2-5",
    f" {U} : Tag : 1 - 3 : 5 ",
    f"\t{U}\r\n:\t1\v\f",
    f"{U}:1,",
    f",{U}:1,,{U}:2",
    f"{U}:1:tag:2,{U}:3",
    f"{U}:z:1:_z:1:z9:1:za:1:z_:1",
    f"{U}:1-{LAST_NUMBER}",
    f"{U}:{LAST_NUMBER}",
    f"{U}:{LAST_NUMBER + 1}",
    f"{U}:1-{LAST_NUMBER + 1}",
    f"{U}:{'9' * 30}",
    "x",
    "ANONYMOUS",
    f"{U}:",
    f"{U}:1:",
    f"{U}::1",
    f"{U}:tag:",
    f"{U}:0",
    f"{U}:0-3",
    f"{U}:tag:0",
    f"{U}:-1",
    f"{U}:1--3",
    f"{U}:1-3-5",
    f"{U}:1.5",
    f"{U}:1e3",
    f"{U}:1 2",
    f"{U}:1 {U}:1",
    f"{U}:1;",
    f"{U}:1-3,:5",
    f"{U}:9tag:1",
    f"{U}:ta-g:1",
    f"{U}:ta g:1",
    f"{U}:{'a' * 33}:1",
    f"{U[:-1]}:1",
    f"{U}0:1",
    f"{{{U}:1",
    f"{U}-1",
    f"{U}:\N{LATIN SMALL LETTER E WITH ACUTE}:1",
]
"""Where the grammar ends. The parser of functions and that of variables agree on all of these."""


@pytest.fixture
def cursor(scratch_server: Any) -> Iterator[Any]:
    connection = scratch_server.connect()
    with connection.cursor() as cursor:
        yield cursor
    connection.close()


def random_text(pick: random.Random, numbers: int) -> str:
    """A set as an untidy operator would write it: unsorted, overlapping, mixed case, with blanks."""
    parts: list[str] = []
    for _ in range(pick.randint(0, 5)):
        items: list[str] = []
        for _ in range(pick.randint(0, 6)):
            if tag := pick.choice(TAGS):
                items.append(pick.choice([tag, tag.upper()]))
            for _ in range(pick.randint(1, 4)):
                first = pick.randint(1, numbers)
                last = first + pick.randint(-1, numbers // 4)
                items.append(
                    str(first) if pick.random() < 0.4 else f"{first}{pick.choice(['-', ' - '])}{last}"
                )
        origin = pick.choice(UUIDS)
        parts.append(pick.choice([":", " :", ": "]).join([pick.choice([origin, origin.upper()]), *items]))
    return pick.choice([",", ",\n", " , "]).join(parts)


def asked_in_one_query(cursor: Any, rows: list[tuple[str, str]]) -> list[tuple[str, str, int, int]]:
    """For each pair of texts: the left one in canonical print, the difference, and both subset relations."""
    question = "SELECT GTID_SUBTRACT(%s, ''), GTID_SUBTRACT(%s, %s), GTID_SUBSET(%s, %s), GTID_SUBSET(%s, %s)"
    arguments = [text for a, b in rows for text in (a, a, b, a, b, b, a)]
    cursor.execute(" UNION ALL ".join([question] * len(rows)), arguments)
    return list(cursor.fetchall())


def test_random_sets_print_subtract_and_compare_alike(cursor: Any) -> None:
    for numbers in (6, 40, 10**6, LAST_NUMBER // 2):
        pick = random.Random(f"gtid algebra {numbers}")
        pairs = [(random_text(pick, numbers), random_text(pick, numbers)) for _ in range(250)]
        # Independent sets are hardly ever subsets of each other, so half of the pairs are made to be.
        pairs += [(a, f"{a},{b}") for a, b in pairs]
        answers = asked_in_one_query(cursor, pairs)
        for (left, right), (printed, difference, is_subset, is_superset) in zip(pairs, answers, strict=True):
            a, b = GtidSet.parse(left), GtidSet.parse(right)
            assert str(a) == printed
            assert str(a - b) == difference
            assert (a <= b) == bool(is_subset)
            assert (a >= b) == bool(is_superset)


def test_union_and_intersection_are_what_the_server_would_compute(cursor: Any) -> None:
    pick = random.Random("gtid union")
    pairs = [(random_text(pick, 30), random_text(pick, 30)) for _ in range(200)]
    question = "SELECT GTID_SUBTRACT(%s, ''), GTID_SUBTRACT(%s, GTID_SUBTRACT(%s, %s))"
    arguments = [text for a, b in pairs for text in (f"{a},{b}", a, a, b)]
    cursor.execute(" UNION ALL ".join([question] * len(pairs)), arguments)
    for (left, right), (union, intersection) in zip(pairs, cursor.fetchall(), strict=True):
        a, b = GtidSet.parse(left), GtidSet.parse(right)
        assert str(a | b) == union
        assert str(a & b) == intersection


def test_texts_at_the_edges_of_the_grammar_are_taken_or_refused_alike(cursor: Any) -> None:
    pick = random.Random("gtid large")
    many = f"{U}:" + ":".join(str(number) for number in pick.sample(range(1, 50_000), 7_000))
    assert {text: ours(text) for text in [*EDGES, many]} == {
        text: theirs(cursor, text) for text in [*EDGES, many]
    }


def test_what_the_server_reports_as_executed_is_read_and_printed_alike(cursor: Any) -> None:
    first, second = uuid.uuid4(), uuid.uuid4()
    added = GtidSet.parse(f"{first}:1-3:7:tag_a:1-5:tag_b:9,{second}:2-5")
    cursor.execute("SELECT @@global.gtid_executed")
    before = GtidSet.parse(cursor.fetchone()[0])
    cursor.execute("SET GLOBAL gtid_purged = %s", (f"+{added.one_line()}",))
    cursor.execute("SELECT @@global.gtid_executed")
    (reported,) = cursor.fetchone()
    assert GtidSet.parse(reported) == before | added
    assert str(GtidSet.parse(reported)) == reported


def ours(text: str) -> str | None:
    """The canonical print, or None where the text is refused."""
    try:
        return str(GtidSet.parse(text))
    except GtidSetMalformed:
        return None


def theirs(cursor: Any, text: str) -> str | None:
    try:
        cursor.execute("SELECT GTID_SUBTRACT(%s, '')", (text,))
    except pymysql.MySQLError as error:
        assert error.args[0] == ER_MALFORMED_GTID_SET_SPECIFICATION
        return None
    return cursor.fetchone()[0]
