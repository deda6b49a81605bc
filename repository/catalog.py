"""Which backups there are, what each one is, and which are proven (FORMAT.md, sections 3, 8 and 9)."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from functools import partial
from typing import TypeVar

from pydantic import BaseModel

from fleet.errors import Cancelled, NotFound, ObjectExists, ToolError
from repository import layout
from repository.codec import FrameDecoder, encode_document
from repository.layout import BackupName
from repository.manifest import Manifest, Proof, parse_document
from repository.repository import Repository
from repository.seal import BackupKey, Identity, ObjectKind, damaged, seal_object, unseal_object

LATEST = "latest"

_READERS = 8
_PROOF_ATTEMPTS = 60

Document = TypeVar("Document", bound=BaseModel)


@dataclass(frozen=True)
class BackupSummary:
    """A backup in a list. Times are UTC, sizes in bytes; ``gtid_high`` bounds what it can hold."""

    shard: str
    label: str
    kind: str
    started_at: datetime
    finished_at: datetime
    proven: bool
    files: int
    files_bytes: int
    stored_bytes: int
    donor: str
    server_version: str
    gtid_high: str


@dataclass(frozen=True)
class Unreadable:
    """A manifest that is there, and what kept us from reading it."""

    shard: str
    label: str
    error: ToolError


@dataclass(frozen=True)
class Survey:
    """All manifests of a shard or of the repository, by shard and time."""

    backups: tuple[BackupSummary, ...]
    unreadable: tuple[Unreadable, ...]


class Catalog:
    """What a repository holds. Thread-safe; nothing is cached."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def shards(self) -> list[str]:
        """Shards that have a backup, sorted."""
        return sorted({backup.shard for backup in self._names(None)})

    def backups(self, shard: str | None = None) -> list[BackupSummary]:
        """The readable backups, by shard and time; see ``survey`` for the others.

        Raises the error of an unreadable manifest if no manifest at all can be read: that is not an empty
        repository, but one whose key is missing.
        """
        survey = self.survey(shard)
        if survey.unreadable and not survey.backups:
            raise survey.unreadable[-1].error
        return list(survey.backups)

    def survey(self, shard: str | None = None) -> Survey:
        """Every manifest, read or not. Raises only what keeps us from listing or asking the store."""
        proven = self._with_proofs(shard)
        with ThreadPoolExecutor(_READERS) as readers:
            found = list(readers.map(partial(self._look_at, with_proofs=proven), self._names(shard)))
        return Survey(
            tuple(each for each in found if isinstance(each, BackupSummary)),
            tuple(each for each in found if isinstance(each, Unreadable)),
        )

    def manifests(self, shard: str) -> list[Manifest]:
        """Those of the shard that can be read, oldest first. Raises only what a retry can cure."""
        with ThreadPoolExecutor(_READERS) as readers:
            found = readers.map(self._readable, self._names(shard))
            return [manifest for manifest in found if manifest]

    def manifest(self, shard: str, label: str = LATEST) -> Manifest:
        """One manifest. ``latest`` is the newest there is; an older one is never taken silently in its place.

        Raises ``NotFound``, ``KeyUnusable``, ``FormatUnsupported``, ``ObjectDamaged`` and the store's errors.
        """
        labels = [backup.label for backup in self._names(shard)]
        if not labels:
            raise NotFound(
                f"there is no backup of shard {shard}",
                hint=f"There are backups of: {', '.join(self.shards()) or 'no shard'}.",
            )
        if label == LATEST:
            label = labels[-1]
        elif label not in labels:
            near = get_close_matches(label, labels, n=1, cutoff=0) or labels[-1:]
            raise NotFound(
                f"shard {shard} has no backup {label}", hint=f"The nearest of its {len(labels)} is {near[0]}."
            )
        return self.read_manifest(BackupName(shard, label))

    def proofs(self, shard: str, label: str) -> list[Proof]:
        """What proving restores of the backup saw, oldest first. Raises as ``manifest``."""
        backup = BackupName(shard, label)
        names = [info.key for info in self._repository.store.list(layout.proofs(backup))]
        return [self.proof(backup, name) for name in names if layout.parse_proof(name)]

    def proof(self, backup: BackupName, name: str) -> Proof:
        """The proof in the object ``name``. Raises as ``manifest``."""
        key = self._repository.backup_key(backup)
        return self._read(Proof, self._identity(name, ObjectKind.PROOF), key)

    def record_proof(self, manifest: Manifest, proof: Proof) -> str:
        """Store ``proof`` under the second it finished in or the next free one; returns its object name."""
        if (proof.shard, proof.label) != manifest.backup:
            raise ValueError(f"a proof of {proof.shard}/{proof.label} says nothing of {manifest.backup}")
        self._repository.check_may("write")
        key = self._repository.backup_key(manifest.backup)
        document = encode_document(proof.model_dump_json().encode(), 1)
        for second in range(_PROOF_ATTEMPTS):
            name = layout.proof(manifest.backup, proof.finished_at + timedelta(seconds=second))
            try:
                sealed = seal_object(self._identity(name, ObjectKind.PROOF), key, document)
                self._repository.store.put(name, sealed)
            except ObjectExists:
                continue
            return name
        raise ObjectExists(f"{manifest.backup} has {_PROOF_ATTEMPTS} proofs of the same minute")

    def _names(self, shard: str | None) -> list[BackupName]:
        """By shard and time. Sorted here: the order of folders is the store's own."""
        prefix = layout.manifests(shard)
        names = (layout.parse_manifest(info.key) for info in self._repository.store.list(prefix))
        return sorted(name for name in names if name)

    def _with_proofs(self, shard: str | None) -> set[BackupName]:
        prefix = layout.PROOFS if shard is None else f"{layout.PROOFS}{shard}/"
        found = (layout.parse_proof(info.key) for info in self._repository.store.list(prefix))
        return {proof[0] for proof in found if proof}

    def _readable(self, backup: BackupName) -> Manifest | None:
        try:
            return self.read_manifest(backup)
        except ToolError as error:
            if error.retryable or isinstance(error, Cancelled):
                raise
            return None

    def _look_at(self, backup: BackupName, with_proofs: Iterable[BackupName]) -> BackupSummary | Unreadable:
        try:
            manifest = self.read_manifest(backup)
        except Cancelled:
            raise
        except ToolError as error:
            # What a retry can cure says nothing about the backup.
            if error.retryable:
                raise
            return Unreadable(backup.shard, backup.label, error)
        proven = backup in with_proofs and self._is_proven(backup)
        return summary(manifest, proven=proven)

    def _is_proven(self, backup: BackupName) -> bool:
        try:
            return any(proof.proven for proof in self.proofs(*backup))
        except Cancelled:
            raise
        except ToolError as error:
            if error.retryable:
                raise
            return False

    def read_manifest(self, backup: BackupName) -> Manifest:
        """The manifest of ``backup``, without a list. Raises ``ObjectMissing``, and as ``manifest``."""
        name = layout.manifest(backup)
        key = self._repository.backup_key(backup)
        manifest = self._read(Manifest, self._identity(name, ObjectKind.MANIFEST), key)
        if manifest.backup != backup or manifest.repository_id != self._repository.repository_id:
            raise damaged(name, f"it says that it is the manifest of {manifest.backup}")
        return manifest

    def _read(self, model: type[Document], identity: Identity, key: BackupKey) -> Document:
        data = self._repository.store.get(identity.name)
        decoder = FrameDecoder()
        text = b"".join(
            bytes(decoder.decode(plaintext, identity.name, number).data)
            for number, plaintext in enumerate(unseal_object(identity, key, data))
        )
        return parse_document(model, identity.name, text)

    def _identity(self, name: str, kind: ObjectKind) -> Identity:
        return Identity(self._repository.repository_id, name, kind)


def summary(manifest: Manifest, *, proven: bool) -> BackupSummary:
    """What a list says about one backup."""
    return BackupSummary(
        shard=manifest.shard,
        label=manifest.label,
        kind=manifest.kind,
        started_at=manifest.timings.started_at,
        finished_at=manifest.timings.finished_at,
        proven=proven,
        files=len(manifest.files),
        files_bytes=manifest.sizes.files_bytes,
        stored_bytes=manifest.sizes.stored_bytes,
        donor=manifest.donor.server_name,
        server_version=manifest.donor.version,
        gtid_high=manifest.gtid.high,
    )
