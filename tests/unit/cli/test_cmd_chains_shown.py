"""``backup list``, ``backup show``, ``verify`` and the plan of a restore: what they tell of a chain."""

from __future__ import annotations

from pathlib import Path

import pytest
from door import Backstay
from test_cmd_expire import take

from cli.render import show_text
from cli.text_restore import RestorePlanned
from repository import layout
from repository.keys import FileSource, Keyring
from repository.manifest import Manifest
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore
from restore.choice import PassedOver, choose_chain
from restore.plan import plan_restore
from restore.target import TargetFacts
from tests.unit.restore.made_chains import MadeServer, made_chain


@pytest.fixture
def repository(backstay: Backstay, home: Path) -> Repository:
    assert backstay("init", "--new-key", "k1.key").exit_code == 0
    return Repository.open(FilesystemStore(home / "repository"), Keyring([FileSource("k1", home / "k1.key")]))


@pytest.fixture
def links(repository: Repository) -> list[Manifest]:
    """A full, two incrementals on it, and a full that refers to all of them: oldest first."""
    server = MadeServer(2, pages=12)
    taken = made_chain(repository, server, 3)
    server.live()
    return [*taken, server.referring_full(repository, taken[-1])]


@pytest.fixture(autouse=True)
def narrow(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A screen of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")


def fits(text: str) -> list[str]:
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    return lines


def remove(home: Path, name: str) -> None:
    (home / "repository" / name).unlink()


def test_the_list_shows_below_each_backup_what_it_builds_on(
    backstay: Backstay, links: list[Manifest]
) -> None:
    lines = [line.split() for line in fits(backstay("backup", "list").out)]
    full, first, second, referring = (link.label for link in links)
    assert [line[1] for line in lines[1:] if line[0] == "s1"] == [full, first, second, referring]
    assert [" ".join(line) for line in lines[1:] if line[0] == "on"] == [
        f"on {full}",
        f"on {first}",
        f"on {second}",
    ]
    told = backstay("backup", "list", "--json").json["backups"]
    assert [each["base"] for each in told] == [None, full, first, None]
    assert [each["built_on"] for each in told] == [None, None, None, second]
    # An incremental shows what it takes by itself.
    assert all(each["stored_bytes"] < told[0]["stored_bytes"] for each in told[1:])


def test_a_chain_whose_base_is_gone_is_listed_as_broken(
    backstay: Backstay, home: Path, links: list[Manifest]
) -> None:
    remove(home, layout.manifest(links[0].backup))
    answer = backstay("backup", "list")
    assert answer.exit_code == 23
    states = {line.split()[1]: line.split()[2] for line in fits(answer.out) if line.startswith("s1 ")}
    assert states == {link.label: "broken" for link in links[1:]}
    assert f"fail  s1/{links[1].label}" in answer.out
    assert links[0].label in answer.err
    assert "Take a full backup now: backstay backup full s1." in answer.err
    newer = take(home, 0)
    assert f"Newer ones are whole; the newest of them is {newer}." in backstay("backup", "list").err


def test_show_tells_the_chain_and_what_a_full_refers_to(backstay: Backstay, links: list[Manifest]) -> None:
    shown = backstay("backup", "show", "s1", links[2].label)
    told = {line[:16].strip(): line[16:].strip() for line in fits(shown.out)}
    assert told["continues"] == links[1].label
    assert told["chain"] == "3 links, newest first"
    assert [link.label for link in reversed(links[:3])] == backstay(
        "backup", "show", "s1", links[2].label, "--json"
    ).json["chain"]
    shown = backstay("backup", "show", "s1", links[3].label)
    told = {line[:16].strip(): line[16:].strip() for line in fits(shown.out)}
    assert told["built on"] == links[2].label
    assert told["refers to"].endswith("of data in")


def test_show_tells_a_chain_that_is_broken(backstay: Backstay, home: Path, links: list[Manifest]) -> None:
    remove(home, layout.manifest(links[0].backup))
    shown = backstay("backup", "show", "s1", links[2].label)
    assert shown.exit_code == 0
    assert "broken" in shown.out
    assert links[0].label in shown.out


def test_show_and_list_say_the_same_of_a_full_that_refers_to_what_is_gone(
    backstay: Backstay, home: Path, links: list[Manifest]
) -> None:
    remove(home, layout.manifest(links[0].backup))
    label = links[3].label
    listed = backstay("backup", "list", "--json").json["backups"]
    (broken,) = [each["broken"] for each in listed if each["label"] == label]
    assert links[0].label in broken
    assert backstay("backup", "show", "s1", label, "--json").json["backup"]["broken"] == broken
    fits(backstay("backup", "show", "s1", label).out)


def test_verify_tells_what_several_links_miss_once(
    backstay: Backstay, home: Path, repository: Repository
) -> None:
    server = MadeServer(7, pages=12)
    full = server.full(repository)
    server.live()
    newest = server.referring_full(repository, full)
    for _ in range(2):
        server.live()
        newest = server.incremental(repository, newest)
    gone = layout.manifest(full.backup)
    remove(home, gone)
    answer = backstay("verify", "s1", "--json")
    assert answer.exit_code == 41
    assert len(answer.json["links"]) == 3
    assert [damage["name"] for damage in answer.json["damages"]] == [gone]
    assert "is damaged in 1 object\n" in backstay("verify", "s1").err


def test_verify_of_an_incremental_reads_its_whole_chain(
    backstay: Backstay, home: Path, links: list[Manifest]
) -> None:
    sound = backstay("verify", "s1", "--backup", links[2].label)
    assert sound.exit_code == 0
    assert f"3 links, back to {links[0].label}" in sound.out
    name = layout.pack(links[0].backup, 0)
    remove(home, name)
    damaged = backstay("verify", "s1", "--backup", links[2].label, "--json")
    assert damaged.exit_code == 41
    assert name in {damage["name"] for damage in damaged.json["damages"]}


def test_verify_of_all_counts_damage_against_every_link_above_it(
    backstay: Backstay, home: Path, links: list[Manifest]
) -> None:
    remove(home, layout.pack(links[1].backup, 0))
    answer = backstay("verify", "s1", "--all", "--json").json
    told = answer["backups"]
    assert [each["sound"] for each in told][:3] == [True, False, False]
    broken = {each["label"]: {file["table"] for file in each["files"]} for each in answer["broken"]}
    assert links[2].label in broken and links[0].label not in broken
    assert all(each["sound"] == (each["label"] not in broken) for each in told)
    assert [each["links"] for each in told] == [[link.label] for link in links]
    fits(backstay("verify", "s1", "--all").out)


def test_the_plan_of_a_restore_lists_the_links_and_what_each_may_bring(
    repository: Repository, links: list[Manifest], capsys: pytest.CaptureFixture[str]
) -> None:
    passed = (PassedOver("20270101T000000Z-full", "its manifest is damaged"),)
    for at, told in ((2, "The links of the chain, newest first:"), (3, "What it is made of:")):
        chain = choose_chain(repository, "s1", links[at].label).chain
        empty = TargetFacts(Path("/srv/data"), free_bytes=1 << 40)
        plan = plan_restore(chain, empty, None, passed_over=passed)
        show_text(RestorePlanned.of(plan))
        text = capsys.readouterr().out
        fits(text)
        assert told in text
        assert all(link.label in text for link in chain.links)
        assert "pass over 20270101T000000Z-full" in text
        assert "fetch at most" in text
        refers = chain.newest.sizes.referred_bytes
        assert ("of data take in other backups from the store" in " ".join(text.split())) is bool(refers)


def damage(home: Path, name: str) -> bytes:
    """Flips a bit of the object; returns what it was."""
    path = home / "repository" / name
    was = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(was[:90] + bytes([was[90] ^ 1]) + was[91:])
    return was


def test_what_verify_found_damaged_is_listed_shown_checked_and_forgotten_when_it_is_whole_again(
    backstay: Backstay, home: Path, links: list[Manifest]
) -> None:
    pack = layout.pack(links[1].backup, 0)
    was = damage(home, pack)
    assert backstay("backup", "list").out.count("damaged") == 0
    answer = backstay("verify")
    assert answer.exit_code == 41
    assert "1 damaged object written down: nothing more is built on that" in " ".join(answer.out.split())
    assert backstay("verify", "--all", "--json").json["findings"] == {
        "recorded": [pack],
        "taken_away": [],
        "incomplete_because": None,
    }
    listed = backstay("backup", "list")
    assert listed.exit_code == 0
    states = {line.split()[1]: line.split()[2] for line in fits(listed.out) if line.startswith("s1 ")}
    harmed = {label for label, state in states.items() if state == "damaged"}
    assert links[1].label in harmed and links[0].label not in harmed
    told = " ".join(listed.out.split())
    assert f"verify found pack p00000000 of {links[1].label} damaged on" in told
    by_label = {each["label"]: each for each in backstay("backup", "list", "--json").json["backups"]}
    assert {label for label, each in by_label.items() if each["damaged"]} == harmed
    assert by_label[links[1].label]["damaged"] in " ".join(
        backstay("backup", "show", "s1", links[1].label).out.split()
    )
    checked = backstay("check", "s1", "--json").json["findings"]
    (finding,) = [each for each in checked if each["subject"] == "backups s1"]
    assert (finding["level"], f"of {links[1].label} damaged on" in finding["message"]) == ("warn", True)
    assert "backstay verify s1 --all" in finding["hint"]
    (home / "repository" / pack).write_bytes(was)
    assert "1 object whole again, and may be built on" in " ".join(backstay("verify").out.split())
    assert "damaged" not in backstay("backup", "list").out
    assert not [
        each for each in backstay("check", "s1", "--json").json["findings"] if "backups" in each["subject"]
    ]


def test_the_way_out_of_a_damaged_newest_backup_is_a_full_that_stores_every_page(
    backstay: Backstay, home: Path, links: list[Manifest]
) -> None:
    damage(home, layout.index_part(links[3].backup, 0))
    assert backstay("verify", "s1", "--json").json["findings"]["recorded"]
    told = " ".join(fits(backstay("backup", "list").out))
    assert "backstay backup full s1 --stored" in " ".join(told.split())
