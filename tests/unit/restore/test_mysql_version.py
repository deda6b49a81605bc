"""Version numbers of MySQL, those of today and calendar versions alike."""

from __future__ import annotations

import pytest

from fleet.errors import VersionMismatch
from restore.version import MysqlVersion, check_can_start


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("9.7.4-2", (9, 7, 4)),
        ("8.0.36-28.1", (8, 0, 36)),
        ("26.10", (26, 10, 0)),
        ("/usr/sbin/mysqld  Ver 8.4.5 for Linux on x86_64", (8, 4, 5)),
        ("100.1.20", (100, 1, 20)),
    ],
)
def test_a_version_is_found_in_what_servers_say(text: str, numbers: tuple[int, int, int]) -> None:
    assert MysqlVersion.parse(text) == numbers


def test_a_text_without_a_version_is_refused() -> None:
    with pytest.raises(VersionMismatch, match="no version number"):
        MysqlVersion.parse("command not found")


@pytest.mark.parametrize(
    ("server", "data"),
    [("9.7.4", "9.7.4"), ("8.0.40", "8.0.36-28"), ("26.10.2", "26.10"), ("8.0.100", "8.0.36")],
)
def test_the_same_series_of_the_same_or_a_newer_patch_may_start_the_data(server: str, data: str) -> None:
    check_can_start(MysqlVersion.parse(server), MysqlVersion.parse(data))


@pytest.mark.parametrize(
    ("server", "data"),
    [
        ("9.7.3", "9.7.4"),
        ("9.7.4", "8.4.4"),
        ("8.4.0", "8.0.36"),
        ("26.10.0", "9.7.0"),
        ("26.1.9", "26.10.0"),
    ],
)
def test_any_other_server_is_refused_with_both_versions_named(server: str, data: str) -> None:
    with pytest.raises(VersionMismatch) as refused:
        check_can_start(MysqlVersion.parse(server), MysqlVersion.parse(data))
    assert server in refused.value.message
    assert data in refused.value.message
    assert refused.value.hint is not None
    assert "BACKSTAY_MYSQLD" in refused.value.hint
