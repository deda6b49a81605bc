"""MySQL's version numbers, and which server may start whose data. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from fleet.errors import VersionMismatch

_NUMBER = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


class MysqlVersion(NamedTuple):
    """A server's version as three numbers, ordered; ``26.10`` is ``26.10.0``.

    The first two name the series. Nothing else is known about them: a series is never judged by its number,
    for calendar versions are coming.
    """

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> MysqlVersion:
        """The first version number in ``text`` (``9.7.4-2``, ``mysqld  Ver 8.4.5 for Linux``), or
        ``VersionMismatch``.
        """
        found = _NUMBER.search(text)
        if found is None:
            raise VersionMismatch(
                f"no version number in {text.strip()[:120]!r}",
                hint="Is this the mysqld of a MySQL server?",
            )
        major, minor, patch = found.groups(default="0")
        return cls(int(major), int(minor), int(patch))

    @property
    def series(self) -> tuple[int, int]:
        """What stays the same over the patches of one release."""
        return self.major, self.minor

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


def check_can_start(server: MysqlVersion, data: MysqlVersion) -> None:
    """Raise ``VersionMismatch`` unless ``server`` may start files that a server of version ``data`` wrote.

    The same rule as CLONE INSTANCE has: the same series, and a patch that is not older. A newer patch
    upgrades the data dictionary at its first start; nobody goes back from there.
    """
    if server.series != data.series:
        raise VersionMismatch(
            f"the mysqld at hand is {server}, the backup was taken from {data}",
            hint=f"Install a MySQL {data.major}.{data.minor} of patch {data.patch} or newer, and name its "
            "mysqld in restore.mysqld or BACKSTAY_MYSQLD.",
        )
    if server < data:
        raise VersionMismatch(
            f"the mysqld at hand is {server}, older than {data}, which the backup was taken from",
            hint=f"Install MySQL {data} or a newer patch of the same series, and name its mysqld in "
            "restore.mysqld or BACKSTAY_MYSQLD.",
        )
