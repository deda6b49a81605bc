"""Which failures of a backup are tried again."""

from __future__ import annotations

from typing import Any, cast

import pytest
from prefect.states import Failed

from fleet.errors import ServerUnreachable, StoreDenied, StoreUnreachable, TurnTaken
from flows.backup import is_worth_retrying


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (StoreUnreachable("gone"), True),
        (ServerUnreachable("gone"), True),
        (StoreDenied("read-only"), False),
        (TurnTaken("somebody else is at work"), False),
        (ValueError("a bug"), False),
    ],
)
def test_only_what_may_pass_by_itself_is_tried_again(error: Exception, again: bool) -> None:
    assert is_worth_retrying(cast(Any, None), cast(Any, None), Failed(data=error)) is again
