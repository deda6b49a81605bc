"""``backstay find`` and ``show``, over an archive made of a real server's binlogs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from door import Backstay

from cli.sizes import parse_size_option
from cli.text_show import visible
from fleet.clock import SystemClock
from fleet.errors import UsageError
from fleet.gtid import GtidSet
from repository.archive.archive import ShardArchive
from repository.archive.columns import gtids_of
from repository.archive.ledger import EpochFacts
from repository.archive.line import Line
from repository.archive.segment import SegmentDraft
from repository.keys import FileSource, Keyring
from repository.layout import BinlogFile
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore
from wire.binlog.transactions import TransactionReader

GOLDEN = Path(__file__).parents[2] / "golden" / "binlogs"
EMPTY = GtidSet()
OTHER = "4e11fa47-71ca-11e1-9e33-c80aa9429562"
UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"


@pytest.fixture
def archive(backstay: Backstay, home: Path) -> ShardArchive:
    """The binlogs ``plain``, ``compressed`` and ``ddl`` of one server, as shard s1's."""
    assert backstay("init", "--new-key", "k1.key").exit_code == 0
    repository = Repository.open(
        FilesystemStore(home / "repository"), Keyring([FileSource("k1", home / "k1.key")])
    )
    made = ShardArchive(repository, "s1")
    made.open_epoch(EpochFacts("first", UUID, "s1-a", EMPTY, None, EMPTY, EMPTY), SystemClock())
    before = EMPTY
    for created, name in enumerate(("plain", "compressed", "ddl"), start=1):
        data = (GOLDEN / f"{name}.binlog").read_bytes()
        found = TransactionReader().feed(data, 0)
        file = BinlogFile(1, UUID, f"binlog.00000{created}", created)
        made.put(made.seal(SegmentDraft(file, 0, data, "rotate", before, before, found)))
        before |= gtids_of(found)
    return made


def gtid_of(archive: ShardArchive, statement: str) -> str:
    return next(
        str(entry.transaction.gtid)
        for entry in Line.of(archive).transactions()
        if entry.transaction.statement.startswith(statement)
    )


def test_everything_is_found_newest_last_and_the_newest_are_kept(
    backstay: Backstay, archive: ShardArchive
) -> None:
    expected = [str(entry.transaction.gtid) for entry in Line.of(archive).transactions()]
    found = backstay("find", "s1", "--limit", "1000", "--json").json
    assert [one["gtid"] for one in found["transactions"]] == expected
    assert found["more"] is False
    few = backstay("find", "s1", "--limit", "3", "--json").json
    assert [one["gtid"] for one in few["transactions"]] == expected[-3:]
    assert few["more"] is True


def test_rows_are_counted_and_times_are_to_the_microsecond(backstay: Backstay, archive: ShardArchive) -> None:
    found = backstay("find", "s1", "--table", "plain.*", "--kind", "delete", "--json").json["transactions"]
    assert found
    assert all("delete" in one["kinds"] for one in found)
    assert all((one["rows"] == 0) == ("statement" in one["kinds"]) for one in found)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", one["committed_at"]) for one in found)


