"""One backup into the mirror: wrapped keys, packs, index parts; and the manifest last, which ends it."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from enum import Enum, auto
from functools import partial

from fleet.clock import Clock
from fleet.errors import ObjectDamaged, ObjectMissing
from repository import layout
from repository.catalog import Catalog
from repository.crew import Crew
from repository.held_lease import LeaseTerms
from repository.index import PackRef
from repository.keys import WrappedKey
from repository.layout import BackupName
from repository.leases import held
from repository.locks import prolong_foundations
from repository.manifest import IndexPartRef, Manifest, parse_document
from repository.marks import Marks
from repository.mirror.porter import Check, Porter, exactly
from repository.reader import BackupReader
from repository.reduced import find_remainder
from repository.repository import Repository, is_there
from repository.seal import BackupKey, Identity, ObjectKind, unseal_object

_NAMED = 3


class GoneMeanwhile(Exception):  # noqa: N818 - it is no error
    """The repository no longer has it: pruned or composed since it was listed. Plan again."""


class BackupCopier:
    """Copies backups, one at a time, the packs of each by ``threads``. For one thread."""

    def __init__(
        self, source: Repository, mirror: Repository, porter: Porter, *, threads: int, clock: Clock
    ) -> None:
        self._source = source
        self._mirror = mirror
        self._porter = porter
        self._threads = threads
        self._clock = clock
        self._reduced = False

    def copy(self, backup: BackupName) -> None:
        """Bring the whole backup over; what an earlier run brought is not read again.

        Leases in both places keep it from being pruned meanwhile: here as what is read, there as what an
        attempt seems to have left. Raises ``GoneMeanwhile``, ``MirrorParted``; ``ObjectDamaged`` naming what
        is damaged, after all else was copied; ``ObjectMissing`` if what it needs is not in the mirror; and
        what the stores raise.
        """
        terms = LeaseTerms(backup.shard, "mirror", (backup.label,))
        with ExitStack() as stack:
            leases = [
                stack.enter_context(held(repository, terms, self._clock))
                for repository in (self._source, self._mirror)
            ]
            self._reduced = False
            manifest = self._manifest(backup)
            self._needs_must_stay(manifest)
            is_begun = self.carry_keys(backup)
            self._carry_data(manifest, _Look.ASK if is_begun else _Look.PUT)
            self._settle(manifest)
            prolong_foundations(self._mirror, manifest, self._clock.now())
            for lease in leases:
                lease.check()
            self._needs_must_stay(manifest)
            if self._reduced:
                # It cannot be restored itself, and must not seem so for a moment.
                self._carry_sealed(backup, layout.expired_mark(backup), ObjectKind.MARK)
                Marks(self._mirror).begin_reducing(backup)
                Marks(self._mirror).set_reduced(backup)
            self._carry_sealed(backup, layout.manifest(backup), ObjectKind.MANIFEST)

    def recheck(self, backup: BackupName) -> None:
        """Of a backup whose manifest is in the mirror, copy what lacks or is damaged there: all of it is read
        and compared. Raises as ``copy``.
        """
        manifest = self._manifest(backup)
        # That it is the same manifest in both places says what every pack and index part has to be.
        self._carry_sealed(backup, layout.manifest(backup), ObjectKind.MANIFEST)
        self.carry_keys(backup)
        self._carry_data(manifest, _Look.READ)

    def carry_keys(self, backup: BackupName) -> bool:
        """Copy the wrapped keys that the mirror lacks. True if it had one of them before."""
        had_one = False
        for name in [info.key for info in self._source.store.list(layout.wrapped_keys(backup))]:
            if layout.parse_key_id(name):
                try:
                    had_one |= not self._porter.carry(name, is_wrapped_key(name))
                except ObjectMissing:
                    # Retired in this moment: another one stands for it.
                    continue
        return had_one

    def carry_proof(self, backup: BackupName, name: str) -> None:
        """Copy what a restore of the backup saw. Raises as ``copy``."""
        self._carry_sealed(backup, name, ObjectKind.PROOF)

    def carry_hold(self, backup: BackupName, name: str) -> None:
        """Copy what keeps the backup until a date. Raises as ``copy``."""
        self._carry_sealed(backup, name, ObjectKind.HOLD)

    def check_of(self, backup: BackupName, name: str, kind: ObjectKind) -> Check:
        """Raises ``ObjectDamaged`` unless it is that sealed object of the backup, whole."""
        identity = Identity(self._source.repository_id, name, kind)
        return lambda data: unsealed(identity, self._source.backup_key(backup), data)

    def _manifest(self, backup: BackupName) -> Manifest:
        try:
            return Catalog(self._source).read_manifest(backup)
        except ObjectMissing:
            self._must_be_there(backup)
            raise

    def _needs_must_stay(self, manifest: Manifest) -> None:
        """All that it needs is in the mirror, and the mirror's prune is not about to delete it (14.7)."""
        for need in manifest.foundations():
            self._mirror.store.stat(layout.manifest(need))
            if is_there(self._mirror.store, layout.pruning_mark(need)):
                raise GoneMeanwhile(str(need))

    def _must_be_there(self, backup: BackupName) -> None:
        if not is_there(self._source.store, layout.manifest(backup)):
            raise GoneMeanwhile(str(backup))

    def _carry_sealed(self, backup: BackupName, name: str, kind: ObjectKind) -> None:
        try:
            self._porter.carry(name, self.check_of(backup, name, kind))
        except ObjectMissing:
            raise GoneMeanwhile(name) from None

    def _settle(self, manifest: Manifest) -> None:
        """Make sure that all data is in the mirror: by one list, and object by object if that lacks some."""
        size, last = 0, ""
        for info in self._mirror.store.list(layout.packs_and_parts(manifest.backup)):
            # A list may repeat an object.
            size += info.size if info.key != last else 0
            last = info.key
        if size != manifest.sizes.stored_bytes:
            self._carry_data(manifest, _Look.ASK)

    def _carry_data(self, manifest: Manifest, look: _Look) -> None:
        """Each index part behind the packs that it names. All damage is met before any is raised."""
        reader = BackupReader(self._source, manifest)
        found = _Damage()
        try:
            with Crew(self._threads, name="mirror", backlog=self._threads) as crew:
                for reference in manifest.index:
                    self._carry_part(reader, reference, crew, found, look)
        except ObjectMissing as error:
            self._must_be_there(manifest.backup)
            found.note(error)
        found.raise_for(manifest.backup)

    def _carry_part(
        self,
        reader: BackupReader,
        reference: IndexPartRef,
        crew: Crew,
        found: _Damage,
        look: _Look,
    ) -> None:
        backup = reader.manifest.backup
        try:
            part = reader.index_part(reference)
        except ObjectDamaged as error:
            found.note(error)
            return
        before = found.count
        for pack in part.packs:
            if pack.backup == backup:
                crew.submit(partial(self._carry_pack, pack, found, look))
        crew.drain()
        if found.count == before:
            name = layout.index_part(backup, reference.number)
            self._carry_once(name, reference.size, reference.sha256, look)

    def _carry_pack(self, pack: PackRef, found: _Damage, look: _Look) -> None:
        try:
            if look is not _Look.PUT and find_remainder(self._mirror.store, pack.backup, pack.number):
                return
            self._carry_once(pack.name, pack.size, pack.sha256, look)
        except ObjectMissing as error:
            self._must_be_there(pack.backup)
            remainder = find_remainder(self._source.store, pack.backup, pack.number)
            if remainder is None:
                found.note(error)
            elif not is_there(self._mirror.store, pack.name):
                self._carry_sealed(pack.backup, remainder, ObjectKind.REMAINDER)
                self._reduced = True
        except ObjectDamaged as error:
            found.note(error)

    def _carry_once(self, name: str, size: int, sha256: str, look: _Look) -> None:
        check = exactly(name, size, sha256)
        if look is _Look.READ:
            self._porter.mend(name, sha256, check)
        elif look is _Look.PUT or not self._porter.is_there(name, size, check):
            self._porter.carry(name, check)


