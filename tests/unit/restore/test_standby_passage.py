"""Whether a standby can go on along a line that may have taken another course."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest

from fleet.errors import ArchiveGap, SourceDiverged
from fleet.gtid import GtidSet
from repository.archive.line import Line
from repository.archive.reckoning import Branch, Gap
from repository.layout import BinlogFile
from restore.feed import check_passable
from restore.growing import NOTHING
from tests.unit.restore.made_lines import A, gtids

FILE = BinlogFile(1, A, "binlog.000002", 7)


@dataclass
class Looked:
    """What passing needs of a line."""

    gaps: tuple[Gap, ...] = ()
    branches: tuple[Branch, ...] = ()
    skipped: GtidSet = NOTHING
    epoch: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(epoch=2))


def passable(line: Looked, have: str, *, skipped: str = "") -> None:
    check_passable(cast(Line, line), gtids(have), gtids(skipped))


def test_a_line_without_anything_special_is_passed() -> None:
    passable(Looked(), "a:1-9")


def test_a_gap_is_passed_only_by_who_has_what_is_missing() -> None:
    gap = Looked(gaps=(Gap(gtids("a:5-6"), None, FILE),))
    passable(gap, "a:1-6")
    passable(gap, "a:1-5", skipped="a:6")
    with pytest.raises(ArchiveGap, match="missing in the archive") as caught:
        passable(gap, "a:1-4")
    assert f"{A}:5-6" in caught.value.message


def test_who_has_applied_a_branch_has_gone_astray() -> None:
    branch = Looked(branches=(Branch(1, gtids("a:8-9")),))
    passable(branch, "a:1-7")
    with pytest.raises(SourceDiverged, match="epoch 2"):
        passable(branch, "a:1-8")


def test_who_has_applied_what_a_restore_left_out_has_too() -> None:
    line = Looked(skipped=gtids("a:4"))
    passable(line, "a:1-3")
    passable(line, "a:1-9", skipped="a:4")
    with pytest.raises(SourceDiverged):
        passable(line, "a:1-9")
