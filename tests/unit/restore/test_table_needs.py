"""The dictionary adds what names of files do not tell: partitions, shared tablespaces, keys that cascade."""

from __future__ import annotations

import pytest

from fleet.errors import NotFound, TargetUnreachable, UsageError
from fleet.table_name import TableName
from restore.table_needs import Dictionary, Needs
from wire.dictionary import ForeignKey, InnodbTable, KnownTable, Tablespace


def name(text: str) -> TableName:
    return TableName.parse(text)


def needs(
    *followed: str,
    keys: tuple[tuple[str, str, bool], ...] = (),
    folds: bool = False,
    is_placed: bool = False,
) -> Needs:
    tables = ["s.a", "s.b", "s.c", "s.d", "s.part", "s.text", "s.general", "s.we-ird"]
    own = {
        "s/a": 10,
        "s/b": 11,
        "s/c": 17,
        "s/d": 18,
        "s/part#p#p0": 12,
        "s/part#p#p1#sp#s": 13,
        "s/text": 14,
        "s/fts_000000000000042f_config": 15,
        "s/fts_00000000000004ff_config": 16,
        "s/we-ird": 21,
    }
    placed = [
        InnodbTable("s/a", 100, 10),
        InnodbTable("s/text", 0x42F, 14),
        InnodbTable("s/fts_000000000000042f_config", 105, 15),
        InnodbTable("s/fts_00000000000004ff_config", 106, 16),
        InnodbTable("s/general", 107, 20),
        InnodbTable("s/we@002dird", 108, 21),
    ]
    dictionary = Dictionary(
        [
            *(KnownTable(name(each), "InnoDB") for each in tables),
            KnownTable(name("s.view"), None),
            KnownTable(name("s.old"), "MyISAM"),
        ],
        [Tablespace(each, space, has_file=space in {10, 12}) for each, space in own.items()],
        [ForeignKey(name(child), name(parent), cascades) for child, parent, cascades in keys],
        frozenset({name("s.text")}),
        placed if is_placed else None,
    )
    return Needs(dictionary, followed, str.lower if folds else str, folds=folds)


def test_each_partition_lies_in_a_space_of_its_own() -> None:
    assert needs("s.part").spaces == {12, 13}
    assert needs("s.we-ird").spaces == {21}
    assert not needs("s.part", "s.we-ird").is_unclear


def test_shared_tablespaces_and_full_text_indexes_are_found_with_a_deeper_look() -> None:
    assert needs("s.general").is_unclear
    assert needs("s.text").is_unclear
    assert not needs("s.text", "s.general", is_placed=True).is_unclear
    assert needs("s.general", is_placed=True).spaces == {20}
    assert needs("s.text", is_placed=True).spaces == {14, 15}


@pytest.mark.parametrize(("table", "why"), [("s.general", "with others"), ("s.text", "full-text")])
def test_what_no_server_exports_is_refused(table: str, why: str) -> None:
    needs("s.a", table).check_portable([name("s.a")])
    with pytest.raises(UsageError, match=why):
        needs(table).check_portable([name(table)])


def test_a_parent_is_followed_only_where_something_comes_down_from_it() -> None:
    plain = needs("s.a", keys=(("s.a", "s.b", False), ("s.b", "s.c", False)))
    assert plain.parents == frozenset()
    assert plain.unchecked == (name("s.b"),)
    assert not plain.cascades
    cascading = needs("s.a", keys=(("s.a", "s.b", True), ("s.b", "s.c", False), ("s.d", "s.a", True)))
    assert cascading.parents == {name("s.b"), name("s.c")}
    assert cascading.cascades


def test_a_table_that_refers_to_itself_needs_nobody() -> None:
    alone = needs("s.a", keys=(("s.a", "s.a", True),))
    assert alone.parents == frozenset()
    assert alone.unchecked == ()


def test_tables_at_the_other_end_of_a_key_are_relatives() -> None:
    assert needs(
        "s.a", keys=(("s.a", "s.b", False), ("s.c", "s.a", True), ("s.d", "s.c", True))
    ).relatives == (
        name("s.b"),
        name("s.c"),
    )


def test_what_is_usable_and_was_not_asked_for_is_known() -> None:
    assert needs("s.a").usable_besides([name("s.a")]) == (name("s.part"), name("s.general"))


def test_names_may_differ_in_case_where_the_server_does_not_care() -> None:
    assert needs("s.we-ird", folds=True).spaces == {21}
    assert needs("S.A".lower(), folds=True).spaces == {10}


def test_a_table_that_never_was_is_refused_with_those_that_are_called_alike() -> None:
    with pytest.raises(NotFound, match=r"no table s\.parts") as caught:
        needs("s.parts").check([name("s.parts")], lambda _: False, "s1")
    assert "s.part" in (caught.value.hint or "")
    needs("s.parts").check([name("s.parts")], lambda _: True, "s1")


@pytest.mark.parametrize(("table", "what"), [("s.view", "a view"), ("s.old", "a table of MyISAM")])
def test_what_has_no_rows_of_innodb_is_refused(table: str, what: str) -> None:
    with pytest.raises(TargetUnreachable, match=what):
        needs(table).check([name(table)], lambda _: False, "s1")
