"""``make demo`` is a promise: it is kept here, with less data."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.mysql, pytest.mark.s3, pytest.mark.slow]


@pytest.mark.timeout(290)
def test_the_demo_brings_the_shard_back_and_finds_it_equal(mysql_distribution: object) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "infra.demo"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "BACKSTAY_DEMO_MEGABYTES": "60"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "all equal" in finished.stdout
    assert "The shard came back, and it is the same." in finished.stdout
