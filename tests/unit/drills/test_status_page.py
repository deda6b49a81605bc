"""The status page: what it says, to whom, and that it needs nothing else."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from seen_fleets import (
    NOW,
    fleet_of,
    fleet_that_is_ill,
    fleet_that_is_well,
    fleet_that_nobody_can_ask,
    shard_that_is_ill,
    shard_that_is_well,
)

from drills.status import page as page_module
from drills.status.page import render_page, verdict
from drills.status.report import FleetStatus, Health, Judged

EVERY_FLEET = [fleet_that_is_well(), fleet_that_is_ill(), fleet_that_nobody_can_ask()]


class Outline(HTMLParser):
    """Tags with their attributes, and what is open at the end."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} is closed out of order"


@pytest.mark.parametrize("status", EVERY_FLEET)
def test_the_page_is_well_formed_and_every_name_in_it_is_there_once(status: FleetStatus) -> None:
    outline = Outline(render_page(status, NOW))
    assert outline.open == []
    names = [name for _, attributes in outline.tags if (name := attributes.get("id"))]
    assert len(names) == len(set(names))
    links = [href for _, attributes in outline.tags if (href := attributes.get("href")) and href[0] == "#"]
    assert {link[1:] for link in links} <= set(names)
    told = {name for _, attributes in outline.tags if (name := attributes.get("aria-labelledby"))}
    assert told <= set(names)


@pytest.mark.parametrize("status", EVERY_FLEET)
def test_the_page_asks_nobody_for_anything(status: FleetStatus) -> None:
    text = render_page(status, NOW)
    outline = Outline(text)
    assert not [tag for tag, attributes in outline.tags if "src" in attributes]
    assert [attributes["href"] for tag, attributes in outline.tags if tag == "link"] == ["data:,"]
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org)", text.split("<body")[0])
    assert "<script" not in text


def test_every_drawing_says_in_words_what_it_shows() -> None:
    text = render_page(fleet_that_is_ill(), NOW)
    drawings = re.findall(r'<svg[^>]*role="img"[^>]*>\s*<title id="[^"]+">([^<]+)</title>', text)
    assert len(drawings) == text.count("<svg") == 6
    assert any("61 hours not recoverable" in label for label in drawings)


def test_a_fleet_that_is_well_is_said_to_be_recoverable() -> None:
    assert verdict(fleet_that_is_well()) == "Every shard can be recovered."


def test_an_ill_shard_comes_first_with_what_to_do() -> None:
    text = render_page(fleet_that_is_ill(), NOW)
    assert "1 of 2 shards needs you now." in text
    assert text.index('id="shard-shard_1"') < text.index('id="shard-shard_0"')
    assert text.index("backstay archive run shard_1") < text.index("<main>")


def test_something_wrong_beside_the_shards_is_not_called_well() -> None:
    disk = Judged(Health.WARNING, "disk-full", "/var", "85 % used")
    status = replace(fleet_that_is_well(), health=Health.WARNING, findings=(disk,))
    assert verdict(status) == "Every shard can be recovered, but something else is wrong."
    assert "85 % used" in render_page(status, NOW)


def test_what_is_not_known_now_is_never_shown_as_well() -> None:
    status = fleet_that_nobody_can_ask()
    text = render_page(status, NOW)
    assert "This is how things stood 3\N{NO-BREAK SPACE}h" in text
    assert "connection refused" in text
    assert 'class="health ok"' not in text
    assert '<body class="old">' in text
    assert verdict(status) == "Nobody can say how things stand now."


def test_a_run_that_did_not_happen_is_shown() -> None:
    text = render_page(fleet_that_is_ill(), NOW)
    assert re.search(r"full, due Mar\s31\s02:41: <span class=\"bad\">not run</span>", text)
    assert "the scheduler was down" in text


def test_a_shard_that_is_not_configured_and_a_clock_that_is_off_are_shown() -> None:
    text = render_page(fleet_that_is_ill(), NOW)
    assert re.search(r"<td>old_7</td><td class=\"number\">12</td><td>Apr\s21\s09:53</td>", text)
    assert "its clock is 1 min 12 s behind ours" in text
    assert "not configured" not in render_page(fleet_of(shard_that_is_well()), NOW)
    assert "its clock" not in render_page(fleet_of(shard_that_is_well()), NOW)


def test_a_shard_that_was_never_proven_says_that_nobody_knows() -> None:
    shard = replace(shard_that_is_well(), last_proof=None, proofs=())
    assert "nobody knows that it works" in render_page(fleet_of(shard), NOW)


def test_a_shard_about_which_nothing_is_known_is_shown_all_the_same() -> None:
    bare = replace(
        shard_that_is_ill(),
        backups=(),
        last_full=None,
        last_incremental=None,
        last_proof=None,
        proofs=(),
        archived_until=None,
        archive_lag_seconds=None,
        windows=(),
        gaps=(),
        runs=(),
        next_run=None,
        forecast_rto_seconds=None,
        servers=(),
        lag_history=(),
    )
    text = render_page(fleet_of(bare), NOW)
    assert "There is none." in text
    assert "Nobody has looked yet." in text
    assert "None" not in text.replace("None yet", "")


def test_names_cannot_break_out_of_the_text() -> None:
    finding = Judged(Health.CRITICAL, "settings", "server <img src=x>", 'says "<script>"', "& more")
    text = render_page(replace(fleet_that_is_well(), findings=(finding,)), NOW)
    assert "<img" not in text
    assert "<script>" not in text
    assert "&amp; more" in text


def test_the_page_that_is_served_asks_for_itself_again() -> None:
    assert "location.reload()" in render_page(fleet_that_is_well(), NOW, reload_seconds=30)


def test_a_moment_of_another_year_carries_its_year() -> None:
    shard = shard_that_is_well()
    run = replace(shard.runs[0], state="failed", due_at=NOW - timedelta(days=400))
    assert re.search(r"due 2025\sFeb\s24", render_page(fleet_of(replace(shard, runs=(run,))), NOW))


def colours(scheme: str) -> dict[str, str]:
    """The variables of a scheme: dark ones over light ones."""
    text = (Path(page_module.__file__).parent / "templates" / "page.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", text, re.DOTALL)
    found = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+)", light))
    return found if scheme == "light" else found | dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+)", dark))


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("ink", ["ink", "soft", "ok", "warning", "critical", "unknown", "link"])
@pytest.mark.parametrize("paper", ["paper", "card"])
def test_every_text_can_be_read_against_its_ground(scheme: str, ink: str, paper: str) -> None:
    known = colours(scheme)
    light, dark = sorted((luminance(known[ink]), luminance(known[paper])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5
