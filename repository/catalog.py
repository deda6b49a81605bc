"""Which backups there are, what each one is, and which are proven (FORMAT.md, sections 3, 8 and 9)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from difflib import get_close_matches
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

from pydantic import BaseModel

from fleet.errors import Cancelled, NotFound, ObjectExists, ToolError
from repository import layout
from repository.codec import FrameDecoder, encode_document
from repository.layout import BackupName
from repository.manifest import Base, Manifest, Proof, SharedEntries, parse_document
from repository.marks import Mark, Marks
from repository.repository import Repository
from repository.seal import BackupKey, Identity, ObjectKind, damaged, seal_object, unseal_object

LATEST = "latest"

_READERS = 8
_PROOF_ATTEMPTS = 60

Document = TypeVar("Document", bound=BaseModel)


@dataclass(frozen=True)
class BackupSummary:
    """A backup in a list. Times are UTC, sizes in bytes; ``gtid_high`` bounds what it can hold.

    ``base`` is the label that an incremental continues, ``built_on`` the one whose pages a full refers to,
    ``consolidates`` the one of whose chain a full was made; it ``refers`` if its index names packs of other
    backups. ``broken`` says which backup it needs and cannot have, or is None if its chain goes down to a
    full. ``expired_at``: since when a mark says that retention has ended it, by the store's clock;
    ``expired_because`` is the mark's reason. ``reduced``: only what others refer to is left of it;
    ``stored_bytes`` is what there was, ``left_bytes`` what there is, if that was asked for. ``damaged``: what
    verify or a restore found damaged that it needs; only who asks for findings tells.
    """

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
    gtid_low: str = ""
    base: str | None = None
    built_on: str | None = None
    consolidates: str | None = None
    refers: bool = False
    broken: str | None = None
    expired_at: datetime | None = None
    expired_because: str | None = None
    reduced: bool = False
    damaged: str | None = None
    left_bytes: int | None = None

    @property
    def name(self) -> BackupName:
        return BackupName(self.shard, self.label)

    def with_mark(self, mark: Mark | None, *, reduced: bool) -> BackupSummary:
        """The same, as retention has left it. Without a mark nothing lacks parts, whoever says so."""
        if mark is None:
            return self
        return replace(self, expired_at=mark.marked_at, expired_because=mark.reason, reduced=reduced)


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
        marks = Marks(self._repository).all(shard)
        reduced = Marks(self._repository).reduced(shard) if marks else {}
        names = self._names(shard)
        with ThreadPoolExecutor(_READERS) as readers:
            looked_at = readers.map(partial(self._look_at, with_proofs=proven), names)
            found = dict(zip(names, looked_at, strict=True))
        self._look_at_the_rest(found, with_proofs=proven)
        seen = {backup: each for backup, each in found.items() if isinstance(each, _Seen)}
        reasons = {
            backup: each.error.message for backup, each in found.items() if isinstance(each, Unreadable)
        }
        return Survey(
            tuple(
                replace(seen[name].summary, broken=why_broken(name, seen, reasons)).with_mark(
                    marks.get(name), reduced=name in reduced
                )
                for name in names
                if name in seen
            ),
            tuple(each for name in names if isinstance(each := found[name], Unreadable)),
        )

    def broken(self, backup: BackupName) -> str | None:
        """What keeps it from being restored, as ``survey`` says it. Of the others, what it builds on is read
        alone. Raises what keeps us from asking the store, and the backup's own error if it cannot be read.
        """
        seen: dict[BackupName, _Seen] = {}
        reasons: dict[BackupName, str] = {}
        there: dict[str, list[BackupName]] = {}
        waiting = [backup]
        while waiting:
            name = waiting.pop()
            if name.shard not in there:
                there[name.shard] = self._names(name.shard)
            if name in seen or name in reasons or name not in there[name.shard]:
                continue
            found = self._look_at(name, ())
            if isinstance(found, _Seen):
                seen[name] = found
                waiting += found.needs
            elif name == backup:
                raise found.error
            else:
                reasons[name] = found.error.message
        return why_broken(backup, seen, reasons)

    def manifests(self, shard: str) -> list[Manifest]:
        """Those of the shard that can be read, oldest first. Raises only what a retry can cure."""
        with ThreadPoolExecutor(_READERS) as readers:
            found = readers.map(self._readable, self._names(shard))
            shared = SharedEntries()
            return [shared.share(manifest) for manifest in found if manifest]

    def manifest(self, shard: str, label: str = LATEST) -> Manifest:
        """One manifest. Raises as ``name``, ``KeyUnusable``, ``FormatUnsupported``, ``ObjectDamaged`` and the
        store's errors.
        """
        return self.read_manifest(self.name(shard, label))

    def name(self, shard: str, label: str = LATEST) -> BackupName:
        """A backup that is there, whether it can be read or not. ``latest`` is the newest that retention has
        not ended; an older one is never taken silently in its place. Raises ``NotFound``.
        """
        labels = [backup.label for backup in self._names(shard)]
        if not labels:
            there = ", ".join(self.shards())
            raise NotFound(
                f"there is no backup of shard {shard}",
                hint=f"There are backups of: {there}." if there else "There is no backup of any shard yet.",
            )
        if label == LATEST:
            label = self._newest(shard, labels)
        elif label not in labels:
            near = get_close_matches(label, labels, n=1, cutoff=0) or labels[-1:]
            raise NotFound(
                f"shard {shard} has no backup {label}", hint=f"The nearest of its {len(labels)} is {near[0]}."
            )
        return BackupName(shard, label)

    def _newest(self, shard: str, labels: list[str]) -> str:
        has_ended = Marks(self._repository).teller(shard)
        for label in reversed(labels):
            if not has_ended(BackupName(shard, label)):
                return label
        raise NotFound(
            f"retention has ended every backup of shard {shard}: none of its {len(labels)} is the latest",
            hint=f"`backstay expire {shard} --take-back {labels[-1]}` takes the newest back; "
            "named by its label it can be restored as it is.",
        )

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
        return self.put_proof(proof)

    def put_proof(self, proof: Proof) -> str:
        """The same, also where the manifest cannot be read: that is what the proof may say."""
        self._repository.check_may("write")
        backup = BackupName(proof.shard, proof.label)
        key = self._repository.backup_key(backup)
        document = encode_document(proof.model_dump_json().encode(), 1)
        for second in range(_PROOF_ATTEMPTS):
            name = layout.proof(backup, proof.finished_at + timedelta(seconds=second))
            try:
                sealed = seal_object(self._identity(name, ObjectKind.PROOF), key, document)
                self._repository.store.put(name, sealed)
            except ObjectExists:
                continue
            return name
        raise ObjectExists(f"{backup} has {_PROOF_ATTEMPTS} proofs of the same minute")

    def _names(self, shard: str | None) -> list[BackupName]:
        """By shard and time, each once. Sorted here: the order of folders is the store's own."""
        prefix = layout.manifests(shard)
        names = (layout.parse_manifest(info.key) for info in self._repository.store.list(prefix))
        return sorted({name for name in names if name})

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

    def _look_at_the_rest(
        self, found: dict[BackupName, _Seen | Unreadable], with_proofs: set[BackupName]
    ) -> None:
        """Look at the backups of other shards too, as far as the ones that were found refer to them."""
        seen = [each for each in found.values() if isinstance(each, _Seen)]
        shards = {other.shard for each in seen for other in each.needs} - {name.shard for name in found}
        there = {name for shard in shards for name in self._names(shard)}
        for other in {other for each in seen for other in each.needs}:
            if other not in found and other in there:
                found[other] = self._look_at(other, with_proofs)

    def _look_at(self, backup: BackupName, with_proofs: Iterable[BackupName]) -> _Seen | Unreadable:
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
        # Not the manifest itself: a thousand file tables are too much to keep.
        return _Seen(
            summary(manifest, proven=proven), manifest.lsn.checkpoint, manifest.base, manifest.foundations()
        )

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


