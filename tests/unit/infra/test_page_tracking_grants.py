"""What the account of backups needs for page tracking: proposed, with what it allows, and not granted."""

from __future__ import annotations

from infra.sandbox.accounts import PRODUCTION_SQL, optional_grants, statements
from wire.admin import REQUIRED_PRIVILEGES
from wire.page_tracking import LIST_PRIVILEGES


def test_page_tracking_is_the_operators_choice() -> None:
    text = PRODUCTION_SQL.read_text()
    proposed = [one for one in optional_grants(text) if "TO 'backstay'@" in one]
    assert proposed == [
        f"GRANT {', '.join(LIST_PRIVILEGES)} ON *.* TO 'backstay'@'%'",
        "GRANT INSERT ON mysql.component TO 'backstay'@'%'",
    ]
    assert not set(LIST_PRIVILEGES) & set(REQUIRED_PRIVILEGES)
    granted = " ".join(statements(text))
    assert "FILE" not in granted and "SYSTEM_VARIABLES_ADMIN" not in granted
