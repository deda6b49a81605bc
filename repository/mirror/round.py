"""A look at all backups of both places, and the copying of what the mirror lacks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from fleet.clock import Clock
from fleet.errors import KeyUnusable, MirrorParted, ObjectDamaged, ObjectMissing, ToolError
from fleet.policy import Retention
from repository import layout
from repository.holds import Hold, Holds
from repository.layout import BackupName
from repository.mirror.backups import BackupCopier, GoneMeanwhile
from repository.mirror.places import Places, carry_keyring
from repository.mirror.plan import to_copy, wanted
from repository.mirror.porter import Porter
from repository.outlines import Outline, read_outlines
from repository.repository import Repository
from repository.seal import ObjectKind

_READERS = 8

Refuse = Callable[[str, str, ToolError], None]
"""Told the shard, the name of what was not copied, and why; from several threads."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Both places as they were at one moment.

    ``known``: every backup that either has and that can be read. ``here``, ``there``: whose manifests the
    repository and the mirror list. ``copy``: what is to be copied, in order. ``wanted``: what the mirror is
    to hold, in order. ``holds``: those of the repository that are in force.
    """

    known: Mapping[BackupName, Outline]
    here: frozenset[BackupName]
    there: frozenset[BackupName]
    unreadable: Mapping[BackupName, ToolError]
    copy: tuple[BackupName, ...]
    wanted: tuple[BackupName, ...]
    holds: tuple[Hold, ...]

    def held(self, shard: str) -> list[Outline]:
        """The backups of a shard that the mirror is to hold."""
        return [self.known[name] for name in self.wanted if name.shard == shard]


class Looker:
    """Looks at both places; of each backup the manifest is read once. For one thread."""

    def __init__(self, places: Places, policy: Retention) -> None:
        self._places = places
        self._policy = policy
        self._known: dict[BackupName, Outline] = {}

    def look(self, now: datetime) -> Seen:
        """List the manifests of both places, and read the new ones. Raises what the stores raise."""
        source, mirror = self._places
        # In this order, what is taken and copied meanwhile is not taken for one that only the mirror has.
        there, here = backups_in(mirror), backups_in(source)
        unreadable: dict[BackupName, ToolError] = {}
        for repository, names in ((source, here), (mirror, there - here)):
            found = read_outlines(repository, names - self._known.keys())
            self._known |= found.backups
            unreadable |= found.unreadable
        # Asked again at every look: somebody may put right what is damaged in the repository.
        spared = read_outlines(mirror, here & there & unreadable.keys()).backups
        unreadable |= {name: self._beside_a_copy(name, unreadable[name]) for name in spared}
        # Of what was named and is listed nowhere, some was found by its name: a list may be behind.
        known = {name: each for name, each in {**self._known, **spared}.items() if name in here | there}
        going = {
            parsed[0]
            for info in mirror.store.list(layout.EXPIRED)
            if (parsed := layout.parse_expired(info.key)) and parsed[1] == "pruning"
        }
        holds = Holds(source).in_force(now)
        held = {each.backup for each in holds}
        copy = to_copy(known, here=here, there=there, going=going, policy=self._policy, now=now, held=held)
        ordered = wanted(known, self._policy, now, held)
        return Seen(known, here, there, unreadable, copy, ordered, holds)

    def _beside_a_copy(self, name: BackupName, error: ToolError) -> ToolError:
        """What is wrong with a manifest of the repository, where the mirror's opens."""
        source, mirror = (place.store.describe() for place in self._places)
        return type(error)(
            f"{layout.manifest(name)} in {source} cannot be read: {error.message}; the one in {mirror} opens",
            hint="The backup can be restored: backstay restore --from mirror",
        )


