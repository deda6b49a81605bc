"""The component for page tracking at the sandbox's servers: ``backstay check --fix`` can switch it on."""

from __future__ import annotations

import pymysql

from fleet.errors import SandboxFailed
from infra.sandbox.server import MysqlServer

_COMPONENT = "file://component_mysqlbackup"


def install_page_tracking(server: MysqlServer) -> None:
    """Install it, as an administrator. Raises SandboxFailed.

    A component is installed by writing a table, which is not replicated; so a replica is writable for it.
    """
    (row,) = server.query("SELECT @@global.super_read_only AS locked")
    try:
        server.query("SET GLOBAL super_read_only = OFF")
        server.query(f"INSTALL COMPONENT '{_COMPONENT}'")
        server.query(f"SET GLOBAL super_read_only = {int(row['locked'])}")
    except pymysql.MySQLError as error:
        raise SandboxFailed(f"{server.name} cannot learn to track its pages: {error.args[-1]}") from error
