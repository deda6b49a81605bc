"""What the server itself knows of its changed pages: page tracking, by ``component_mysqlbackup``.

The component comes with MySQL, of every edition. Once tracking is switched on, InnoDB notes the number of
each page that it writes, and keeps its notes over restarts until it is switched off; after a crash they lack
pages that it had just written. It tells page numbers, not their contents. What the server noted it writes
into the file ``#meb/<id>.idx`` of its data directory, which only ``LOAD_FILE`` can read from afar.

The notes are exact to a clone: at its start InnoDB begins a new section of them, and a list since any moment
begins with the section of that moment. So it may have pages that were changed before; without a crash it
misses none.
Source: arch0page.cc, backup_page_tracker.cc; tried with 9.7, also what ``kill -9`` loses.
"""

from __future__ import annotations

import contextlib
import sys
from array import array
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from fleet.errors import ProtocolViolation, ServerRefused, ToolError
from wire.admin import log_status, missing_privileges
from wire.session import Session

COMPONENT = "file://component_mysqlbackup"

LIST_PRIVILEGES = ("FILE", "SYSTEM_VARIABLES_ADMIN")
"""What ``changed_pages`` needs besides BACKUP_ADMIN: to read the list's file, and to give the file a name."""

_NAME = "7065001"
"""The name of our list on the server: digits, as the component asks."""

_LOCK = "backstay.changed_pages"
_LOCK_SECONDS = 10
_ENTRY_BYTES = 8
_SLICE_BYTES = 1024 * 1024
_CANNOT_WRITE = -1
_RANGE_NOT_TRACKED = 3803


@dataclass(frozen=True, slots=True)
class PageTracking:
    """``start_lsn``: pages changed since then are known; ``None`` while tracking is off."""

    component: bool
    start_lsn: int | None


class Obstacle(NamedTuple):
    """Why something does not work, and the way out."""

    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class PageList:
    """Changed pages: of each tablespace, by its id, one bit a page up to its last changed one."""

    bitmaps: Mapping[int, bytearray] = field(default_factory=dict[int, bytearray], repr=False)

    def has_any(self, space_id: int, first_page: int, last_page: int) -> bool:
        """Was any page from ``first_page`` to ``last_page``, both included, changed?"""
        bits = self.bitmaps.get(space_id, b"")[first_page >> 3 : (last_page >> 3) + 1]
        number = int.from_bytes(bits, "little") >> (first_page & 7)
        return bool(number & ((1 << (last_page - first_page + 1)) - 1))

    def pages(self, space_id: int) -> Iterator[int]:
        """The numbers of the tablespace's changed pages, in their order."""
        for place, byte in enumerate(self.bitmaps.get(space_id, b"")):
            yield from (place * 8 + bit for bit in range(8) if byte >> bit & 1)

    def __len__(self) -> int:
        return sum(int.from_bytes(bits, "little").bit_count() for bits in self.bitmaps.values())


def tracking_status(session: Session) -> PageTracking:
    """Needs BACKUP_ADMIN."""
    if not session.query("SHOW GLOBAL VARIABLES LIKE 'mysqlbackup.backupid'"):
        return PageTracking(component=False, start_lsn=None)
    (row,) = session.query("SELECT mysqlbackup_page_track_get_start_lsn() AS lsn")
    return PageTracking(component=True, start_lsn=int(row["lsn"] or 0) or None)


def switch_on(session: Session) -> PageTracking:
    """Install the component where it is not, and let the server track its pages; both outlast a restart.

    Needs BACKUP_ADMIN, and INSERT on mysql.component unless it is installed. Raises ServerRefused. On a
    server that tracks already nothing changes.
    """
    if not tracking_status(session).component:
        session.query(f"INSTALL COMPONENT '{COMPONENT}'")
    (row,) = session.query("SELECT mysqlbackup_page_track_set(true) AS lsn")
    status = tracking_status(session)
    if status.start_lsn is None:
        raise ServerRefused(
            f"{session.peer} did not switch page tracking on: it answered {row['lsn']}",
            hint="Its error log says why.",
        )
    return status


def may_read_list(session: Session) -> bool:
    """Can ``changed_pages`` work with this server and this account? ``why_no_list`` says why not."""
    return why_no_list(session) is None


def why_no_list(session: Session) -> Obstacle | None:
    """What keeps ``changed_pages`` from working, beside the LSN that it is asked for."""
    status = tracking_status(session)
    if status.start_lsn is None:
        what = "page tracking is off" if status.component else "component_mysqlbackup is not installed"
        return Obstacle(what, "backstay check --fix switches page tracking on.")
    if missing := missing_privileges(session, LIST_PRIVILEGES):
        return Obstacle(
            f"the backup account lacks {', '.join(missing)}",
            "infra/examples/accounts.sql has these grants as optional ones, and says what they allow.",
        )
    (row,) = session.query("SELECT @@global.secure_file_priv AS allowed, @@datadir AS datadir")
    allowed, lists = str(row["allowed"]), f"{row['datadir']}#meb/"
    if not lists.startswith("" if allowed == "" else allowed.rstrip("/") + "/"):
        return Obstacle(
            f"secure_file_priv is {allowed}, and the list of changed pages lies in {lists}",
            f"Set secure_file_priv = {lists} in the server's config, which lets FILE reach nothing else.",
        )
    return None


