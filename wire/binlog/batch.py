"""What a dump hands on: whole events of one binlog file, as they lie in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wire.binlog.header import ChecksumAlgorithm

Ending = Literal["rotate", "stop", "torn"]
"""How a binlog file ended: by its rotate event, by a stop event (shutdown), or by neither (a crash).

A dump that resumes behind the last event of a file says ``torn`` too: it did not see that event.
"""


@dataclass(slots=True)
class Batch:
    """Bytes ``start`` to ``end`` of the binlog ``file``: whole events, in order, plain, their CRCs checked.

    They are the bytes of the closed file: a batch with ``start`` 0 begins with the magic, and IN_USE is clear
    in its format description. ``data`` may be empty: nothing new, but the source lives (or the file just
    ended).

    ``ended_by`` says that this is the last batch of the file, which then is final; ``next_file`` follows, if
    the source already said so. ``ack_wanted``: a commit waits for an acknowledgement up to ``end``
    (semi-sync). ``created`` is the time stamp of the file's format description, seconds since 1970;
    ``received_at`` is when we last heard of the source, monotonic seconds.
    """

    file: str
    start: int
    data: bytes | bytearray
    end: int
    checksum: ChecksumAlgorithm
    created: int
    received_at: float
    ack_wanted: bool = False
    ended_by: Ending | None = None
    next_file: str | None = None

    @property
    def ends_file(self) -> bool:
        """No more will ever come of this file."""
        return self.ended_by is not None
