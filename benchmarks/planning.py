"""``python -m benchmarks planning``: what ``expire`` and ``prune`` take to plan, of eight shards and a month.

The repository is made without a server: manifests with 2,000 files each, some hundred segments a shard. The
first days lie before the window, so there is something to mark, and then to delete. Each command is planned
``rounds`` times, from files that are out of the page cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks.cases import Workplace
from benchmarks.commands import cli_words, printed_json
from benchmarks.grown import KEY_ID, Growth, grow, shard_names
from benchmarks.measuring import size_of_tree
from benchmarks.peers import clear
from benchmarks.shelf import joined, measured_step
from benchmarks.story import Aim, Sheet, Step, Told, shown, step_named
from infra.sandbox.files import write_private
from repository.keys import create_key_file

WINDOW_DAYS = 21
SECONDS, PEAK_MB = 5.0, 200.0
EXPIRE, MARK, PRUNE = "expire --dry-run", "expire", "prune --dry-run"
_FLEET = """\
name = "benchmark"
regions = ["here"]

{shards}
[accounts.backup]
user = "nobody"
password = {{ file = "{secret}" }}

[repository]
url = "file://{folder}"

[[keys]]
id = "{key_id}"
provider = "file"
file = "{key}"

[retention]
days = {days:.1f}
grace_hours = 0.0
"""
_SHARD = """\
[[shards]]
name = "{shard}"

[[shards.servers]]
name = "{shard}-db"
host = "127.0.0.1"
port = {port}
region = "here"
role = "primary"

"""

Say = Callable[[str], None]


def play(place: Workplace, size_bytes: int, rounds: int, say: Say) -> Told:  # noqa: ARG001 (its size is fixed)
    """Grow the repository, plan both, mark between them."""
    growth = Growth()
    folder, key, config = (place.scratch(name) for name in ("grown", "grown.key", "grown.toml"))
    create_key_file(key)
    say(f"making {growth.backups:,} backups of {growth.shards} shards")
    grow(folder, key, growth, datetime.now(UTC))
    text = fleet_text(shard_names(growth), folder=folder, key=key, secret=place.scratch("account"))
    write_private(config, text.encode())
    steps = [
        _planned(place, config, EXPIRE, rounds, say),
        _planned(place, config, MARK, 1, say),
        _planned(place, config, PRUNE, rounds, say),
    ]
    stored = size_of_tree(folder)
    clear(folder)
    return Told(
        "planning",
        {
            "the repository": f"{growth.backups:,} backups of {growth.shards} shards, "
            f"{growth.files:,} files each, {growth.segments * growth.days} segments a shard, "
            f"{stored / 1e6:,.0f} MB"
        },
        tuple(steps),
        (sheet(steps),),
        tuple(aims(steps)),
    )


def fleet_text(shards: Sequence[str], *, folder: Path, key: Path, secret: Path) -> str:
    """The config of shards whose servers nobody asks."""
    return _FLEET.format(
        shards="".join(
            _SHARD.format(shard=shard, port=number) for number, shard in enumerate(shards, start=10_001)
        ),
        folder=folder,
        key=key,
        key_id=KEY_ID,
        secret=secret,
        days=WINDOW_DAYS,
    )


def _planned(place: Workplace, config: Path, name: str, rounds: int, say: Say) -> Step:
    verb, *options = name.split()
    done: list[Step] = []
    for _ in range(rounds):
        say(name)
        step = Step("planning", name, name)
        done.append(
            measured_step(
                place, step, cli_words(config, verb, *options), environ=place.environ(), grows=None,
                report=partial(printed_json, place.scratch(f"{name}.log")),
            )
        )  # fmt: skip
    return joined(done)


def sheet(steps: Sequence[Step]) -> Sheet:
    """Each command."""
    rows = tuple(
        (
            step.title,
            shown(step.seconds, 2),
            shown(step.usage.cpu_seconds, 2),
            shown(step.usage.peak_bytes / 1e6, 0),
        )
        for step in steps
        if step.usage
    )
    return Sheet("planned for all shards at once", ("", "wall s", "CPU s", "peak MB"), rows)


def aims(steps: Sequence[Step]) -> Iterator[Aim]:
    """Both are quick and small."""
    for name in (EXPIRE, PRUNE):
        step = step_named(steps, "planning", name)
        yield Aim(f"{name}: wall seconds", step.seconds if step else None, SECONDS)
        peak = step.usage.peak_bytes / 1e6 if step and step.usage else None
        yield Aim(f"{name}: peak MB", peak, PEAK_MB)
