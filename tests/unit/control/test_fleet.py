"""/livez of one who acts, wired to the watches, the workers and the Lease that there are."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from yarl import URL

from llmfleet.api.names import KIND
from llmfleet.control import fleet as module
from llmfleet.control.cache import Cache, Key
from llmfleet.control.fleet import Fleet, observe
from llmfleet.control.metrics import Metrics
from llmfleet.control.probes import Vitals
from llmfleet.control.process import observe_lease
from llmfleet.control.queue import WorkQueue
from llmfleet.kube.lease import Lease
from llmfleet.kube.resources import RESOURCES
from llmfleet.kube.wiretap import Wiretap
from tests.unit.kube.fake_api import FakeApi, until

CHILDREN = ("Service", "PodDisruptionBudget", "ControllerRevision", "Deployment", "Pod")


class Waiting:
    """A client whose watches stand, until those of one kind say nothing more."""

    def __init__(self) -> None:
        self.silent = ""

    async def pages(self, *_: object, **__: object) -> AsyncIterator[dict[str, Any]]:
        yield {"metadata": {"resourceVersion": "5"}, "items": []}

    async def watch(self, resource: Any, *_: object, **__: object) -> AsyncIterator[dict[str, Any]]:
        yield {}
        while True:
            await asyncio.sleep(0.02)
            if resource.kind == self.silent:
                await asyncio.Event().wait()
            yield {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "6"}}}


def watched(cache: Cache, queue: WorkQueue[Key], tap: Wiretap) -> Vitals:
    fleet = Fleet(*[None] * 4, Vitals(), Metrics(), *[None] * 2)  # type: ignore[arg-type]
    observe(fleet, queue, cache, tap)
    return fleet.vitals


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STALE_WATCH_S", 0.5)
    monkeypatch.setattr(module, "_STUCK_WORKER_S", 0.1)


@pytest.mark.parametrize("kind", CHILDREN)
async def test_a_watch_of_children_that_says_nothing_more_is_named(kind: str) -> None:
    client, queue = Waiting(), WorkQueue[Key]()
    cache = Cache(cast("Any", client), None, queue.add, lambda _: None)
    assert tuple(cache.reflectors) == CHILDREN
    vitals = watched(cache, queue, Wiretap(RESOURCES[KIND], (), lambda _: None))
    running = [asyncio.create_task(reflector.run()) for reflector in cache.reflectors.values()]
    for reflector in cache.reflectors.values():
        await reflector.synced.wait()
    assert vitals.complaints() == []
    client.silent = kind
    await until(vitals.complaints, "a complaint")
    (complaint,) = vitals.complaints()
    assert complaint.startswith(f"watch of {kind}: no sign of life for ")
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_a_watch_of_kopf_that_says_nothing_more_is_named() -> None:
    clock, queue = [0.0], WorkQueue[Key]()
    tap = Wiretap(RESOURCES[KIND], (), lambda _: None, clock=lambda: clock[0])
    vitals = watched(Cache(cast("Any", None), [], queue.add, lambda _: None), queue, tap)

    async def answer(_: object) -> Any:
        return SimpleNamespace(status=200)

    asked = SimpleNamespace(method="GET", url=URL("https://x" + RESOURCES[KIND].path()))
    await tap(cast("Any", asked), answer)
    assert vitals.complaints() == []
    clock[0] += 7
    assert vitals.complaints() == [f"watch of {KIND}: no sign of life for 7 s"]


async def test_a_worker_that_does_not_come_back_is_told() -> None:
    queue = WorkQueue[Key]()
    vitals = watched(
        Cache(cast("Any", None), [], queue.add, lambda _: None), queue, Wiretap(RESOURCES[KIND], (), lambda _: None)
    )
    queue.add(("a", "chat"))
    assert await queue.get() == ("a", "chat")
    await until(vitals.complaints, "a complaint")
    assert vitals.complaints()[0].startswith("workers: one has been at its object for ")
    queue.done(("a", "chat"))
    assert vitals.complaints() == []


async def test_a_lease_that_is_not_renewed_is_told() -> None:
    clock, vitals = [0.0], Vitals()
    async with FakeApi().serve() as client:
        lease = Lease(client, "llmfleet", "system", "me", clock=lambda: clock[0])
        await lease.acquire()
        observe_lease(vitals, lease)
        assert vitals.complaints() == []
        clock[0] += 7
        assert vitals.complaints() == ["the Lease: not renewed for 7 s"]
        await lease.release()