class _Seen(NamedTuple):
    """What a survey keeps of a manifest; ``needs`` are its own foundations, not those of its base."""

    summary: BackupSummary
    checkpoint_lsn: int
    base: Base | None
    needs: list[BackupName]


class Link(Protocol):
    """What tells whether a chain is whole; ``needs`` are a backup's own foundations, its base among them."""

    @property
    def checkpoint_lsn(self) -> int: ...

    @property
    def base(self) -> Base | None: ...

    @property
    def needs(self) -> Sequence[BackupName]: ...


def why_broken(
    backup: BackupName, seen: Mapping[BackupName, Link], unreadable: Mapping[BackupName, str]
) -> str | None:
    """What keeps the backup from being restored, link by link, or None. Pure."""
    met: set[BackupName] = set()
    while True:
        link = seen[backup]
        for other in link.needs:
            if other in unreadable:
                return f"{other}, which {backup} needs, cannot be read: {unreadable[other]}"
            if other not in seen:
                return f"{other}, which {backup} needs, is not there"
        if link.base is None:
            return None
        met.add(backup)
        below = BackupName(backup.shard, link.base.label)
        if below in met:
            return f"the chain has no end: {backup} continues {below}"
        if seen[below].checkpoint_lsn != link.base.checkpoint_lsn:
            return (
                f"{backup} continues {below} from checkpoint LSN {link.base.checkpoint_lsn}, "
                f"but that one has {seen[below].checkpoint_lsn}"
            )
        backup = below


def summary(manifest: Manifest, *, proven: bool) -> BackupSummary:
    """What a list says about one backup, looked at alone: nothing of what it builds on."""
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
        gtid_low=manifest.gtid.low,
        base=manifest.base.label if manifest.base else None,
        built_on=manifest.built_on,
        consolidates=manifest.consolidates,
        refers=bool(manifest.refers_to),
    )
