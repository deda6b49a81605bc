"""A repository in memory, its keys in a folder, and a clock that moves."""

from __future__ import annotations

from pathlib import Path

import pytest
from sealed_backups import TickingClock, file_keyring

from repository.keys import Keyring
from repository.repository import Repository
from repository.stores.memory import MemoryStore


@pytest.fixture
def ticking() -> TickingClock:
    return TickingClock()


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return file_keyring(tmp_path)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore, keyring: Keyring, ticking: TickingClock) -> Repository:
    return Repository.create(store, keyring, ticking)