def changed_pages(session: Session, since_lsn: int) -> PageList:
    """The pages that the server wrote since the checkpoint ``since_lsn``, up to now.

    Two runs on one server take turns. The list's file is removed when it was read. Memory: a bit for each
    page of the tablespaces that changed, and on the server the list, 8 bytes a page, which must fit into
    ``max_allowed_packet``. Raises ServerRefused with the reason where the list cannot be had.
    """
    if (obstacle := why_no_list(session)) is not None:
        raise _refused(session, *obstacle)
    start_lsn = tracking_status(session).start_lsn
    if start_lsn is None or start_lsn > since_lsn:
        raise _refused(
            session,
            f"page tracking is on since LSN {start_lsn}, which is after {since_lsn}",
            "The next backup after this one can use it.",
        )
    with _our_turn(session), _written(session, since_lsn, start_lsn):
        return _read(session)


@contextlib.contextmanager
def _our_turn(session: Session) -> Generator[None]:
    (row,) = session.query(f"SELECT GET_LOCK('{_LOCK}', {_LOCK_SECONDS}) AS ours")
    if row["ours"] != 1:
        raise _refused(session, "another run reads its list of changed pages", "Try again later.")
    try:
        yield
    finally:
        with contextlib.suppress(ToolError):
            session.query(f"DO RELEASE_LOCK('{_LOCK}')")


@contextlib.contextmanager
def _written(session: Session, since_lsn: int, start_lsn: int) -> Generator[None]:
    """The server has written its list; its file is gone afterwards."""
    try:
        _write(session, since_lsn, start_lsn)
        yield
    finally:
        with contextlib.suppress(ToolError):
            _forget_list(session)


def _write(session: Session, since_lsn: int, start_lsn: int) -> None:
    # A list begins before the server's last checkpoint, or it gives none. From further back it has more pages
    # than we asked for, which is no harm.
    checkpoint_lsn = log_status(session).lsn_checkpoint
    begins = (min(since_lsn, max(start_lsn, checkpoint_lsn - 1)), start_lsn)
    for _ in range(2):
        _forget_list(session)
        answer = next((a for begin in begins if (a := _ask(session, begin)) != _RANGE_NOT_TRACKED), None)
        if answer == 0:
            return
        if answer is None:
            raise _refused(
                session, f"it made no checkpoint since {start_lsn}", "The next backup can use page tracking."
            )
        if answer != _CANNOT_WRITE:
            raise _refused(session, f"it answered with error {answer}", "`perror` says what that is.")
        # A list that a crash left was in the way; now that the server found it, it removes it.
    raise _refused(
        session, f"it did not write #meb/{_NAME}.idx in its data directory", "Is its disk full? May it write?"
    )


def _forget_list(session: Session) -> None:
    """Name the next list: with that, the server removes the file that it wrote or met by the last name."""
    session.query(f"SET GLOBAL mysqlbackup.backupid = '{_NAME}'")


def _ask(session: Session, since_lsn: int) -> int:
    (row,) = session.query(f"SELECT mysqlbackup_page_track_get_changed_pages({since_lsn}, 0) AS answer")
    return int(row["answer"])


def _read(session: Session) -> PageList:
    # Into a variable first: LOAD_FILE reads the whole file each time that it is asked.
    session.query(f"SET @backstay_pages = LOAD_FILE(CONCAT(@@datadir, '#meb/{_NAME}.idx'))")
    try:
        (row,) = session.query("SELECT LENGTH(@backstay_pages) AS n, @@global.max_allowed_packet AS most")
        if row["n"] is None:
            raise _refused(
                session,
                f"LOAD_FILE gave nothing; is the list larger than max_allowed_packet = {row['most']}?",
                "Raise max_allowed_packet there: the list has 8 bytes for each changed page.",
            )
        if row["n"] % _ENTRY_BYTES:
            raise ProtocolViolation(f"a list of changed pages has {row['n']} bytes")
        bitmaps: dict[int, bytearray] = {}
        for begin in range(0, row["n"], _SLICE_BYTES):
            (part,) = session.query(f"SELECT SUBSTRING(@backstay_pages, {begin + 1}, {_SLICE_BYTES}) AS part")
            read_entries(bitmaps, part["part"])
        return PageList(bitmaps)
    finally:
        with contextlib.suppress(ToolError):
            session.query("SET @backstay_pages = NULL")


def read_entries(bitmaps: dict[int, bytearray], entries: bytes) -> None:
    """``entries``: space id and page number, u32 each, big endian; some come more than once."""
    numbers = array("I", entries)
    if sys.byteorder == "little":
        numbers.byteswap()
    for space_id, page in zip(numbers[::2], numbers[1::2], strict=True):
        bits = bitmaps.setdefault(space_id, bytearray())
        if len(bits) <= page >> 3:
            bits.extend(bytes((page >> 3) + 1 - len(bits)))
        bits[page >> 3] |= 1 << (page & 7)


def _refused(session: Session, message: str, hint: str) -> ServerRefused:
    return ServerRefused(f"{session.peer} has no list of changed pages for us: {message}", hint=hint)
