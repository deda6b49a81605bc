"""The files that a few tables need are told by name, whatever MySQL makes of their names."""

from __future__ import annotations

import pytest

from fleet.table_name import TableName
from repository.chain import Chain
from repository.manifest import FileEntry, Manifest, Sizes
from restore.table_files import files_named, files_of_spaces, is_system, reduced

NAMES: dict[str, int | None] = {
    "ibdata1": 0,
    "mysql.ibd": 0xFFFFFFFE,
    "undo_001": 0xFFFFFFEF,
    "mine.ibu": 0xFFFFFFF0 - 400_000 * 3,
    "#innodb_redo/#ib_redo7": None,
    "ib_buffer_pool": None,
    "shop/orders.ibd": 2,
    "shop/orders_old.ibd": 3,
    "shop/Orders.ibd": 4,
    "shop/parts#p#p0#sp#s0.ibd": 5,
    "shop/parts#P#p1.ibd": 6,
    "shop/parts_too#p#p0.ibd": 7,
    "elsewhere/shop/orders.ibd": 8,
    "shop/we@002dird@0020@0k.ibd": 9,
    "several.ibd": 10,
}


def made() -> Manifest:
    files = tuple(
        FileEntry(number=number, name=name, size=1000, space_id=space, page_size=16384)
        for number, (name, space) in enumerate(NAMES.items())
    )
    sizes = Sizes(files_bytes=15_000, received_bytes=15_000, stored_bytes=3_000, packs=1, records=1)
    return Manifest.model_construct(files=files, sizes=sizes, directories=("shop", "empty"))


def named(*tables: str, folds: bool = False) -> list[str]:
    names = list(NAMES)
    found = files_named(made(), map(TableName.parse, tables), folds=folds)
    return [names[number] for number in sorted(found)]


@pytest.mark.parametrize(
    ("table", "files"),
    [
        ("shop.orders", ["shop/orders.ibd", "elsewhere/shop/orders.ibd"]),
        ("shop.parts", ["shop/parts#p#p0#sp#s0.ibd", "shop/parts#P#p1.ibd"]),
        ("shop.`we-ird ä`", ["shop/we@002dird@0020@0k.ibd"]),
        ("shop.mysql", []),
        ("shop.nothing", []),
    ],
)
def test_a_table_has_files_of_its_name(table: str, files: list[str]) -> None:
    assert named(table) == files


def test_case_matters_where_the_server_says_so() -> None:
    assert "shop/Orders.ibd" not in named("shop.orders")
    assert "shop/Orders.ibd" in named("shop.orders", folds=True)


def test_what_every_server_needs_is_always_there() -> None:
    system = [entry.name for entry in made().files if is_system(entry)]
    assert system == list(NAMES)[:6]


def test_a_backup_is_cut_down_to_what_is_needed() -> None:
    manifest = made()
    chain, share = reduced(Chain((manifest,)), files_of_spaces(manifest, {10}))
    assert [entry.name for entry in chain.newest.files] == [*list(NAMES)[:6], "several.ibd"]
    assert chain.newest.directories == ("shop", "empty")
    assert (share.system_bytes, share.table_bytes, share.all_bytes) == (6000, 1000, 15_000)
    assert share.stored_bytes == chain.newest.sizes.stored_bytes == 1400
