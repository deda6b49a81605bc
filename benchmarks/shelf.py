"""Repositories that a story's backups go into: ours, and restic's on copies of the donor.

What is done with one is a process of its own, measured as every case is; what it added is told.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

from benchmarks.cases import Workplace
from benchmarks.measuring import Usage, run_measured, settle, size_of_tree
from benchmarks.ours import child_words, config_text, make_key
from benchmarks.peers import bash, clear, clone_command, program
from benchmarks.story import Step
from fleet.errors import SandboxFailed
from infra.sandbox.files import write_private

RESTIC = "clone + restic, fastest"
_ARCHIVE = """
[accounts.archive]
user = "{user}"
password = {{ file = "{password}" }}

[archive]
spool_directory = "{spool}"
"""


class Shelf:
    """A repository of ours in a folder, the donor reached by its socket, as the peers reach it.

    ``backup`` are lines for that section of its config, ``more`` sections of their own; ``archived``: the
    config has what an archiver needs. ``repository`` are its lines if it lies in no folder.
    """

    def __init__(
        self,
        place: Workplace,
        name: str,
        *,
        backup: str = "",
        more: str = "",
        archived: bool = False,
        repository: str | None = None,
    ) -> None:
        self.place = place
        self.name = name
        self.folder = place.scratch(f"shelf-{name}")
        self._grows = self.folder if repository is None else None
        self.config = place.scratch(f"shelf-{name}.toml")
        self._report = place.scratch(f"shelf-{name}.json")
        make_key(place)
        where = repository or f'url = "file://{self.folder}"'
        text = config_text(place, where, by_socket=True, backup=backup)
        if archived:
            text += _ARCHIVE.format(
                user=place.donor.archive.user,
                password=place.scratch("archive-account"),
                spool=place.scratch(f"spool-{name}"),
            )
        self._text = text
        self.configure(more)

    def configure(self, more: str) -> None:
        """Write its config, with these sections of their own in place of those before."""
        write_private(self.config, (self._text + more).encode())

    def begin(self, holding: Shelf | None = None) -> None:
        """Make the repository anew: empty, or with all objects of another one (linked: none ever changes)."""
        clear(self.folder)
        if holding is not None:
            shutil.copytree(holding.folder, self.folder, copy_function=os.link)
            return
        command = child_words("init", self.config, self._report)
        made = subprocess.run(command, env=self.place.environ(), check=False, capture_output=True, text=True)
        if made.returncode:
            raise SandboxFailed(f"no repository {self.name}: {made.stderr.strip()[-300:]}")

    def remove(self) -> None:
        """Delete it."""
        clear(self.folder)

    def size(self) -> int:
        """Bytes of all its objects."""
        return size_of_tree(self.folder)

    def take(self, part: str, name: str, title: str, verb: str, *words: str) -> Step:
        """Do a verb of ``benchmarks.child`` that stores something; what it added is counted,
        in a folder."""
        return self._step(part, name, title, verb, words, grows=self._grows)

    def bring(self, part: str, name: str, title: str, verb: str, target: Path, *words: str) -> Step:
        """Do a verb that fills ``target``, which is made anew for it."""
        clear(target)
        return self._step(part, name, title, verb, (str(target), *words), grows=target)

    def _step(
        self, part: str, name: str, title: str, verb: str, words: Sequence[str], *, grows: Path | None
    ) -> Step:
        self._report.unlink(missing_ok=True)
        return measured_step(
            self.place,
            Step(part, name, title),
            child_words(verb, self.config, self._report, *words),
            environ=self.place.environ(),
            grows=grows,
            report=lambda: json.loads(self._report.read_text()),
        )


class ResticShelf:
    """A restic repository that gets successive ``CLONE LOCAL`` copies; restic stores what it has not yet."""

    def __init__(self, place: Workplace) -> None:
        self.place = place
        self.folder = place.scratch("shelf-restic")
        self._clone = place.scratch("shelf-restic-clone")
        self._environ = place.environ(
            RESTIC_PASSWORD_FILE=str(place.secret), RESTIC_CACHE_DIR=str(place.scratch("restic-cache"))
        )
        self._restic = f"{program(place, 'restic')} -q -r {quote(str(self.folder))}"

    def begin(self) -> None:
        """Make the repository anew."""
        clear(self.folder)
        subprocess.run(bash(f"{self._restic} init"), env=self._environ, check=True, capture_output=True)

    def remove(self) -> None:
        """Delete it."""
        clear(self.folder)

    def take(self, part: str) -> Step:
        """Copy the donor, and let restic back the copy up."""
        clear(self._clone)
        copy = clone_command(self.place, self._clone)
        try:
            return measured_step(
                self.place,
                Step(part, "restic", RESTIC),
                bash(f"{copy}\n{self._restic} backup --compression fastest {quote(str(self._clone))}"),
                environ=self._environ,
                grows=self.folder,
            )
        finally:
            clear(self._clone)


def measured_step(
    place: Workplace,
    step: Step,
    command: Sequence[str],
    *,
    environ: Mapping[str, str],
    grows: Path | None,
    report: Callable[[], Mapping[str, Any]] = dict,
    store: bool = False,
) -> Step:
    """``step`` with what ``command`` took and by how much ``grows`` grew, or with why it failed.

    ``grows`` None: it writes nothing that must be durable. ``store``: the object store's CPU is told too.
    """
    before = size_of_tree(grows) if grows else 0
    settle()
    try:
        usage = run_measured(
            command,
            environ=environ,
            servers={"donor": place.donor.pid} | ({"store": place.store_pid} if store else {}),
            durable=grows,
            log=place.scratch(f"{step.name}.log"),
        )
        added_bytes = size_of_tree(grows) - before if grows else 0
        return replace(step, usages=(usage,), added_bytes=added_bytes, report=report())
    except (SandboxFailed, OSError) as error:
        return replace(step, error=str(error))


def joined(rounds: Sequence[Step]) -> Step:
    """One step of the same command in several rounds. Bytes and report are those of the last good one."""
    usages: tuple[Usage, ...] = tuple(usage for step in rounds for usage in step.usages)
    good = [step for step in rounds if step.usages]
    errors = [step.error for step in rounds if step.error]
    last = good[-1] if good else rounds[-1]
    return replace(last, usages=usages, error=errors[0] if errors else None)
