"""What real servers are made to log, for recorded binlog files and for scenarios, and what is in it.

A story runs on one connection, with a binlog file to itself. Each step is one transaction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fleet.transaction import Kind

FOREIGN = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
INSERT, UPDATE, DELETE, DDL, XA, STATEMENT = (
    Kind.INSERT,
    Kind.UPDATE,
    Kind.DELETE,
    Kind.DDL,
    Kind.XA,
    Kind.STATEMENT,
)


class Step(NamedTuple):
    """One transaction: the statements that make it, and what a reader should say of it."""

    kinds: Kind
    tables: tuple[str, ...]
    sql: tuple[str, ...]


@dataclass(frozen=True)
class Story:
    """``settings`` are SET GLOBAL before a fresh file begins; ``session`` is run first of all."""

    name: str
    steps: tuple[Step, ...]
    settings: dict[str, str] = field(default_factory=dict[str, str])
    session: tuple[str, ...] = ()


def step(kinds: Kind, tables: str, *sql: str) -> Step:
    return Step(kinds, tuple(sorted(tables.split())), sql)


_ITEM = "(id INT UNSIGNED PRIMARY KEY AUTO_INCREMENT, name VARCHAR(80), price DECIMAL(10,2), more JSON)"
_SETTINGS = {
    "binlog_checksum": "CRC32",
    "binlog_row_metadata": "FULL",
    "binlog_row_image": "FULL",
    "binlog_transaction_compression": "OFF",
}


def _opened(schema: str) -> tuple[Step, ...]:
    return (
        step(DDL, f"{schema}.*", f"CREATE DATABASE {schema}", f"USE {schema}"),
        step(DDL, f"{schema}.item", f"CREATE TABLE item {_ITEM}"),
        step(DDL, f"{schema}.other", "CREATE TABLE other (id INT PRIMARY KEY, text LONGTEXT)"),
    )


PLAIN = Story(
    "plain",
    (
        *_opened("plain"),
        step(INSERT, "plain.item", "INSERT INTO item (name, price) VALUES ('a', 1), ('b', 2.5), ('ü', NULL)"),
        step(UPDATE, "plain.item", "UPDATE item SET price = 7 WHERE name = 'b'"),
        step(DELETE, "plain.item", "DELETE FROM item WHERE name = 'a'"),
        step(
            INSERT | UPDATE | DELETE,
            "plain.item plain.other",
            "BEGIN",
            "INSERT INTO other VALUES (1, 'x'), (2, 'y')",
            "UPDATE item SET price = price + 1",
            "DELETE FROM other WHERE id = 1",
            "COMMIT",
        ),
        step(
            INSERT,
            "plain.other",
            "BEGIN",
            "INSERT INTO other VALUES (10, 'kept')",
            "SAVEPOINT s",
            "INSERT INTO item (name) VALUES ('gone')",
            "ROLLBACK TO s",
            "COMMIT",
        ),
        step(Kind.EMPTY, "", f"SET gtid_next='{FOREIGN}:5'", "BEGIN", "COMMIT", "SET gtid_next='AUTOMATIC'"),
        step(
            INSERT,
            "plain.item",
            "SET binlog_rows_query_log_events=ON",
            'INSERT INTO item (name, more) VALUES (\'j\', \'{"a": 1, "b": [1, 2, 3], "c": "some text"}\')',
        ),
        step(
            UPDATE,
            "plain.item",
            "SET binlog_rows_query_log_events=OFF, binlog_row_value_options=PARTIAL_JSON",
            "UPDATE item SET more = JSON_SET(more, '$.a', 2) WHERE name = 'j'",
        ),
        step(DDL, "plain.old", "CREATE TABLE old (id INT) ENGINE=MyISAM"),
        step(INSERT, "plain.old", "INSERT INTO old VALUES (1)"),
        step(
            STATEMENT | INSERT,
            "plain.item",
            "SET SESSION binlog_format=STATEMENT, @number=3",
            "INSERT INTO item (name, price) VALUES (CONCAT('s', RAND()), @number)",
        ),
        step(STATEMENT | UPDATE, "plain.item", "UPDATE LOW_PRIORITY plain.item SET price = 0 WHERE id = 1"),
        step(STATEMENT | DELETE, "plain.old", "DELETE FROM old"),
        step(INSERT, "plain.other", "SET SESSION binlog_format=ROW", "INSERT INTO other VALUES (9, 'last')"),
    ),
)

COMPRESSED = Story(
    "compressed",
    (
        *_opened("packed"),
        step(
            INSERT, "packed.item", "INSERT INTO item (name, price) VALUES ('a', 1), ('b', 2.5), ('c', NULL)"
        ),
        step(
            INSERT | UPDATE | DELETE,
            "packed.item packed.other",
            "BEGIN",
            "INSERT INTO other VALUES (1, REPEAT('x', 1500000)), (2, REPEAT('y', 1500000))",
            "UPDATE item SET price = price + 1",
            "DELETE FROM item WHERE name = 'a'",
            "COMMIT",
        ),
        step(DDL, "packed.third", "CREATE TABLE third (id INT PRIMARY KEY)"),
        step(DELETE, "packed.other", "DELETE FROM other WHERE id = 2"),
        step(Kind.EMPTY, "", f"SET gtid_next='{FOREIGN}:6'", "BEGIN", "COMMIT", "SET gtid_next='AUTOMATIC'"),
        step(INSERT | DDL, "packed.fourth", "CREATE TABLE fourth AS SELECT id, name FROM item"),
    ),
    session=("SET binlog_transaction_compression=ON",),
)

TAGGED = Story(
    "tagged",
    (
        *_opened("tagged"),
        step(
            INSERT,
            "tagged.item",
            "SET gtid_next='AUTOMATIC:night_shift'",
            "INSERT INTO item (name) VALUES ('a')",
        ),
        step(DDL, "tagged.item", "ALTER TABLE item ADD COLUMN extra INT"),
        step(UPDATE, "tagged.item", "UPDATE item SET extra = 1"),
        step(
            INSERT,
            "tagged.other",
            f"SET gtid_next='{FOREIGN}:_:9223372036854775806'",
            "INSERT INTO other VALUES (1, REPEAT('x', 3000))",
            "SET gtid_next='AUTOMATIC'",
        ),
        step(
            INSERT,
            "tagged.other",
            "SET gtid_next='AUTOMATIC:a2345678901234567890123456789012', binlog_transaction_compression=ON",
            "INSERT INTO other VALUES (2, REPEAT('x', 3000))",
            "SET gtid_next='AUTOMATIC'",
        ),
        step(INSERT, "tagged.other", "INSERT INTO other VALUES (3, 'untagged')"),
    ),
)

UNCHECKED = Story(
    "unchecked",
    (
        *_opened("unchecked"),
        step(INSERT, "unchecked.item", "INSERT INTO item (name) VALUES ('a'), ('b')"),
        step(
            INSERT,
            "unchecked.other",
            "SET binlog_transaction_compression=ON",
            "INSERT INTO other VALUES (1, REPEAT('x', 500))",
        ),
        step(
            DELETE,
            "unchecked.other",
            "SET binlog_transaction_compression=OFF, gtid_next='AUTOMATIC:t'",
            "DELETE FROM other",
            "SET gtid_next='AUTOMATIC'",
        ),
        step(DDL, "unchecked.item unchecked.other", "DROP TABLE item, other"),
    ),
    settings={"binlog_checksum": "NONE"},
)

XA_STORY = Story(
    "xa",
    (
        *_opened("xa"),
        step(
            INSERT | XA,
            "xa.item",
            *("XA START 'one'", "INSERT INTO item (name) VALUES ('a')", "XA END 'one'", "XA PREPARE 'one'"),
        ),
        step(XA, "", "XA COMMIT 'one'"),
        step(
            INSERT | XA,
            "xa.other",
            *(
                "XA START 'g','b',7",
                "INSERT INTO other VALUES (1, 'x')",
                "XA END 'g','b',7",
                "XA PREPARE 'g','b',7",
            ),
        ),
        step(XA, "", "XA ROLLBACK 'g','b',7"),
        step(
            UPDATE | XA,
            "xa.item",
            *("XA START 'two'", "UPDATE item SET price = 1", "XA END 'two'", "XA COMMIT 'two' ONE PHASE"),
        ),
    ),
)

DDL_STORY = Story(
    "ddl",
    (
        *_opened("ddl"),
        step(INSERT, "ddl.item", "INSERT INTO item (name) VALUES ('a')"),
        step(DDL, "ddl.copy", "CREATE TABLE copy LIKE item"),
        step(INSERT | DDL, "ddl.filled", "CREATE TABLE filled AS SELECT * FROM item"),
        step(
            DDL, "ddl.item", "ALTER TABLE item ADD COLUMN note TEXT COMMENT 'DROP TABLE x', ADD INDEX (price)"
        ),
        step(DDL, "ddl.item", "ALTER TABLE ddl.item RENAME COLUMN note TO notes"),
        step(DDL, "ddl.copy ddl.copy2", "ALTER TABLE copy RENAME TO copy2"),
        step(
            DDL,
            "ddl.copy2 ddl.copy3 ddl.filled ddl2.filled",
            "/* prepared by a person */ RENAME TABLE copy2 TO copy3, ddl.filled TO `ddl2`.filled",
        ),
        step(DDL, "ddl.item", "CREATE UNIQUE INDEX u ON item (id, name)"),
        step(DDL, "ddl.item", "DROP INDEX u ON item"),
        step(DDL, "ddl.copy3", "TRUNCATE copy3"),
        step(DDL, "ddl2.filled", "TRUNCATE TABLE `ddl2` . `filled`"),
        step(DDL, "ddl.view", "CREATE VIEW `view` AS SELECT id FROM item"),
        step(DDL, "ddl.view", "ALTER VIEW `view` AS SELECT id, name FROM item"),
        step(DDL, "ddl.view", "DROP VIEW `view`"),
        step(
            DDL,
            "ddl.other",
            "CREATE TRIGGER t BEFORE INSERT ON other FOR EACH ROW SET NEW.text = 'DROP TABLE x'",
        ),
        step(DDL, "", "DROP TRIGGER t"),
        step(DDL, "", "CREATE PROCEDURE p() DROP TABLE IF EXISTS nothing"),
        step(DDL, "", "DROP PROCEDURE p"),
        step(DDL, "", "CREATE EVENT e ON SCHEDULE AT '2037-01-01 00:00:00' DISABLE DO TRUNCATE TABLE item"),
        step(DDL, "", "DROP EVENT e"),
        step(DDL, "", "CREATE USER somebody IDENTIFIED BY 'secret'"),
        step(DDL, "", "GRANT SELECT ON ddl.* TO somebody"),
        step(DDL, "", "SET PASSWORD FOR somebody = 'other secret'"),
        step(DDL, "", "DROP USER somebody"),
        step(DDL, "ddl.per`cent ddl.q q", "CREATE TABLE `per``cent` (id INT)")._replace(
            tables=("ddl.per`cent",)
        ),
        step(DDL, "ddl.*", "ALTER DATABASE ddl CHARACTER SET utf8mb4"),
        step(STATEMENT, "", "ANALYZE TABLE item"),
        step(STATEMENT, "", "FLUSH TABLES"),
        step(DDL, "", "DROP TABLE item, `per``cent`, ddl2.filled")._replace(
            tables=("ddl.item", "ddl.per`cent", "ddl2.filled")
        ),
        step(DDL, "ddl.gone", "DROP TABLE IF EXISTS gone"),
        step(DDL, "ddl2.*", "DROP DATABASE ddl2"),
    ),
    session=("SET sql_log_bin=0", "CREATE DATABASE ddl2", "SET sql_log_bin=1"),
)

MINIMAL = Story(
    "minimal",
    (
        *_opened("minimal"),
        step(INSERT, "minimal.item", "INSERT INTO item (name, price) VALUES ('a', 1), ('b', 2.5)"),
        step(UPDATE, "minimal.item", "UPDATE item SET price = 7 WHERE id = 2"),
        step(DELETE, "minimal.item", "DELETE FROM item WHERE id = 1"),
    ),
    settings={"binlog_row_metadata": "MINIMAL", "binlog_row_image": "MINIMAL"},
)

STORIES = (PLAIN, COMPRESSED, TAGGED, UNCHECKED, XA_STORY, DDL_STORY, MINIMAL)


def prepare(server: Any, story: Story) -> None:
    """Set what the story needs, and begin a fresh binlog file for it."""
    for name, value in (_SETTINGS | story.settings).items():
        server.query(f"SET GLOBAL {name} = {value}")
    server.query("FLUSH BINARY LOGS")


def tell(server: Any, story: Story) -> None:
    """Run the story's statements, all on one connection."""
    connection = server.connect()
    try:
        with connection.cursor() as cursor:
            for statement in (*story.session, *(sql for step in story.steps for sql in step.sql)):
                cursor.execute(statement)
    finally:
        connection.close()
