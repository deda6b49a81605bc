"""A table's SQL names no tablespace, and nothing else of it is touched."""

from __future__ import annotations

from restore.table_sql import _without_tablespace  # pyright: ignore[reportPrivateUsage]


def test_a_tablespace_is_left_out_and_told() -> None:
    create = "CREATE TABLE `t` (\n  `id` int\n) /*!50100 TABLESPACE `odd``name` */ ENGINE=InnoDB"
    assert _without_tablespace(create) == (
        "CREATE TABLE `t` (\n  `id` int\n) ENGINE=InnoDB",
        ["the table was declared in TABLESPACE `odd``name`, which is left out here"],
    )


def test_a_comment_that_looks_like_a_tablespace_stays() -> None:
    create = "CREATE TABLE `t` (\n  `id` int COMMENT '\\n) /*!50100 TABLESPACE `s` */'\n) ENGINE=InnoDB"
    assert _without_tablespace(create) == (create, [])
