"""Files that systemd reads, as systemd reads them: no more of their syntax than ours use."""

from __future__ import annotations

from pathlib import Path

from infra import sandbox

INFRA = Path(sandbox.__file__).parents[1]
SERVICES = sorted(INFRA.glob("*/*.service"))


def settings(path: Path) -> dict[str, list[tuple[str, str]]]:
    """The keys of each section and their values, in order; fails on a line that is neither."""
    sections: dict[str, list[tuple[str, str]]] = {}
    section: list[tuple[str, str]] | None = None
    for line in path.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), [])
            continue
        key, equals, value = line.partition("=")
        assert section is not None and equals and key.isalpha(), line
        section.append((key, value))
    return sections


def values(path: Path, key: str) -> list[str]:
    """All values of a key of [Service]."""
    return [value for name, value in settings(path)["Service"] if name == key]


def environment_file(path: Path) -> dict[str, str]:
    """An EnvironmentFile= of ``NAME=value`` lines without quotes; fails on any other, and on a name twice."""
    found: dict[str, str] = {}
    for line in path.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        assert equals and name not in found and not set(value) & set("\"' \\"), line
        found[name] = value
    return found
