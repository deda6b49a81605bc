"""An archiver that waits for long says so, once, and when it is over."""

from __future__ import annotations

import pytest

from backup.archive.news import News, NewsKind
from backup.archive.stall import STALL_SECONDS, STEADY_SECONDS, Stall
from tests.conftest import ManualClock


class Scene:
    """A stall with a clock to turn, and what it told."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.received = 0
        self.told: list[tuple[NewsKind, str]] = []
        self.stall = Stall(
            self.clock, lambda: self.received, lambda kind, text: self.told.append((kind, text))
        )

    def passes(self, seconds: float) -> None:
        self.clock.sleep(seconds)
        self.stall.look()


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_short_wait_is_not_worth_a_line(scene: Scene) -> None:
    scene.stall.waits_for("s1-a: cannot connect")
    scene.passes(STALL_SECONDS - 1)
    scene.stall.following()
    scene.passes(STEADY_SECONDS)
    scene.stall.left()
    scene.passes(STALL_SECONDS - 1)
    assert not scene.told


def test_a_long_wait_is_told_once_with_its_reason_and_its_end(scene: Scene) -> None:
    scene.stall.waits_for("s1-a: cannot connect")
    scene.passes(STALL_SECONDS)
    scene.passes(80)
    assert scene.told == [("stalled", "no events were received for 10 s: s1-a: cannot connect")]
    scene.clock.sleep(5)
    scene.stall.following()
    scene.received += 1
    scene.passes(1)
    assert scene.told[1:] == [("recovered", "a source is followed again, after 95 s")]


def test_a_connection_that_breaks_again_at_once_ends_no_wait(scene: Scene) -> None:
    for _ in range(30):
        scene.stall.following()
        scene.stall.left()
        scene.passes(1)
    assert [kind for kind, _ in scene.told] == ["stalled"]


def test_a_source_that_has_nothing_to_say_is_followed_all_the_same(scene: Scene) -> None:
    scene.stall.following()
    scene.passes(600)
    assert not scene.told


@pytest.mark.parametrize("kind", ["stalled", "branch", "writers", "store", "gap"])
def test_what_somebody_must_look_at_is_an_alarm(scene: Scene, kind: NewsKind) -> None:
    assert News("s1", kind, "", scene.clock.now()).is_alarm