class _Look(Enum):
    """How it is found out what the mirror has: by putting, by asking for sizes, or by reading all of it."""

    PUT = auto()
    ASK = auto()
    READ = auto()


class _Damage:
    """What cannot be copied of a backup, from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: list[ObjectDamaged | ObjectMissing] = []

    @property
    def count(self) -> int:
        return len(self._found)

    def note(self, error: ObjectDamaged | ObjectMissing) -> None:
        with self._lock:
            self._found.append(error)

    def raise_for(self, backup: BackupName) -> None:
        if not self._found:
            return
        told = "; ".join(error.message for error in self._found[:_NAMED])
        more = f"; and {self.count - _NAMED} more" if self.count > _NAMED else ""
        raise ObjectDamaged(f"backup {backup} cannot be mirrored: {told}{more}", hint=self._found[0].hint)


def unsealed(identity: Identity, key: BackupKey, data: bytes) -> None:
    """Raise ``ObjectDamaged`` unless every frame unseals, up to the last."""
    for _ in unseal_object(identity, key, data):
        pass


def is_wrapped_key(name: str) -> Check:
    """Raises unless it is the envelope of a wrapped key; only who unwraps it can tell more."""

    def check(data: bytes) -> None:
        parse_document(WrappedKey, name, data)

    return check
