"""A verification of many backups and archives in one run: each object once, and what its damage breaks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from fleet.errors import Cancelled, NotFound, ObjectDamaged, ObjectMissing, ToolError
from repository import layout
from repository.archive.archive import ShardArchive
from repository.archive.loss import WindowLoss, look_at_window
from repository.archive.verify import ArchiveReport, verify_archive
from repository.archive.window import Base
from repository.breakage import BrokenBackup, Harm, what_breaks
from repository.catalog import Catalog, Unreadable
from repository.chain import read_chain
from repository.layout import BackupName, SegmentName
from repository.manifest import Manifest, SharedEntries
from repository.marks import Marks
from repository.repository import Repository
from repository.suffering import Footing
from repository.verify import Reading, VerifyReport, promised_bytes, verify_backup
from repository.verify_pack import OwnerIndex
from repository.verify_quick import look_at_backup, look_at_rest, lost_manifests
from repository.verify_tally import DAMAGE, Damage, VerifyProgress


class VerifyDisplay(Protocol):
    """Who watches. Both are called from the thread that verifies."""

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        """What comes next, and of how many bytes."""
        ...

    def reach(self, done_bytes: int, total_bytes: int) -> None:
        """So many bytes of so many of the stage are done."""
        ...


@dataclass(frozen=True)
class Verification:
    """What was read, and what is wrong with it.

    ``backups`` by time. ``missing``: manifests that must have been there. ``broken``: all backups that cannot
    be restored whole, and why. ``windows``: of each shard with an archive, what can be recovered.
    """

    backups: tuple[VerifyReport, ...]
    unreadable: tuple[Unreadable, ...] = ()
    missing: tuple[Damage, ...] = ()
    archives: tuple[ArchiveReport, ...] = ()
    windows: tuple[WindowLoss, ...] = ()
    broken: tuple[BrokenBackup, ...] = ()
    unlooked: tuple[Damage, ...] = ()
    """Archives whose line cannot be told, and why."""
    footings: Mapping[BackupName, Footing] = field(default_factory=dict[BackupName, Footing])
    """What each backup stands on that was asked whether it is broken."""

    @property
    def is_sound(self) -> bool:
        return not (
            self.unreadable
            or self.missing
            or self.broken
            or self.unlooked
            or any(report.damages for report in self.backups)
            or any(not report.is_sound for report in self.archives)
            or any(window.lost or window.uncovered or window.gtids for window in self.windows)
        )


def verify_chain(
    repository: Repository,
    manifest: Manifest,
    reading: Reading,
    display: VerifyDisplay,
    *,
    quick: bool = False,
) -> Verification:
    """One backup: all links of its chain, newest first, and what they refer to.

    Where the chain is broken, the newest link tells it. Where something is damaged, ``broken`` names every
    backup of the shard that it breaks. Raises ``NotFound`` for one of which others need some pages alone, and
    what says nothing about what is stored.
    """
    if Marks(repository).is_reduced(manifest.backup):
        raise NotFound(
            f"only what other backups refer to is left of {manifest.backup}, which has expired",
            hint="Verify those: `backstay verify` reads what they need of it.",
        )
    try:
        links = read_chain(Catalog(repository), manifest).links
    except DAMAGE:
        links = (manifest,)
    reports = tuple(_each(repository, links, reading, display, quick=quick))
    if all(report.is_sound for report in reports):
        return Verification(reports)
    manifests = _by_name(Catalog(repository).manifests(manifest.shard))
    for link in links:
        manifests.setdefault(link.backup, link)
    broken = _broken(repository, manifests, reports)
    reduced = Marks(repository).reduced(manifest.shard)
    return Verification(reports, broken=broken, footings=_footings(manifests, reduced))


def verify_all(
    repository: Repository,
    shards: Sequence[str],
    reading: Reading,
    display: VerifyDisplay,
    *,
    quick: bool = False,
) -> Verification:
    """Every backup and the archive of ``shards``. Raises what says nothing about what is stored."""
    catalog = Catalog(repository)
    unreadable = [each for shard in shards for each in catalog.survey(shard).unreadable]
    shared = SharedEntries()
    read = [shared.share(each) for shard in shards for each in catalog.manifests(shard)]
    manifests = _by_name(sorted(read, key=lambda each: (each.label, each.shard)))
    # What is left of an expired backup is read with those who refer to it.
    reduced = Marks(repository).reduced().keys() & Marks(repository).all().keys()
    whole = {name: manifest for name, manifest in manifests.items() if name not in reduced}
    reading = replace(reading, owners=OwnerIndex(whole))
    reports = list(_each(repository, list(whole.values()), reading, display, quick=quick))
    if quick:
        reports += [
            look_at_rest(repository, manifests[name]) for name in sorted(reduced) if name in manifests
        ]
    missing = [damage for shard in shards for damage in lost_manifests(repository, shard)]
    pruned = {report.backup for report in reports if report.pruned}
    kept = {name: manifest for name, manifest in manifests.items() if name not in pruned}
    broken = tuple(each for each in _broken(repository, kept, reports) if each.backup not in reduced)
    archives = list(_archives(repository, shards, reading, display, quick=quick))
    found = Verification(
        tuple(reports),
        tuple(unreadable),
        tuple(missing),
        tuple(archives),
        broken=broken,
        footings=_footings(kept, reduced),
    )
    return found if quick else _with_windows(repository, found, kept)


def _each(
    repository: Repository,
    manifests: Sequence[Manifest],
    reading: Reading,
    display: VerifyDisplay,
    *,
    quick: bool,
) -> Iterator[VerifyReport]:
    """One backup after the other, as one piece of work."""
    if quick:
        for manifest in manifests:
            yield look_at_backup(repository, manifest)
        return
    ahead = [promised_bytes(manifest, reading) for manifest in manifests]
    display.stage("verifying", sum(ahead))
    done = 0
    for number, manifest in enumerate(manifests):
        now = VerifyProgress(0, 0, 0, 0)

        def follow(
            progress: VerifyProgress, before: int = done, rest: int = sum(ahead[number + 1 :])
        ) -> None:
            nonlocal now
            now = progress
            display.reach(before + progress.bytes_done, before + progress.bytes_total + rest)

        yield verify_backup(repository, manifest, follow, reading=reading)
        done += now.bytes_done


def _by_name(manifests: Iterable[Manifest]) -> dict[BackupName, Manifest]:
    return {manifest.backup: manifest for manifest in manifests}


def _footings(
    manifests: Mapping[BackupName, Manifest], reduced: Collection[BackupName]
) -> dict[BackupName, Footing]:
    """Of what was reduced nobody asks whether it can be restored."""
    return {name: Footing.of(each) for name, each in manifests.items() if name not in reduced}


def _broken(
    repository: Repository, manifests: Mapping[BackupName, Manifest], reports: Sequence[VerifyReport]
) -> tuple[BrokenBackup, ...]:
    damages = [damage for report in reports for damage in report.damages]
    # What was seen to be gone or cut, but not read, is lost as a whole.
    frames: dict[str, frozenset[int] | None] = {
        damage.name: None for damage in damages if layout.is_pack(damage.name)
    }
    for report in reports:
        frames |= report.lost
    harm = Harm(frozenset(damage.name for damage in damages), frames)
    return what_breaks(repository, manifests, harm)


def _archives(
    repository: Repository,
    shards: Iterable[str],
    reading: Reading,
    display: VerifyDisplay,
    *,
    quick: bool,
) -> Iterator[ArchiveReport]:
    """Of every shard that has one, or whose first epoch cannot be read."""
    for shard in shards:
        if not quick:
            display.stage(f"{shard}  archive")

        def follow(progress: VerifyProgress) -> None:
            display.reach(progress.bytes_done, progress.bytes_total)

        report = verify_archive(ShardArchive(repository, shard), follow, reading=reading, quick=quick)
        if report.epochs or report.damages:
            yield report


def _with_windows(
    repository: Repository, found: Verification, manifests: Mapping[BackupName, Manifest]
) -> Verification:
    """What can be recovered of each shard, with what is sound and without."""
    broken = {each.backup for each in found.broken}
    windows: list[WindowLoss] = []
    unlooked: list[Damage] = []
    for report in found.archives:
        marked = Marks(repository).all(report.shard)
        mine = [each for name, each in manifests.items() if each.shard == report.shard and name not in marked]
        bases = [Base.of(manifest) for manifest in mine]
        sound = [Base.of(manifest) for manifest in mine if manifest.backup not in broken]
        names = [layout.parse_segment(damage.name) for damage in report.damages]
        damaged: list[SegmentName] = [name for name in names if name]
        try:
            window = look_at_window(ShardArchive(repository, report.shard), bases, sound, damaged)
        except Cancelled:
            raise
        except (ObjectMissing, ObjectDamaged) as error:
            unlooked.append(Damage(f"{layout.ARCHIVE}{report.shard}/", error.message))
            continue
        except ToolError as error:
            if error.retryable or not report.damages:
                raise
            continue
        if window:
            windows.append(window)
    return replace(found, windows=tuple(windows), unlooked=tuple(unlooked))
