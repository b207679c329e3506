"""Which pods' Events are read, how often, and that it never becomes many requests at a time."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from llmfleet.control import obstacles
from llmfleet.control.cache import Cache, Key
from llmfleet.control.obstacles import Obstacles
from llmfleet.kube.client import Client
from llmfleet.kube.errors import Forbidden
from llmfleet.observe.views import PodView
from tests.unit.worlds import NOW, pod

KEY: Key = ("team", "chat")
WAITING = {"waiting": ("ContainerCreating", ""), "running": False}
FAILED = {
    "metadata": {},
    "reason": "FailedMount",
    "message": 'secret "absent" not found',
    "lastTimestamp": "2026-11-21T12:00:01Z",
}
PULLING = {"metadata": {}, "reason": "Pulling", "lastTimestamp": "2026-11-21T12:00:02Z"}


class World:
    """Lists Events, and takes what is made of them."""

    def __init__(self, *events: dict[str, Any], refused: bool = False) -> None:
        self._events, self._refused = events, refused
        self.listed: list[tuple[str | None, str | None]] = []
        self.at_a_time = self._open = 0
        self.told: dict[str, str] = {}

    async def list(self, _: object, namespace: str | None, *, field_selector: str) -> AsyncIterator[dict[str, Any]]:
        self.listed.append((namespace, field_selector))
        self._open += 1
        self.at_a_time = max(self.at_a_time, self._open)
        await asyncio.sleep(0)
        self._open -= 1
        if self._refused:
            raise Forbidden("events is forbidden")
        for event in self._events:
            yield event

    def set_obstacle(self, _: Key, pod_uid: str, message: str) -> None:
        self.told[pod_uid] = message


def asking(world: World, now: datetime) -> Obstacles:
    return Obstacles(cast("Client", world), cast("Cache", world), clock=lambda: now)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obstacles, "_APART_S", 0)


@pytest.mark.parametrize(
    ("view", "concerned"),
    [
        (pod("a", **WAITING), True),
        (pod("a", **WAITING | {"waiting": ("PodInitializing", "")}), True),
        (pod("a", **WAITING, scheduled_at=None), False),
        (pod("a", **WAITING, deleting=True), False),
        (pod("a", waiting=("CrashLoopBackOff", ""), running=False), False),
        (pod("a"), False),
    ],
    ids=["creating", "init containers", "no node", "leaving", "crashed", "running"],
)
def test_only_pods_that_wait_for_their_container_are_asked_about(view: PodView, concerned: bool) -> None:  # noqa: FBT001
    assert asking(World(), NOW).concerns(view) is concerned


async def test_nobody_is_asked_while_volumes_may_just_be_slow() -> None:
    world = World(FAILED)
    assert await asking(world, NOW + timedelta(seconds=4)).ask(KEY, pod("a", **WAITING)) == 6
    assert await asking(world, NOW - timedelta(hours=1)).ask(KEY, pod("a", **WAITING)) == 10  # clocks that differ
    assert world.listed == []


async def test_after_ten_seconds_the_pods_own_events_are_read_and_again_within_thirty() -> None:
    world, view = World(FAILED), pod("a", **WAITING)
    again_s = await asking(world, NOW + timedelta(seconds=10)).ask(KEY, view)
    assert world.listed == [("team", f"involvedObject.uid={view.uid}")]
    assert world.told == {view.uid: 'secret "absent" not found'}
    assert again_s <= 20


async def test_a_long_pull_of_an_image_costs_one_request() -> None:
    world, view = World(FAILED, PULLING), pod("a", **WAITING)
    assert await asking(world, NOW + timedelta(seconds=10)).ask(KEY, view) >= 300
    assert world.told == {view.uid: ""}


async def test_a_missing_right_is_no_obstacle() -> None:
    world = World(refused=True)
    assert await asking(world, NOW + timedelta(seconds=10)).ask(KEY, pod("a", **WAITING)) >= 60
    assert world.told == {}


async def test_many_pods_are_asked_about_one_after_another() -> None:
    world = World(FAILED)
    inquiry = asking(world, NOW + timedelta(seconds=10))
    await asyncio.gather(*(inquiry.ask(KEY, pod("a", number, **WAITING)) for number in range(20)))
    assert len(world.told) == 20
    assert world.at_a_time == 1
