"""What a replication source serves: binlog files in pieces, from wherever they are kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from fleet.gtid import GtidSet


class Piece(NamedTuple):
    """Whole events of one binlog file, as they lie in it.

    ``start`` is the position of the first byte in the file. The first piece of a file has ``start`` 4 and
    begins with the format description. Between two pieces of a file whole transactions may be left out, and
    nothing else. ``data`` is not copied: it must stay as it is.
    """

    file: str
    start: int
    data: memoryview


class BinlogFeed(Protocol):
    """Where pieces come from. Several threads call it, each for a replica of its own."""

    def pieces(self, have: GtidSet, cancelled: threading.Event) -> Iterator[Piece | None]:
        """From the newest file on that began with nothing but transactions of ``have``.

        Files come in the order of the chain; transactions may come twice. ``None`` says that there is
        nothing new yet, and to ask again: the iterator itself waits, a second at most, and looks at
        ``cancelled`` meanwhile. Its end says that no more will ever come. Raises ArchiveGap when transactions
        that are not in ``have`` are no longer there, and other ToolErrors; after one that is retryable, the
        replica tries again.
        """
        ...
