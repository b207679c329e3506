"""Which namespaces the operator may look after, and when it has to begin anew."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from llmfleet.control import access as module
from llmfleet.control.access import Access
from llmfleet.kube.errors import Forbidden, Unreachable
from llmfleet.kube.resources import Resource
from tests.unit.kube.fake_api import until


class Door:
    """A client that some namespaces let in, and others not."""

    def __init__(self, *closed: str) -> None:
        self.closed = set(closed)
        self.away = False
        self.asked = 0
        self.asked_of: list[str] = []
        self.at_a_time = self._open = 0

    async def pages(self, resource: Resource, namespace: str, **_: Any) -> AsyncIterator[dict[str, Any]]:
        self.asked += 1
        self.asked_of.append(namespace)
        self._open += 1
        self.at_a_time = max(self.at_a_time, self._open)
        await asyncio.sleep(0)
        self._open -= 1
        if self.away:
            raise Unreachable("connection refused")
        if namespace in self.closed and resource.kind == "Service":
            raise Forbidden(f"services is forbidden in {namespace}", status=403)
        yield {"items": []}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.01)


def access(door: Door, *namespaces: str, anew_at: float | None = None, now: float = 0.0) -> Access:
    return Access(door, namespaces, anew_at=anew_at, clock=lambda: now)  # type: ignore[arg-type]


async def test_the_whole_cluster_needs_no_finding_out() -> None:
    door = Door("a")
    assert await access(door).find() == ()
    assert door.asked == 0


async def test_a_namespace_that_refuses_one_kind_is_left_out_with_its_words() -> None:
    found = access(Door("b"), "a", "b", "c")
    assert await found.find() == ("a", "c")
    assert found.closed == {"b": "services is forbidden in b"}


async def test_who_is_let_in_nowhere_waits() -> None:
    door = Door("a")
    finding = asyncio.create_task(access(door, "a").find())
    await until(lambda: door.asked > 10, "it asks on")
    assert not finding.done()
    door.closed.clear()
    assert await finding == ("a",)


async def test_nothing_is_asked_while_nothing_is_refused() -> None:
    door = Door()
    found = access(door, "a", "b")
    await found.find()
    asked, looks = door.asked, iter(range(5))
    enough = asyncio.Event()

    def refused() -> set[str]:
        if next(looks, None) is None:
            enough.set()
        return set()

    watching = asyncio.create_task(found.watch(refused))
    await enough.wait()
    watching.cancel()
    assert door.asked == asked


@pytest.mark.parametrize(("before", "after"), [((), ("b",)), (("b",), ())], ids=["lost", "found"])
async def test_another_set_of_namespaces_is_told(before: tuple[str, ...], after: tuple[str, ...]) -> None:
    door = Door(*before)
    found = access(door, "a", "b")
    await found.find()
    watching = asyncio.create_task(found.watch(lambda: {"b"}))
    asked = door.asked
    await until(lambda: door.asked > asked + 50, "it looks again and again")
    assert set(door.asked_of[asked:]) == {"b"}, "nothing is asked of those that do not refuse"
    assert not found.outdated.is_set()
    door.closed = set(after)
    await asyncio.wait_for(watching, 5)
    assert found.outdated.is_set()


@pytest.mark.parametrize("closed", [(), ("b",)], ids=["all open", "one closed"])
async def test_an_api_server_that_is_away_says_nothing_about_rights(closed: tuple[str, ...]) -> None:
    door = Door(*closed)
    found = access(door, "a", "b")
    await found.find()
    watching = asyncio.create_task(found.watch(lambda: {"b"}))
    door.away = True
    asked = door.asked
    await until(lambda: door.asked > asked + 20, "it looks again and again")
    watching.cancel()
    assert not found.outdated.is_set()


async def test_many_namespaces_are_asked_together_but_not_all_at_once() -> None:
    door = Door()
    assert len(await access(door, *(f"n{number}" for number in range(200))).find()) == 200
    assert door.at_a_time == 16


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [(("b",), (), False), ((), ("b",), True)],
    ids=["found", "lost"],
)
async def test_who_gives_and_takes_his_right_again_and_again_does_not_disturb_the_others(
    before: tuple[str, ...], after: tuple[str, ...], *, told: bool
) -> None:
    """The process began anew nine minutes ago: a right that is won has to wait, one that is lost does not."""
    door = Door(*before)
    found = access(door, "a", "b", anew_at=60.0, now=600.0)
    await found.find()
    watching = asyncio.create_task(found.watch(lambda: {"b"}))
    door.closed = set(after)
    asked = door.asked
    await until(lambda: door.asked > asked + 50 or found.outdated.is_set(), "it looks again and again")
    watching.cancel()
    assert found.outdated.is_set() is told
