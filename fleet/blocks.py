"""The piece of data that travels from the wire to the repository and back.

Both ends need the word and neither may know the other, so it lives here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple


class Stage(IntEnum):
    """Stages of a clone, in the order in which their data must be applied."""

    FILE = 2
    PAGE = 3
    REDO = 4


class Extent(NamedTuple):
    """``length`` bytes of file number ``file``, from byte ``offset`` on."""

    file: int
    offset: int
    length: int


@dataclass(slots=True)
class Block:
    """Up to 4 MiB of data: the bytes of ``extents``, one after the other.

    ``release`` gives the memory back to its pool; whoever consumes the block calls it exactly once.
    """

    stage: Stage
    extents: tuple[Extent, ...]
    data: memoryview
    release: Callable[[], None]
