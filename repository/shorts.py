"""Manifests in short: all of each but its file table, which is most of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import TypedDict

from fleet.errors import Cancelled, ObjectMissing, ToolError
from repository import layout
from repository.askers import Askers
from repository.codec import FrameDecoder
from repository.layout import BackupName
from repository.manifest import (
    Base,
    Donor,
    GtidBracket,
    Lsn,
    Reference,
    Sizes,
    Timings,
    check_readable,
    parse_document,
)
from repository.repository import Repository, is_there
from repository.seal import BackupKey, Identity, ObjectKind, damaged, parse_header, unseal_object


class _Fields(BaseModel):
    model_config = ConfigDict(frozen=True)

    repository_id: str
    shard: str
    label: str
    kind: str
    donor: Donor
    lsn: Lsn
    gtid: GtidBracket
    timings: Timings
    sizes: Sizes
    refers_to: tuple[Reference, ...] = ()
    base: Base | None = None
    built_on: str | None = None
    consolidates: str | None = None

    @property
    def backup(self) -> BackupName:
        return BackupName(self.shard, self.label)


class ShortManifest(_Fields):
    """The fields of a manifest but for ``directories``, ``index``, and ``files``, which are only counted."""

    files: int


class _Entry(TypedDict):
    """Nothing of a file: a table of thousands is most of a manifest, and its objects take longest to make."""


class _Read(_Fields):
    format: Any = None
    needs: Any = None
    files: list[_Entry]


class _Sealed(NamedTuple):
    key: BackupKey
    content: bytes


Looked: TypeAlias = ShortManifest | ToolError | None
"""A manifest, what keeps it from being read, or None: there is none."""


class Shorts:
    """Reads manifests, and knows by its bytes what it read: the same bytes are not understood twice.

    Whoever looks again has every manifest and its key fetched again, from wherever it looks, and the key
    opens it again. Only what the very same bytes say is not worked out once more. Belongs to one thread.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[BackupName, bytes], ShortManifest] = {}

    def read(self, repository: Repository, names: Iterable[BackupName]) -> Iterator[Looked]:
        """Each of ``names``, asked for by its name. Raises what keeps us from asking, and ``Cancelled``."""
        wanted = list(names)
        with Askers("manifests") as askers:
            fetched = askers.answers(partial(_fetch, repository), wanted)
            for backup, sealed in zip(wanted, fetched, strict=True):
                yield self._understood(repository, backup, sealed) if isinstance(sealed, _Sealed) else sealed

    def _understood(self, repository: Repository, backup: BackupName, sealed: _Sealed) -> Looked:
        identity = Identity(repository.repository_id, layout.manifest(backup), ObjectKind.MANIFEST)
        which = backup, hashlib.sha256(sealed.content).digest()
        try:
            if which in self._known:
                sealed.key.unwrap(parse_header(sealed.content, identity), identity)
            else:
                self._known[which] = _opened(identity, backup, sealed)
        except ToolError as error:
            return error
        return self._known[which]


def _fetch(repository: Repository, backup: BackupName) -> _Sealed | ToolError | None:
    try:
        # A label without a manifest is no backup, whatever is wrong with its key.
        content = repository.store.get(layout.manifest(backup))
        return _Sealed(repository.backup_key(backup), content)
    except ObjectMissing as error:
        # The wrapped key may be what is missing: then the manifest is there, and cannot be read.
        return error if is_there(repository.store, layout.manifest(backup)) else None
    except Cancelled:
        raise
    except ToolError as error:
        if error.retryable:
            raise
        return error


def _opened(identity: Identity, backup: BackupName, sealed: _Sealed) -> ShortManifest:
    decoder = FrameDecoder()
    text = b"".join(
        bytes(decoder.decode(plaintext, identity.name, number).data)
        for number, plaintext in enumerate(unseal_object(identity, sealed.key, sealed.content))
    )
    read = _parse(identity.name, text)
    if read.backup != backup or read.repository_id != identity.repository_id:
        raise damaged(identity.name, f"it says that it is the manifest of {read.backup}")
    return read


def _parse(name: str, text: bytes) -> ShortManifest:
    try:
        read = _Read.model_validate_json(text)
        check_readable(name, {"format": read.format, "needs": read.needs})
    except ValidationError:
        # It says what is wrong, and whether a newer version wrote it.
        read = parse_document(_Read, name, text)
    fields: dict[str, Any] = {each: getattr(read, each) for each in ShortManifest.model_fields}
    return ShortManifest.model_construct(None, **{**fields, "files": len(read.files)})
