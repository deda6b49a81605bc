"""What of an object's versions comes back; newest first, as a bucket lists them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from repository.stores.s3_past import changed
from repository.stores.s3_versions import Version

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def version(minutes: int, content: str, *, is_latest: bool = False) -> Version:
    """One that came so many minutes after noon; ``-`` is a delete marker."""
    at = NOON + timedelta(minutes=minutes)
    size = 0 if content == "-" else len(content)
    return Version("data/p", f"{minutes}{content}", at, content == "-", is_latest, size, content)


OURS = version(-60, "ours")


@pytest.mark.parametrize(
    "versions",
    [
        [],
        [OURS],
        [version(5, "new")],
        [version(5, "-"), version(4, "new")],
        [version(-5, "-"), OURS],
        [version(5, "new"), version(-5, "-"), OURS],
        [version(0, "other"), OURS],
        [version(9, "ours"), version(5, "-"), OURS],
    ],
)
def test_what_is_as_it_was_or_was_not_there_is_left_alone(versions: list[Version]) -> None:
    assert changed("data/p", versions, NOON) is None


@pytest.mark.parametrize(
    ("newer", "hidden"),
    [
        (["-"], True),
        (["evil"], False),
        (["evil", "-", "evil2"], False),
        (["-", "evil"], True),
    ],
)
def test_what_was_there_comes_back_from_under_all_that_came_after(newer: list[str], hidden: bool) -> None:
    over = [version(10 - number, content) for number, content in enumerate(newer)]
    found = changed("data/p", [*over, OURS, version(-90, "older")], NOON)
    assert found is not None
    assert (found.was, list(found.newer), found.hidden) == (OURS, over, hidden)
    assert found.at == over[-1].modified_at
