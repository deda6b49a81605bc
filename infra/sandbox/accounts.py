"""The accounts of a sandbox: production's, from the very file that we document, and one for the load."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql

from fleet.errors import SandboxFailed
from infra.sandbox.files import write_private

PRODUCTION_SQL = Path(__file__).parents[1] / "examples" / "accounts.sql"

_CREATES = re.compile(r"CREATE USER '(\w+)'")
_OPTIONAL = re.compile(r"^--     (GRANT [^;]+);$", re.MULTILINE)
_USERS = ("backstay", "backstay_archive", "replication", "application", "backstay_diff")
_APPLICATION_SQL = """
CREATE USER 'application'@'%' IDENTIFIED BY RANDOM PASSWORD;
GRANT ALL ON `load`.* TO 'application'@'%';
-- For the load's truncation of an undo tablespace: to switch it off and on, and to see its state.
GRANT CREATE TABLESPACE, PROCESS ON *.* TO 'application'@'%';
-- What may be compared is for each operator to say; here it is what the load writes.
GRANT SELECT ON `load`.* TO 'backstay_diff'@'%';
"""


@dataclass(frozen=True)
class Credentials:
    """A user name and its password."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class SandboxAccounts:
    """All as in production, but ``application``, which may do all in schema ``load``."""

    backup: Credentials
    archive: Credentials
    replication: Credentials
    application: Credentials
    diff: Credentials

    @property
    def all(self) -> tuple[Credentials, ...]:
        """Every one of them."""
        return (self.backup, self.archive, self.replication, self.application, self.diff)

    def write(self, directory: Path) -> None:
        """Keep them, one private file each."""
        for one in self.all:
            write_private(directory / f"{one.user}-password", one.password.encode())

    @staticmethod
    def read(directory: Path) -> SandboxAccounts:
        """What ``write`` kept. Raises SandboxFailed."""
        found: list[Credentials] = []
        for user in _USERS:
            try:
                found.append(Credentials(user, (directory / f"{user}-password").read_text()))
            except OSError as error:
                raise SandboxFailed(f"the sandbox has no account {user}: {error.strerror}") from error
        return SandboxAccounts(*found)


def create_accounts(
    connection: pymysql.connections.Connection[Any],
    *,
    like: SandboxAccounts | None = None,
    optional: bool = False,
) -> SandboxAccounts:
    """Run ``infra/examples/accounts.sql`` and make the load's account, on a primary, as an administrator.

    Passwords are random, or those of ``like``, the accounts of another shard of the same fleet. With
    ``optional``, the grants that the file only proposes are made as well.
    Raises SandboxFailed naming the statement that the server refused.
    """
    made = {} if like is None else {one.user: one for one in like.all}
    text = PRODUCTION_SQL.read_text()
    proposed = optional_grants(text) if optional else []
    with connection.cursor() as cursor:
        for statement in [*statements(text + _APPLICATION_SQL), *proposed]:
            creates = _CREATES.match(statement)
            known = made.get(creates[1]) if creates else None
            try:
                cursor.execute(_with_password(statement, known, connection))
            except pymysql.MySQLError as error:
                raise SandboxFailed(f"the server refused {statement}: {error.args[-1]}") from error
            if creates and known is None:
                # It answers with a row: user, host, generated password, authentication factor.
                for user, _, password, *_ in cursor.fetchall():
                    made[user] = Credentials(user, password)
    return SandboxAccounts(*(made[user] for user in _USERS))


def statements(text: str) -> list[str]:
    """The statements of an SQL file whose comments are lines of their own, each without its semicolon."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("--"))
    parts = (" ".join(part.split()) for part in "\n".join(lines).split(";"))
    return [part for part in parts if part]


def optional_grants(text: str) -> list[str]:
    """The grants that an SQL file proposes: comments that are indented like code."""
    return _OPTIONAL.findall(text)


def _with_password(
    statement: str, known: Credentials | None, connection: pymysql.connections.Connection[Any]
) -> str:
    if known is None:
        return statement
    return statement.replace("RANDOM PASSWORD", connection.escape(known.password))