def test_filters_hold_together(backstay: Backstay, archive: ShardArchive) -> None:
    everything = backstay("find", "s1", "--limit", "1000", "--json").json["transactions"]
    times = [one["committed_at"] for one in everything]
    middle = times[len(times) // 2]
    found = backstay(
        "find", "s1", "--limit", "1000", "--between", times[0], middle, "--kind", "ddl", "--json"
    ).json
    expected = [one for one in everything if one["committed_at"] <= middle and "ddl" in one["kinds"]]
    assert found["transactions"] == expected
    big = backstay("find", "s1", "--limit", "1000", "--bigger-than", "0.5k", "--json").json["transactions"]
    assert big == [one for one in everything if one["log_bytes"] > 500]


def test_text_is_found_in_compressed_transactions(backstay: Backstay, archive: ShardArchive) -> None:
    found = backstay("find", "s1", "--text", "y" * 1000, "--json").json["transactions"]
    assert [one["tables"] for one in found] == [["packed.item", "packed.other"], ["packed.other"]]
    assert all(one["log_bytes"] < 3000 for one in found)


def test_what_was_dropped_with_its_schema_is_found_by_its_own_name(
    backstay: Backstay, archive: ShardArchive
) -> None:
    found = backstay(
        "find", "s1", "--table", "ddl.some_table", "--kind", "ddl", "--limit", "99", "--json"
    ).json
    statements = [one["statement"] for one in found["transactions"]]
    assert any("DATABASE" in statement for statement in statements)


def test_the_answer_says_how_to_go_on(backstay: Backstay, archive: ShardArchive) -> None:
    answer = backstay("find", "s1", "--kind", "ddl", "--limit", "2")
    gtid = backstay("find", "s1", "--kind", "ddl", "--limit", "2", "--json").json["transactions"][-1]["gtid"]
    assert f"  backstay show s1 {gtid}\n" in answer.out
    assert f"  backstay restore s1 --into DIR --before-gtid {gtid}\n" in answer.out
    assert f"  backstay restore s1 --into DIR --latest --skip-gtid {gtid}\n" in answer.out
    assert "The newest 2 transactions; older ones match, too (--limit)." in answer.out


def test_nothing_found_says_what_the_archive_holds(backstay: Backstay, archive: ShardArchive) -> None:
    answer = backstay("find", "s1", "--table", "no.where")
    assert answer.exit_code == 0
    assert re.fullmatch(r"No archived transaction matches\.\nThe archive holds .* to .* UTC\.\n", answer.out)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--table", "orders"], "--table: 'orders' does not say in which database"),
        (["--between", "2026-03-01T00:00:00Z", "2026-03-02T00:00:00"], "does not say in which time zone"),
        (["--between", "2026-03-02T00:00:00Z", "2026-03-01T00:00:00Z"], "ends before it begins"),
        (["--bigger-than", "many"], "--bigger-than: 'many' is no size"),
        (["--text", ""], "--text is empty"),
        (["--kind", "select"], "--kind"),
        (["--limit", "0"], "--limit"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(
    backstay: Backstay, archive: ShardArchive, arguments: list[str], fault: str
) -> None:
    answer = backstay("find", "s1", *arguments)
    assert answer.exit_code == 2
    assert fault in answer.err


def test_a_shard_without_an_archive_or_that_is_nowhere(backstay: Backstay, archive: ShardArchive) -> None:
    assert backstay("find", "s2").exit_code == 40
    assert "s3" in backstay("find", "s3").err


def test_show_tells_a_statement(backstay: Backstay, archive: ShardArchive) -> None:
    gtid = gtid_of(archive, "DROP TABLE")
    answer = backstay("show", "s1", gtid)
    assert answer.exit_code == 0
    assert f"transaction  {gtid}\n" in answer.out
    assert "\nDROP TABLE " in answer.out
    assert f"--before-gtid {gtid}\n" in answer.out


def test_show_tells_rows_by_column_and_keeps_to_its_limit(backstay: Backstay, archive: ShardArchive) -> None:
    found = backstay("find", "s1", "--table", "plain.item", "--kind", "insert", "--json").json["transactions"]
    gtid = next(one["gtid"] for one in found if one["rows"] == 3)
    shown = backstay("show", "s1", gtid, "--json").json
    (part,) = shown["parts"]
    assert (part["kind"], part["schema"], part["table"], part["count"]) == ("insert", "plain", "item", 3)
    assert [row["before"] for row in part["rows"]] == [None] * 3
    assert part["rows"][1]["after"] == {"id": 2, "name": "b", "price": "2.50", "more": None}
    text = backstay("show", "s1", gtid, "--limit", "1").out
    assert "insert plain.item, 3 rows" in text
    assert "+  id=1, name='a', price=1.00, more=NULL" in text
    assert "... 2 more" in text
    assert f"backstay show s1 {gtid} --limit 3" in text
    assert "not shown" in backstay("show", "s1", gtid, "--limit", "0").out


def test_show_as_sql_is_text_that_mysql_reads_and_one_object_for_programs(
    backstay: Backstay, archive: ShardArchive
) -> None:
    found = backstay("find", "s1", "--table", "plain.item", "--kind", "insert", "--json").json["transactions"]
    gtid = next(one["gtid"] for one in found if one["rows"] == 3)
    lines = backstay("show", "s1", gtid, "--sql").out.splitlines()
    assert lines[0] == "SET NAMES utf8mb4;"
    assert lines[3].startswith(f"-- {gtid}, committed ")
    assert "INSERT INTO `plain`.`item` (`id`, `name`, `price`, `more`) VALUES (1, 'a', 1.00, NULL);" in lines
    told = backstay("show", "s1", gtid, "--sql", "--json").json
    assert [*told["preamble"], *told["statements"]] == lines
    assert backstay("show", "s1", gtid, "--sql", "--limit", "3").exit_code == 2


def test_a_gtid_that_is_not_there_says_what_is(backstay: Backstay, archive: ShardArchive) -> None:
    answer = backstay("show", "s1", f"{UUID}:99999")
    assert answer.exit_code == 40
    assert f"{UUID}:99999 is not in the archive of shard s1" in answer.err
    assert "hint: The archive holds transactions of " in answer.err
    assert backstay("show", "s1", f"{UUID}:1-5").exit_code == 18


@pytest.mark.parametrize("kind", ["insert", "update", "delete", "ddl"])
def test_all_but_what_is_to_be_copied_fits_80_columns(
    backstay: Backstay, archive: ShardArchive, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    gtids = [one["gtid"] for one in backstay("find", "s1", "--kind", kind, "--json").json["transactions"]]
    for answer in (backstay("find", "s1", "--kind", kind), *(backstay("show", "s1", gtid) for gtid in gtids)):
        lines = [line for line in answer.out.splitlines() if not line.startswith("  backstay ")]
        assert max(map(len, lines)) <= 80
        assert not any(line.endswith(" ") for line in lines)


def test_what_a_terminal_would_obey_is_shown_instead() -> None:
    assert visible("a\x1b[31mb\x9bc\n") == "a\\x1b[31mb\\x9bc\n"


@pytest.mark.parametrize(
    ("text", "size"), [("500", 500), ("10k", 10_000), ("1.5MB", 1_500_000), ("2GiB", 2 << 30)]
)
def test_a_size_has_a_unit_if_it_likes(text: str, size: int) -> None:
    assert parse_size_option(text, "--bigger-than") == size


@pytest.mark.parametrize("text", ["", "-1", "1x", "k", "1 2"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no size"):
        parse_size_option(text, "--bigger-than")


def test_json_keeps_every_digit(backstay: Backstay, archive: ShardArchive) -> None:
    for entry in Line.of(archive).transactions():
        text = backstay("show", "s1", str(entry.transaction.gtid), "--json").out
        json.loads(text)


@pytest.fixture
def branch(archive: ShardArchive) -> list[str]:
    """The last three transactions were never on the server that took over; oldest first."""
    line = Line.of(archive)
    gtids = [entry.transaction.gtid for entry in line.transactions()][-3:]
    left = GtidSet(origin for gtid in gtids for origin in gtid.as_set())
    facts = EpochFacts("promotion", OTHER, "s1-b", line.gtids - left, 1, left, EMPTY)
    archive.open_epoch(facts, SystemClock())
    return [str(gtid) for gtid in gtids]


def test_a_transaction_of_a_branch_is_shown_as_one_and_not_found(
    backstay: Backstay, archive: ShardArchive, branch: list[str]
) -> None:
    found = backstay("find", "s1", "--limit", "1000", "--json").json
    assert not {one["gtid"] for one in found["transactions"]} & set(branch)
    (finding,) = found["findings"]
    assert finding["message"] == "3 transactions of epoch 1 left the line, and were not searched"
    shown = backstay("show", "s1", branch[0])
    assert "branch       the shard's line went on without it" in shown.out
    assert "--before-gtid" not in shown.out
    assert backstay("show", "s1", branch[0], "--json").json["branch"] is True


def test_a_branch_is_exported_in_its_order(
    backstay: Backstay, archive: ShardArchive, branch: list[str]
) -> None:
    lines = backstay("archive", "export", "s1").out.splitlines()
    assert lines[0] == "SET NAMES utf8mb4;"
    heads = [line for line in lines if line.startswith("-- ") and ", committed " in line]
    assert [head.split(",")[0].removeprefix("-- ") for head in heads] == branch
    told = backstay("archive", "export", "s1", "--branch", "1", "--json").json
    assert "\n".join([*told["preamble"], *told["statements"]]).splitlines() == lines
    assert told["epoch"] == 1
    assert backstay("archive", "export", "s1", "--branch", "7").exit_code == 40


def test_a_line_without_branches_has_nothing_to_export(backstay: Backstay, archive: ShardArchive) -> None:
    answer = backstay("archive", "export", "s1")
    assert answer.exit_code == 40
    assert "shard s1 has no branch" in answer.err
