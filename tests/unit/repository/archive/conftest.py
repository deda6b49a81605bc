"""An archive with its first epoch open, in memory."""

from __future__ import annotations

import pytest
from archived_binlogs import open_first

from repository.archive.archive import ShardArchive
from repository.repository import Repository


@pytest.fixture
def archive(repository: Repository) -> ShardArchive:
    made = ShardArchive(repository, "s1", level=1)
    open_first(made)
    return made
