"""What ``backstay plan`` answers, as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from rich.console import RenderableType

from backup.capacity_report import CapacityPlan, Costs, ShardCapacity
from cli.render import render_text
from cli.tables import dim, facts, findings_table, lines, listing
from fleet import figures
from repository.fitting import Fit, Policy
from repository.forecast import Usage
from repository.measured import Figure
from repository.ways_back import Way

_STORAGE = ("", ">fulls", ">incrementals", ">archive", ">in all", ">at least")
_WAYS = {
    "cold": "all data fetched",
    "delta": "what lies on the disk compared, a day's changes fetched",
    "standby": "one that follows the archive takes over; no data is moved",
}


@render_text.register
def _(plan: CapacityPlan) -> RenderableType:
    groups = list(_alike(plan.shards))
    parts: list[RenderableType] = [_rules(plan)]
    for shards in groups:
        parts += ["", _figures(shards, plan)]
    parts += ["", *_storage(plan)]
    if plan.costs:
        parts += ["", *_costs(plan.costs)]
    for shards in groups:
        parts += ["", *_recovery(shards, plan)]
    if plan.fit:
        parts += ["", *_fit(plan.fit)]
    return lines(*parts, "", findings_table(plan.findings)) if plan.findings else lines(*parts)


def _alike(shards: Iterable[ShardCapacity]) -> Iterator[list[ShardCapacity]]:
    """Shards of which the same is known are told together: a fleet that is assumed has eight of a kind."""
    found: dict[tuple[object, ...], list[ShardCapacity]] = {}
    for shard in shards:
        key = (tuple(shard.figures.items()), tuple(map(repr, shard.ways)), shard.loss)
        found.setdefault(key, []).append(shard)
    yield from found.values()


def _who(shards: Sequence[ShardCapacity], plan: CapacityPlan) -> str:
    if len(shards) == 1:
        return f"shard {shards[0].shard}"
    if len(shards) == len(plan.shards):
        return f"each of {len(shards)} shards"
    return "each of " + ", ".join(shard.shard for shard in shards)


def _rules(plan: CapacityPlan) -> RenderableType:
    rules = plan.rules
    fulls = f"{rules.full_cron} ({rules.timezone}), {rules.full}"
    if rules.full == "referring":
        fulls += f", one of {rules.rebase_every} stores all pages"
    least = figures.plural(rules.minimum_fulls, "full")
    grace = figures.duration(rules.grace_hours * 3600)
    kept = f"{rules.retention_days:g} days and a grace time of {grace}, {least} whatever their age"
    return facts(
        [
            ("full backups", fulls),
            ("incrementals", f"{rules.incremental_cron}, at most {rules.max_chain} on a full"),
            ("kept", kept),
            *_beyond(plan),
            ("history", "read from the repository" if plan.history else "not asked: --no-history"),
        ]
    )


def _beyond(plan: CapacityPlan) -> Iterator[tuple[str, str]]:
    """Fulls of days, weeks and months, and what they take of the plateau."""
    rules = plan.rules
    counts = {"daily": rules.keep_daily, "weekly": rules.keep_weekly, "monthly": rules.keep_monthly}
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    if not told:
        return
    if plan.beyond is not None:
        least, most = (figures.size(each) for each in (plan.beyond.least_bytes, plan.beyond.most_bytes))
        takes = least if least == most else f"{least} to {most}"
        fulls = figures.plural(plan.beyond.fulls, "full")
        told += f": {fulls} that nothing else keeps, {takes} of the plateau"
    yield "and beyond", told


def _figures(shards: Sequence[ShardCapacity], plan: CapacityPlan) -> RenderableType:
    """Only what is known, and what is lacking; what nobody needs here is left out."""
    rows = [
        (name, _value(name, figure), "assumed" if figure.origin == "assumed" else dim(figure.note))
        for name, figure in shards[0].figures.items()
        if figure.value is not None or name in _NEEDED
    ]
    return listing((_who(shards, plan), ">", ""), rows)


_NEEDED = ("size", "change", "compression", "growth", "archive")
_UNITS: Mapping[str, Callable[[float], str]] = {
    "size": figures.size,
    "change": lambda value: f"{value:.3g} % a day",
    "growth": lambda value: f"{value:.3g} % a day",
    "compression": lambda value: f"{value:.1f} : 1",
    "archive": lambda value: f"{figures.size(value)} a day",
    "log": lambda value: f"{figures.size(value)} a day",
    "start": figures.duration,
    "promote": figures.duration,
}


def _value(name: str, figure: Figure) -> str:
    if figure.value is None:
        return "-"
    return _UNITS.get(name, lambda value: figures.rate(value, 1))(figure.value)


def _storage(plan: CapacityPlan) -> Iterator[RenderableType]:
    if not plan.usage:
        yield listing(_STORAGE, [_usage("now", plan.now)])
        yield "No forecast of storage: size, change and compression must be known of every shard."
        return
    shown = sorted({day for day in (1, 7, 14, 30, 60, 90, 180, 365) if day < plan.days} | {plan.days})
    table = [_usage("now", plan.now), *(_usage(f"day {day}", plan.usage[day]) for day in shown)]
    if plan.plateau:
        table.append(_usage("plateau", plan.plateau))
    yield listing(_STORAGE, table)
    yield dim("in all: a full goes with all that is built on it, once none of it is needed.")
    yield dim("at least: if every page that a newer one replaced were freed at once.")
    if plan.plateau is None:
        yield "There is no plateau: fulls that refer go on for so long that nothing before them goes."
    if len(plan.shards) > 1:
        yield ""
        rows: dict[tuple[str, ...], list[ShardCapacity]] = {}
        for shard in plan.shards:
            rows.setdefault(_sizes(shard, plan), []).append(shard)
        columns = ("shard", ">now", f">day {plan.days}", ">plateau")
        yield listing(columns, [(_who(alike, plan), *sizes) for sizes, alike in rows.items()])


def _usage(what: str, usage: Usage) -> tuple[str, ...]:
    values = (
        usage.fulls_bytes,
        usage.incrementals_bytes,
        usage.archive_bytes,
        usage.total_bytes,
        usage.least_bytes,
    )
    return what, *(figures.size(value) for value in values)


def _sizes(shard: ShardCapacity, plan: CapacityPlan) -> tuple[str, ...]:
    stands = (shard.now, shard.usage[plan.days], shard.plateau)
    return tuple(figures.size(each.total_bytes) if each else "-" for each in stands)


def _costs(costs: Costs) -> Iterator[RenderableType]:
    rows = [
        (
            each.what,
            figures.size(each.kept_bytes),
            _money(each.storage_cost),
            _money(each.requests_cost),
            _money(each.cost),
        )
        for each in costs.months
    ]
    yield listing(("cost of a month", ">kept", ">storage", ">requests", f">{costs.prices.currency}"), rows)
    yield dim(f"requests: {figures.number(round(costs.requests))} at most, if sources never rest.")


def _money(amount: float) -> str:
    return f"{amount:,.2f}"


def _recovery(shards: Sequence[ShardCapacity], plan: CapacityPlan) -> Iterator[RenderableType]:
    shard = shards[0]
    yield f"{_who(shards, plan).capitalize()}, when it is lost:"
    yield ""
    rows: list[tuple[RenderableType, ...]] = []
    for way in shard.ways:
        rows.append((way.name, _seconds(way), _verdict(way.keeps), dim(_WAYS[way.name])))
        rows += [("", "", "", detail) for detail in _details(way)]
    yield listing(("back by", ">takes", f"in {figures.duration(plan.rules.rto_seconds)}?", ""), rows)
    lost = "not measured" if shard.loss.seconds is None else figures.duration(shard.loss.seconds)
    target = figures.duration(plan.rules.rpo_seconds)
    row = (shard.loss.mode, lost, _verdict(shard.loss.keeps), dim(shard.loss.because))
    yield ""
    yield listing(("archive", ">loses", f"in {target}?", ""), [row])
    unknown = dict.fromkeys(name for way in shard.ways for name in way.unknown)
    if unknown:
        yield ""
        rows = [(name, dim(shard.figures[name].note.partition(": ")[2])) for name in unknown]
        yield listing(("not measured yet", ""), rows)


def _seconds(way: Way) -> str:
    if way.seconds is not None:
        return figures.duration(way.seconds)
    return f"over {figures.duration(way.at_least_seconds)}" if way.at_least_seconds else "not measured"


def _verdict(keeps: bool | None) -> str:
    return "unknown" if keeps is None else "kept" if keeps else "MISSED"


def _details(way: Way) -> Iterator[str]:
    if len(way.stages) > 1 or (way.stages and way.seconds is None):
        yield ", ".join(f"{stage} {figures.duration(seconds)}" for stage, seconds in way.stages.items())
    if way.unknown:
        yield f"and what is not measured yet: {', '.join(way.unknown)}"
    if way.keeps is False and way.largest_bytes:
        yield f"in time with shards of at most {figures.size(way.largest_bytes)}"


def _fit(fit: Fit) -> Iterator[RenderableType]:
    rows = [_policy(each) for each in fit.policies]
    columns = (
        "days",
        "fulls",
        "of them stored",
        ">at most",
        ">at least",
        f"in {figures.size(fit.bound_bytes)}?",
    )
    yield listing(columns, rows)


def _policy(policy: Policy) -> tuple[str, ...]:
    every = f"one of {policy.rebase_every}" if policy.full == "referring" else "all"
    return (
        f"{policy.days:.0f}",
        "as configured" if policy.configured else policy.fulls,
        every,
        figures.size(policy.most_bytes) if policy.most_bytes is not None else "no end",
        figures.size(policy.least_bytes) if policy.least_bytes is not None else "-",
        "fits" if policy.fits else "no",
    )
