"""What stories of pruning share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backup import prune_survey
from repository.retention import Decision, apply_policy


@pytest.fixture
def policy_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a story marks is what the present policy would not keep either."""

    def decide(*given: Any, **named: Any) -> Decision:
        return replace(apply_policy(*given, **named), unmark=())

    monkeypatch.setattr(prune_survey, "apply_policy", decide)
