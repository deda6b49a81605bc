"""The status page in real Chromium: at 360 pixels, in light and dark, and from the keyboard."""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path

import pytest

from drills.status.page import render_page
from tests.programs import program
from tests.unit.drills import seen_fleets as fleets

pytestmark = pytest.mark.slow

QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

MEASURE = """
<script>
const frame = document.querySelector("iframe"), told = {};
frame.onload = () => {
  const page = frame.contentDocument, view = page.defaultView;
  const all = (what, fits) => [...page.querySelectorAll(what)].filter(fits).length;
  told.width = page.documentElement.scrollWidth;
  told.requests = view.performance.getEntriesByType("resource").length;
  told.drawings = all("svg", each => each.getBoundingClientRect().width > 100);
  told.reachable = all("a, summary", each => (each.focus(), page.activeElement === each));
  told.links = all("a, summary", each => true);
  told.small = all("p, li, dd, dt, td", each => parseFloat(view.getComputedStyle(each).fontSize) < 12);
  told.paper = view.getComputedStyle(page.body).backgroundColor;
  document.title = JSON.stringify(told);
};
frame.srcdoc = document.getElementById("page").content.textContent;
</script>
"""


def measured(page: str, directory: Path, *, width: int, flags: tuple[str, ...] = ()) -> dict[str, object]:
    """What the browser says of ``page`` in a window so wide: sizes, requests, what can be focused."""
    frame = f'<iframe style="border:0;width:{width}px;height:900px"></iframe>'
    directory.mkdir(exist_ok=True)
    outer = directory / "outer.html"
    told = f'<template id="page">{html.escape(page)}</template>'
    outer.write_text(f"<!doctype html><title>-</title><body>{frame}{told}{MEASURE}", encoding="utf-8")
    command = [program("chromium"), *QUIET, *flags, f"--user-data-dir={directory / 'profile'}"]
    done = subprocess.run(
        [*command, "--virtual-time-budget=5000", "--dump-dom", outer.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    match = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert match, done.stdout[:500]
    return json.loads(html.unescape(match[1]))


def test_nothing_hangs_over_at_360_pixels_and_everything_can_be_reached_by_keyboard(tmp_path: Path) -> None:
    page = render_page(fleets.fleet_that_is_ill(), fleets.NOW)
    told = measured(page, tmp_path, width=360)
    assert told["width"] == 360
    assert told["requests"] == 0
    assert told["drawings"] == 6
    assert told["reachable"] == told["links"]
    assert told["small"] == 0


def test_the_page_follows_the_colours_that_its_reader_has_chosen(tmp_path: Path) -> None:
    page = render_page(fleets.fleet_that_is_well(), fleets.NOW)
    light = measured(page, tmp_path / "light", width=1200)
    dark = measured(page, tmp_path / "dark", width=1200, flags=("--blink-settings=preferredColorScheme=0",))
    assert light["paper"] == "rgb(246, 246, 243)"
    assert dark["paper"] == "rgb(18, 21, 25)"
    assert light["width"] == dark["width"] == 1200
