"""The session in the README is run, line by line, on a real sandbox; its output is what the tool prints.

Figures differ from run to run, so they are compared with every number replaced. To paste a new run into
the README: ``BACKSTAY_PASTE=1 pytest tests/scenario/test_the_readme_session.py``.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.mysql, pytest.mark.s3, pytest.mark.slow]

README = Path(__file__).parents[2] / "README.md"
GTID = r"[0-9a-f]{8}-[0-9a-f-]{27}:[0-9]+"
SESSION = re.compile(r"(<!-- session:[^\n]*-->\n```console\n)(.*?)(```)", re.DOTALL)


def commands(session: str) -> list[str]:
    return [line[2:] for line in session.splitlines() if line.startswith("$ ")]


def run_session(lines: list[str], folder: Path) -> str:
    """What a shell prints for ``lines``, each before its output; stops at the first that fails."""
    script = "set -e -o pipefail\n" + "\n".join(map(scripted, lines))
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": os.environ.get("HOME", "/root"),
        "COLUMNS": "80",
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", ""),
    }
    finished = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={name: value for name, value in environment.items() if value},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout
    return finished.stdout.replace(str(folder), "/srv")


def scripted(line: str) -> str:
    """The shell's part for one line: print it, run it. A GTID in it is the last one that `find` named."""
    if line.startswith("backstay find"):
        return f"echo {quoted('$ ' + line)}\n{line} | tee found.txt"
    if line.startswith("backstay status"):
        # Its exit code is part of what it tells; a fleet of an hour ago is seldom all well.
        return f"echo {quoted('$ ' + line)}\n{line} || test $? -ge 60"
    words = re.split(GTID, line)
    if len(words) == 1:
        return f"echo {quoted('$ ' + line)}\n{line}"
    now = '"$gtid"'
    said, done = now.join(map(quoted, ["$ " + words[0], *words[1:]])), now.join(words)
    return f"gtid=$(grep -Eo '{GTID}' found.txt | tail -1)\necho {said}\n{done}"


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def without_figures(text: str) -> list[str]:
    """Words only: without numbers, sizes and uuids; and since lines break by their lengths, without lines."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}", "#", text)
    text = re.sub(r"(# *)?\d[\d.,:/TZ-]*( ([kMGT]?B(/s)?|s|ms)\b)?", "#", text)
    # How much a replica still has to apply when it is copied, and with it two sets for one, is a figure.
    text = re.sub(r"\btransactions\b", "transaction", text)
    text = re.sub(r"GTIDs, at least\s+(#\S*)\s+at most\s+#\S*", r"GTID set \1", text)
    # Whether the donor could tell what changed depends on when it made its last checkpoint.
    text = re.sub(r"(?m)^(not )?sent  .*\n(  .*\n)*", "", text)
    # What is due next depends on the hour.
    text = re.sub(r"(?m)^(next run +)(full|incremental)", r"\1#", text)
    # Which stages took long enough to be named is a figure too.
    text = re.sub(r"(?m)^(took *#).*$", r"\1", text)
    return text.split()


@pytest.mark.timeout(290)
def test_the_readme_session_prints_what_the_readme_says(mysql_distribution: object) -> None:
    text = README.read_text()
    found = SESSION.search(text)
    assert found, "the README has no session"
    # A short path, so that lines break where they do for a reader.
    folder = Path(tempfile.mkdtemp(prefix="s"))
    lines = commands(found[2])
    try:
        printed = run_session(lines, folder)
    finally:
        subprocess.run([lines[-1].replace("backstay", f"{Path(sys.executable).parent}/backstay", 1)],
                       shell=True, cwd=folder, capture_output=True, timeout=60, check=False)  # fmt: skip
        shutil.rmtree(folder, ignore_errors=True)
    if os.environ.get("BACKSTAY_PASTE"):
        README.write_text(text[: found.start(2)] + printed + text[found.end(2) :])
        return
    assert without_figures(printed) == without_figures(found[2])
