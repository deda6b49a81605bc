"""The accounts of a sandbox: production's, from the very file that we document, and one for the load."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql

from fleet.errors import SandboxFailed

PRODUCTION_SQL = Path(__file__).parents[1] / "examples" / "accounts.sql"

_APPLICATION_SQL = """
CREATE USER 'application'@'%' IDENTIFIED BY RANDOM PASSWORD;
GRANT ALL ON `load`.* TO 'application'@'%';
-- For the load's DDL on undo tablespaces.
GRANT CREATE TABLESPACE ON *.* TO 'application'@'%';
"""


@dataclass(frozen=True)
class Credentials:
    """A user name and its password."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class SandboxAccounts:
    """``backup`` and ``replication`` as in production; ``application`` may do all in schema ``load``."""

    backup: Credentials
    replication: Credentials
    application: Credentials


def create_accounts(connection: pymysql.connections.Connection[Any]) -> SandboxAccounts:
    """Run ``infra/examples/accounts.sql`` and make the load's account, on a primary, as an administrator.

    Raises SandboxFailed naming the statement that the server refused.
    """
    made: dict[str, Credentials] = {}
    with connection.cursor() as cursor:
        for statement in statements(PRODUCTION_SQL.read_text() + _APPLICATION_SQL):
            try:
                cursor.execute(statement)
            except pymysql.MySQLError as error:
                raise SandboxFailed(f"the server refused {statement}: {error.args[-1]}") from error
            if statement.startswith("CREATE USER"):
                # It answers with a row: user, host, generated password, authentication factor.
                for user, _, password, *_ in cursor.fetchall():
                    made[user] = Credentials(user, password)
    return SandboxAccounts(made["backstay"], made["replication"], made["application"])


def statements(text: str) -> list[str]:
    """The statements of an SQL file whose comments are lines of their own, each without its semicolon."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("--"))
    parts = (" ".join(part.split()) for part in "\n".join(lines).split(";"))
    return [part for part in parts if part]
