"""Defaults from the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from fleet.model import Parallelism
from fleet.parallelism import usable_cpus


@pytest.mark.parametrize(
    ("cpus", "quota", "usable"),
    [
        (8, "max 100000", 8),
        (8, "200000 100000", 2),
        (8, "250000 100000", 2),
        (8, "350000 100000", 4),
        (2, "800000 100000", 2),
        (8, "10000 100000", 1),
        (8, "nonsense", 8),
        (8, "100000 0", 8),
        (8, None, 8),
    ],
)
def test_a_container_uses_no_more_than_its_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpus: int, quota: str | None, usable: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cpus)), raising=False)
    file = tmp_path / "cpu.max"
    if quota is not None:
        file.write_text(f"{quota}\n")
    assert usable_cpus(file) == usable


@pytest.mark.parametrize(
    ("cpus", "compress", "uploads", "downloads"), [(1, 1, 3, 4), (2, 2, 3, 4), (4, 4, 5, 8), (64, 32, 16, 16)]
)
def test_defaults_follow_the_machine_within_bounds(
    monkeypatch: pytest.MonkeyPatch, cpus: int, compress: int, uploads: int, downloads: int
) -> None:
    monkeypatch.setattr("fleet.parallelism.usable_cpus", lambda: cpus)
    parallelism = Parallelism()
    assert parallelism.clone_connections == 2
    assert parallelism.compress_threads == compress
    assert (parallelism.upload_threads, parallelism.download_threads) == (uploads, downloads)


@pytest.mark.parametrize(
    "wrong", [{"clone_connections": 5}, {"clone_connections": 0}, {"compress_threads": 0}, {"threads": 2}]
)
def test_figures_out_of_bounds_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        Parallelism.model_validate(wrong)
