"""What ``backstay restore`` answers: the plan, and the proof."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rich.console import RenderableType

from cli.backups import by_uuid
from cli.render import render_text
from cli.tables import facts, findings_table, lines, listing
from fleet import figures
from fleet.finding import Finding, Level
from repository.chain import Chain
from restore.choice import PassedOver
from restore.full import RestoreResult
from restore.plan import RestorePlan

_WORTH_TELLING_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class PlannedLink:
    """A backup that pages come from: the one that is restored, and those of its chain, newest first."""

    label: str
    kind: str
    stored_bytes: int
    referred_bytes: int
    refers_to: tuple[str, ...]

    @classmethod
    def all_of(cls, chain: Chain) -> tuple[Self, ...]:
        """The links as they are told."""
        return tuple(
            cls(
                link.label,
                link.kind,
                link.sizes.stored_bytes,
                link.sizes.referred_bytes,
                tuple(each.label for each in link.refers_to),
            )
            for link in chain.links
        )


@dataclass(frozen=True, slots=True)
class RestorePlanned:
    """What a restore would do: ``mode`` is ``empty``, ``resume``, ``delta`` or ``prove``; sizes in bytes.

    ``stored_bytes`` is the most that is fetched.
    """

    shard: str
    label: str
    target: Path
    mode: str
    steps: tuple[str, ...]
    files: int
    files_bytes: int
    stored_bytes: int
    needed_bytes: int
    free_bytes: int
    remove_files: tuple[str, ...]
    links: tuple[PlannedLink, ...]

    @classmethod
    def of(cls, plan: RestorePlan) -> Self:
        """The plan as it is told."""
        return cls(
            shard=plan.manifest.shard,
            label=plan.manifest.label,
            target=plan.directory,
            mode=plan.mode.value,
            steps=plan.steps(),
            files=len(plan.manifest.files),
            files_bytes=plan.total_bytes,
            stored_bytes=plan.stored_bytes,
            needed_bytes=plan.needed_bytes,
            free_bytes=plan.target.free_bytes,
            remove_files=plan.remove_files,
            links=PlannedLink.all_of(plan.chain),
        )


@render_text.register
def _(planned: RestorePlanned) -> RenderableType:
    steps = facts((f"{number:>2}.", step) for number, step in enumerate(planned.steps, start=1))
    return lines(f"The plan for {planned.target}:", "", steps, *links_told(planned.links))


def links_told(links: tuple[PlannedLink, ...]) -> tuple[RenderableType, ...]:
    """The links of a chain, newest first, and what each may bring; nothing for a full by itself."""
    if not links[1:] and not any(link.refers_to for link in links):
        return ()
    rows = [
        (link.label, figures.size(link.stored_bytes), _referred(link) if link.refers_to else "")
        for link in links
    ]
    told = "The links of the chain, newest first:" if len(links) > 1 else "What it is made of:"
    refers = any(link.refers_to for link in links)
    columns = ("backup", ">stored", *(["and of other backups"] if refers else []))
    return "", told, "", listing(columns, (row[: len(columns)] for row in rows))


def _referred(link: PlannedLink) -> str:
    others = figures.plural(len(link.refers_to), "backup")
    return f"{figures.size(link.referred_bytes)} of data in {others}"


def passed_over_told(shard: str, passed_over: tuple[PassedOver, ...]) -> RenderableType:
    """Newer backups that were not taken, which somebody must look after."""
    return findings_table(
        Finding(Level.WARN, "passed over", f"{shard}/{each.label}: {each.problem}") for each in passed_over
    )


@render_text.register
def _(result: RestoreResult) -> RenderableType:
    checks = findings_table(
        Finding(Level.OK if check.passed else Level.FAIL, check.name, check.detail) for check in result.checks
    )
    steps = facts((f"{number:>2}.", step) for number, step in enumerate(result.next_steps, start=1))
    return lines("", facts(_facts(result)), "", checks, "", "To put it to work:", "", steps)


def _facts(result: RestoreResult) -> Iterator[tuple[str, str]]:
    yield "restored", f"{result.shard}/{result.label}"
    if len(result.links) > 1:
        yield "chain", f"{len(result.links)} links, back to {result.links[-1]}"
    yield "into", str(result.target)
    yield "data", f"{figures.size(result.files_bytes)} in {figures.plural(result.files, 'file')}"
    fetched = (
        f"{figures.size(result.read_bytes)} from the store" if result.read_bytes else "nothing, all was there"
    )
    yield "fetched", f"{fetched}{_spared(result)}"
    yield "took", f"{figures.duration(result.seconds)}{stages(result.stage_seconds)}"
    yield "started on", f"MySQL {result.server_version}"
    yield "GTID set", by_uuid(result.gtid_executed)
    if result.unrecorded is not None:
        yield "proof", f"not recorded: {result.unrecorded}"
    if result.left is not None:
        yield "server", f"runs on as process {result.left.pid}, read-only, no password"
        yield "socket", str(result.left.socket)


def stages(seconds: Mapping[str, float]) -> str:
    """``: fetch 0.4 s, recover 1.6 s``: the stages that took long enough to be named."""
    long = {name: spent for name, spent in seconds.items() if spent >= _WORTH_TELLING_SECONDS}
    told = ", ".join(f"{name} {figures.duration(spent)}" for name, spent in long.items())
    return f": {told}" if told else ""


def _spared(result: RestoreResult) -> str:
    spared = [
        (result.equal_bytes, "were right on the disk"),
        (result.journaled_bytes, "were there from an earlier run"),
    ]
    return "".join(f"; {figures.size(count)} {why}" for count, why in spared if count)
