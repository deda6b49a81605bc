"""The files of a clone: announced, dropped, renamed and created while it runs; their final names and sizes.

The donor announces every file when the FILE stage starts. What DDL did in a stage it tells before the next
stage starts, in no useful order: names collide on the way, and only what they are at the start of the next
stage counts. So these messages are collected, and applied together.
Source: storage/innobase/clone/clone0apply.cc (apply_ddl, fix_all_renamed, extend_and_flush_files).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from fleet.errors import ProtocolViolation, ServerUnsupported
from wire.clone import names
from wire.clone.descriptors import FileFlag, FileMeta, State
from wire.clone.keys import wrapped_info
from wire.clone.outcome import AnnouncedFile, CloneFile, ExternalTablespaces, SpaceFile
from wire.clone.pages import (
    NO_FLAGS,
    NO_SPACE,
    SYSTEM_SPACE,
    PageSize,
    initial_bytes,
    initial_page,
    page_size,
)

REDO_FILES = 1 << 30
"""Redo file ``i`` has the index ``REDO_FILES + i`` in blocks and in the outcome; data files come before."""

MARKER_FILES = REDO_FILES + (1 << 20)

_REDO_DIRECTORY_SINCE = (8, 0, 30)


@dataclass(slots=True)
class DataFile:
    """One file as it stands now.

    ``received``: bytes of it handed over in the FILE stage, or not to be sent; ``chunks``: the first and the
    last of its chunks in that stage.
    """

    index: int
    name: str
    space_id: int
    size: int
    fsp_flags: int
    is_created: bool
    is_dropped: bool = False
    received: int = 0
    chunks: tuple[int, int] = (0, 0)

    @property
    def page_size(self) -> PageSize | None:
        return None if self.fsp_flags == NO_FLAGS else page_size(self.fsp_flags)


@dataclass(frozen=True, slots=True)
class InitialPage:
    """Page 0 of a file that was created while the clone ran; the donor does not send it."""

    index: int
    page: bytearray


class FileTable:
    """All files of one clone. Made for several reader threads.

    ``server_version`` is the donor's, ``(9, 7, 4)``.
    """

    def __init__(self, external: ExternalTablespaces, server_version: tuple[int, int, int]) -> None:
        self._external = external
        self._version = server_version
        self._lock = threading.Lock()
        self._files: dict[int, DataFile] = {}
        self._redo_sizes: dict[int, int] = {}
        self._pending: list[FileMeta] = []
        self._space_files: dict[int, SpaceFile] = {}

    def announce(self, meta: FileMeta, current: State) -> None:
        """Take a file's description while ``current`` is the stage.

        Raises ProtocolViolation for one that does not belong there, ServerUnsupported for an external file.
        """
        with self._lock:
            if not meta.name:
                self._announce_redo(meta, current)
            elif meta.state == current and meta.flags & FileFlag.DELETED:
                self._drop(meta.index)
            elif meta.state == current == State.FILE:
                self._set(meta, is_created=False)
            elif meta.state in (State.PAGE, State.REDO) and current <= meta.state <= current + 1:
                self._pending.append(meta)
            else:
                raise ProtocolViolation(f"a file of stage {meta.state.name} announced in {current.name}")

    def forget_changes(self) -> None:
        """The connection broke before the stage started: the donor will tell all of it again."""
        with self._lock:
            self._pending.clear()

    def apply_changes(self) -> list[InitialPage]:
        """Apply what DDL did, at the start of a stage; returns the first pages of created files."""
        with self._lock:
            pending, self._pending = self._pending, []
            return [page for meta in pending if (page := self._apply(meta)) is not None]

    def is_dropped(self, index: int) -> bool:
        file = self._files.get(index)
        return file is not None and file.is_dropped

    def get(self, index: int) -> DataFile:
        """Raises ProtocolViolation for a file that was never announced."""
        file = self._files.get(index)
        if file is None:
            raise ProtocolViolation(f"data of file {index}, which was not announced")
        return file

    def space_file(self, index: int) -> SpaceFile | None:
        """``None`` for what is no tablespace, or was not announced (yet)."""
        known = self._space_files.get(index)
        if known is not None:
            return known
        file = self._files.get(index)
        if file is None or file.page_size is None:
            return None
        return self._space_files.setdefault(
            index, SpaceFile(file.space_id, self._ordinal(file), file.page_size)
        )

    def announced_files(self, chunk_bytes: int) -> tuple[AnnouncedFile, ...]:
        """What the FILE stage will copy, in the donor's order.

        Raises ProtocolViolation if the donor cuts a file into other chunks than of ``chunk_bytes``.
        """
        with self._lock:
            return tuple(self._announced(file, chunk_bytes) for file in self._files.values())

    def skip(self, file: AnnouncedFile, chunks: Iterable[int]) -> int:
        """``chunks`` of ``file`` will not be sent; returns how many bytes they have."""
        places = [(chunk - file.first_chunk) * file.chunk_bytes for chunk in chunks]
        skipped = sum(min(file.chunk_bytes, file.size - place) for place in places)
        self.count_received(file.index, skipped)
        return skipped

    def count_received(self, index: int, length: int) -> None:
        """``length`` bytes of the file were handed over in the FILE stage."""
        with self._lock:
            self.get(index).received += length

    def grow(self, index: int, size: int) -> None:
        """The file has at least ``size`` bytes."""
        with self._lock:
            file = self.get(index)
            file.size = max(file.size, size)

    def grow_space(self, index: int, size: int) -> None:
        """The tablespace whose first file is ``index`` has ``size`` bytes; its last file takes what is more.

        Only the system tablespace has several files; they are announced one after the other.
        """
        with self._lock:
            file = self.get(index)
            while size > file.size:
                following = self._files.get(file.index + 1)
                if following is None or following.space_id != file.space_id or file.space_id != SYSTEM_SPACE:
                    file.size = size
                    return
                size -= file.size
                file = following

    def announced(self, stage: State) -> int:
        """How many files the donor has announced for ``stage``."""
        return len(self._redo_sizes) if stage is State.REDO else len(self._files)

    def check_received(self) -> None:
        """Every byte of every file that still is there came in the FILE stage; else ProtocolViolation."""
        with self._lock:
            for file in self._files.values():
                if file.is_created or file.is_dropped or file.received >= file.size:
                    continue
                raise ProtocolViolation(f"{file.received} of {file.size} bytes of {file.name} came")

    def redo_sizes(self) -> dict[int, int]:
        return dict(self._redo_sizes)

    def final_files(self) -> tuple[CloneFile, ...]:
        """The data directory to be, sorted by index.

        Raises ProtocolViolation when two files have one name, ServerUnsupported if that is due to mapping.
        """
        with self._lock:
            files = [
                CloneFile(
                    index=file.index,
                    name=file.name,
                    space_id=None if file.space_id == NO_SPACE else file.space_id,
                    size=_whole_extents(file),
                    page_size=file.page_size.physical if file.page_size else None,
                )
                for file in sorted(self._files.values(), key=lambda file: file.index)
                if not file.is_dropped
            ]
            redo = [
                CloneFile(REDO_FILES + number, self._redo_name(number), None, size, None)
                for number, size in sorted(self._redo_sizes.items())
            ]
        # The first makes the server create what clone does not bring (empty schemas, tables of other
        # engines), the second makes it write down where its recovery ended.
        markers = [
            CloneFile(MARKER_FILES, "#clone/#status_fix", None, 0, None),
            CloneFile(MARKER_FILES + 1, "#clone/#replace_files", None, 0, None),
        ]
        self._refuse_twins(files)
        return (*files, *redo, *markers)

    def _announced(self, file: DataFile, chunk_bytes: int) -> AnnouncedFile:
        first, last = file.chunks
        if last - first + 1 != -(-file.size // chunk_bytes):
            raise ProtocolViolation(f"{file.size} bytes of {file.name} come in the chunks {first} to {last}")
        return AnnouncedFile(
            index=file.index,
            name=file.name,
            space_id=None if file.space_id == NO_SPACE else file.space_id,
            ordinal=self._ordinal(file),
            size=file.size,
            page_size=file.page_size.physical if file.page_size else None,
            first_chunk=first,
            last_chunk=last,
            chunk_bytes=chunk_bytes,
        )

    def _ordinal(self, file: DataFile) -> int:
        """Only the system tablespace has several files; they are announced one after the other."""
        ordinal = 0
        while file.space_id == SYSTEM_SPACE:
            previous = self._files.get(file.index - ordinal - 1)
            if previous is None or previous.space_id != SYSTEM_SPACE:
                break
            ordinal += 1
        return ordinal

    def _announce_redo(self, meta: FileMeta, current: State) -> None:
        if meta.state != State.REDO or current != State.REDO:
            raise ProtocolViolation(f"a file without a name announced in {current.name}")
        if not 0 <= meta.index < MARKER_FILES - REDO_FILES:
            raise ProtocolViolation(f"redo file {meta.index} announced")
        self._redo_sizes[meta.index] = meta.size

    def _set(self, meta: FileMeta, *, is_created: bool) -> DataFile:
        if meta.index >= REDO_FILES:
            raise ProtocolViolation(f"data file {meta.index} announced")
        known = self._files.get(meta.index)
        file = DataFile(
            meta.index,
            self._name(meta),
            meta.space_id,
            meta.size,
            meta.fsp_flags,
            is_created=is_created,
            chunks=(meta.first_chunk, meta.last_chunk),
        )
        if known is not None:
            file.received, file.size = known.received, max(known.size, meta.size)
        self._files[meta.index] = file
        return file

    def _apply(self, meta: FileMeta) -> InitialPage | None:
        known = self._files.get(meta.index)
        if meta.flags & FileFlag.DELETED:
            if known is None:
                self._files[meta.index] = DataFile(
                    meta.index, "", meta.space_id, 0, meta.fsp_flags, is_created=True, is_dropped=True
                )
            else:
                known.is_dropped = True
            return None
        if known is None:
            return self._create(meta)
        if known.is_dropped:
            raise ProtocolViolation(f"file {meta.index} was dropped and is there again")
        if meta.flags & FileFlag.RENAMED:
            known.name = self._name(meta)
        known.fsp_flags = meta.fsp_flags
        return None

    def _create(self, meta: FileMeta) -> InitialPage | None:
        file = self._set(meta, is_created=True)
        size = file.page_size
        if size is None:
            raise ProtocolViolation(f"{file.name} was created while the clone ran, and is no tablespace")
        file.size = max(file.size, initial_bytes(file.space_id, size))
        major, minor, patch = self._version
        key_info = wrapped_info(meta.key, meta.iv) if meta.key is not None and meta.iv is not None else None
        number = major * 10000 + minor * 100 + patch
        return InitialPage(file.index, initial_page(file.space_id, file.fsp_flags, number, key_info))

    def _drop(self, index: int) -> None:
        self.get(index).is_dropped = True

    def _name(self, meta: FileMeta) -> str:
        if not names.is_external(meta.name):
            return names.safe_name(meta.name, meta.space_id)
        if self._external == "refuse":
            raise ServerUnsupported(
                f"the donor keeps {meta.name.decode(errors='replace')} outside of its data directory",
                hint='With backup.external_tablespaces = "into-datadir" it is restored into that.',
            )
        return names.mapped_name(meta.name, meta.space_id, meta.fsp_flags)

    def _redo_name(self, number: int) -> str:
        if self._version >= _REDO_DIRECTORY_SINCE:
            return f"#innodb_redo/#ib_redo{number}"
        return f"ib_logfile{number}"

    def _refuse_twins(self, files: Iterable[CloneFile]) -> None:
        seen: dict[str, int] = {}
        for file in files:
            first = seen.setdefault(file.name, file.index)
            if first == file.index:
                continue
            message = f"the donor's files {first} and {file.index} both become {file.name}"
            if self._external == "refuse":
                raise ProtocolViolation(message)
            raise ServerUnsupported(message, hint="Rename one of the tablespaces that lie outside.")


def directories(files: Iterable[CloneFile]) -> tuple[str, ...]:
    """Every directory that ``files`` need, and ``mysql``, which a server insists on; parents first."""
    found = {"mysql"}
    for file in files:
        parts = file.name.split("/")[:-1]
        found.update("/".join(parts[: end + 1]) for end in range(len(parts)))
    return tuple(sorted(found))


def _whole_extents(file: DataFile) -> int:
    """Files of more than one extent end at a whole one; recovery has trouble with others."""
    if file.page_size is None:
        return file.size
    extent = file.page_size.extent_bytes
    return file.size if file.size <= extent else -(-file.size // extent) * extent
