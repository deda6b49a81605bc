"""``backstay undelete``, where there are no versions, and what it prints where there are."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from door import Backstay

import cli.cmd_undelete
from repository.undelete import ChangedObject, Undeletion

AT = datetime(2026, 3, 1, 2, 15, tzinfo=UTC)
OBJECTS = (
    ChangedObject("manifests/s1/20260228T021500Z-full", "overwritten", AT, 2048),
    ChangedObject("data/s1/20260228T021500Z-full/p00000000", "deleted", AT, 16 * 1024 * 1024),
)


def test_a_folder_keeps_no_versions_and_is_told_so(backstay: Backstay) -> None:
    answer = backstay("undelete", "--since", "2026-03-01T02:15:00Z")
    assert answer.exit_code == 10
    assert "keeps no versions" in answer.err
    assert "Is there a mirror?" not in answer.err


def test_a_moment_needs_a_time_zone(backstay: Backstay) -> None:
    assert backstay("undelete", "--since", "2026-03-01T02:15:00").exit_code == 2
    assert backstay("undelete").exit_code == 2


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A store in which two objects were changed; what was brought back."""
    brought: list[object] = []

    def undelete(*_: object, names: list[str] | None = None, **__: object) -> Undeletion:
        brought.extend(names or ())
        return Undeletion(
            done=names is not None, repository="s3://b/", since=AT, objects=OBJECTS, put_again=1
        )

    monkeypatch.setattr(cli.cmd_undelete, "undelete_objects", undelete)
    return brought


def test_the_plan_is_shown_and_nothing_is_touched(backstay: Backstay, changed: list[object]) -> None:
    answer = backstay("undelete", "--since", "2026-03-01T02:15:00Z", "--dry-run")
    assert answer.exit_code == 0
    assert "1 of data deleted, 1 of manifests overwritten" in answer.out
    assert "manifests/s1/20260228T021500Z-full" in answer.out
    assert changed == []
    refused = backstay("undelete", "--since", "2026-03-01T02:15:00Z")
    assert refused.exit_code == 2 and "--yes" in refused.err
    assert changed == []


def test_what_came_back_is_told_and_to_be_verified(backstay: Backstay, changed: list[object]) -> None:
    answer = backstay("undelete", "--since", "2026-03-01T02:15:00Z", "--yes")
    assert answer.exit_code == 0
    assert changed == [each.name for each in OBJECTS]
    assert "2 objects came back" in answer.out and "1 of them as copies" in answer.out
    assert "backstay verify" in answer.out
    shown = backstay("undelete", "--since", "2026-03-01T02:15:00Z", "--yes", "--json").json
    assert shown["done"] is True and shown["objects"][0]["happened"] == "overwritten"