class BackupRound:
    """Brings the mirror's backups up to date. For one thread.

    What cannot be copied is told to ``refuse``, and the rest goes on; a shard that has parted is left alone.
    """

    def __init__(
        self,
        places: Places,
        policy: Retention,
        porter: Porter,
        *,
        threads: int,
        clock: Clock,
        refuse: Refuse,
        has_parted: Callable[[str], bool],
    ) -> None:
        self.copied: list[BackupName] = []
        self.seen: Seen | None = None
        self._places = places
        self._porter = porter
        self._clock = clock
        self._refuse = refuse
        self._has_parted = has_parted
        self._looker = Looker(places, policy)
        self._copier = BackupCopier(*places, porter, threads=threads, clock=clock)
        self._compared: set[BackupName] = set()

    def run(self, *, recheck: bool = False) -> None:
        """One round. With ``recheck`` also what backups lack that are in the mirror already.

        Raises ``Cancelled`` and what the stores raise.
        """
        source, mirror = self._places
        carry_keyring(source, mirror.store, self._porter)
        seen = self.look()
        for name, error in seen.unreadable.items():
            self._refuse(name.shard, layout.manifest(name), error)
        self._compare(seen)
        done = set(seen.there)
        if recheck:
            for name in seen.wanted:
                if name in seen.there and name in seen.here and name not in seen.unreadable:
                    self._try(name, self._copier.recheck)
        for name in seen.copy:
            if self._try(name, self._copier.copy):
                done.add(name)
                self._compared.add(name)
                self.copied.append(name)
        done = {name for name in done if not self._has_parted(name.shard)}
        self._carry_what_came_later(done)
        self._carry_holds(seen.holds, done)

    def look(self) -> Seen:
        """How both places are now; what a round begins with. Raises what the stores raise."""
        self.seen = self._looker.look(self._clock.now())
        return self.seen

    def _compare(self, seen: Seen) -> None:
        """Is each manifest that both have the same one?"""
        source = self._places.source.store

        def compare(name: BackupName) -> tuple[BackupName, ToolError | None]:
            manifest = layout.manifest(name)
            try:
                check = self._copier.check_of(name, manifest, ObjectKind.MANIFEST)
                self._porter.is_there(manifest, source.stat(manifest).size, check)
            except (MirrorParted, ObjectDamaged) as error:
                return name, error
            except ObjectMissing:
                pass
            return name, None

        new = sorted((seen.here & seen.there) - self._compared - seen.unreadable.keys())
        with ThreadPoolExecutor(_READERS, thread_name_prefix="mirror-compare") as readers:
            for name, error in readers.map(compare, new):
                if error is None:
                    self._compared.add(name)
                    continue
                self._refuse(name.shard, layout.manifest(name), error)

    def _try(self, name: BackupName, copy: Callable[[BackupName], None]) -> bool:
        """Copy one backup, or tell why not. Was it copied?"""
        if self._has_parted(name.shard):
            return False
        try:
            copy(name)
        except GoneMeanwhile:
            return False
        except (MirrorParted, ObjectDamaged, ObjectMissing, KeyUnusable) as error:
            self._refuse(name.shard, layout.manifest(name), error)
            return False
        return True

    def _carry_what_came_later(self, done: Collection[BackupName]) -> None:
        """Wrapped keys of a rotation and proofs, of backups that were copied before."""
        for name in self._absent(layout.KEYS):
            parsed = layout.parse_wrapped_key(name)
            if parsed and parsed[0] in done:
                self._carry(parsed[0], name, lambda backup, _: self._copier.carry_keys(backup))
        for name in self._absent(layout.PROOFS):
            found = layout.parse_proof(name)
            if found and found[0] in done:
                self._carry(found[0], name, self._copier.carry_proof)

    def _carry_holds(self, holds: Collection[Hold], done: Collection[BackupName]) -> None:
        """What is held in the repository is held in the mirror, until the same date."""
        there = {info.key for info in self._places.mirror.store.list(layout.HOLDS)} if holds else set[str]()
        for each in holds:
            name = layout.hold(each.backup, each.token)
            if name not in there and each.backup in done:
                self._carry(each.backup, name, self._copier.carry_hold)

    def _carry(self, backup: BackupName, name: str, carry: Callable[[BackupName, str], object]) -> None:
        try:
            carry(backup, name)
        except (GoneMeanwhile, ObjectMissing):
            return
        except (MirrorParted, ObjectDamaged) as error:
            self._refuse(backup.shard, name, error)

    def _absent(self, prefix: str) -> Iterator[str]:
        there = {info.key for info in self._places.mirror.store.list(prefix)}
        here = dict.fromkeys(info.key for info in self._places.source.store.list(prefix))
        return (name for name in here if name not in there)


def backups_in(repository: Repository) -> frozenset[BackupName]:
    """Those whose manifests are listed, whether they can be read or not."""
    listed: Iterable[BackupName | None] = (
        layout.parse_manifest(info.key) for info in repository.store.list(layout.MANIFESTS)
    )
    return frozenset(name for name in listed if name)
