"""A fault of ours in one reconcile: told on that object after half a minute, tried on, and nobody else's matter."""

import asyncio
import contextlib
from typing import Any, cast

import pytest

from llmfleet.control import worker
from llmfleet.control.cache import Key
from llmfleet.control.inquiries import Inquiries
from llmfleet.control.metrics import Metrics
from llmfleet.control.queue import WorkQueue
from llmfleet.control.reconcile import Reconciler
from llmfleet.kube.errors import NotLeading, ServerError, Unreachable

ILL: Key = ("a", "ill")


class Reconciling:
    """Plays the reconciler: one object always fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.done: list[Key] = []
        self.stalled: list[tuple[Key, str, bool]] = []

    async def reconcile(self, key: Key) -> None:
        if key == ILL:
            raise self.error
        self.done.append(key)

    async def stall(self, key: Key, cause: str, *, decided: bool) -> None:
        self.stalled.append((key, cause, decided))


class NoInquiries:
    def look(self, key: Key) -> None:
        pass


async def work_for(reconciling: Reconciling, queue: WorkQueue[Key], until: Any) -> None:
    tasks = [
        asyncio.create_task(
            worker.work(queue, cast("Reconciler", reconciling), cast("Inquiries", NoInquiries()), Metrics())
        )
        for _ in range(2)
    ]
    try:
        async with asyncio.timeout(5):
            while not until():  # noqa: ASYNC110 - what the workers do has no event here
                await asyncio.sleep(0.005)
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)


@pytest.mark.parametrize(
    ("error", "words", "decided"),
    [
        (ServerError("etcd is full", status=500), "etcd is full", True),
        (KeyError("x"), "a fault in llmfleet itself (KeyError: 'x')", False),
    ],
    ids=["the API server", "a bug"],
)
async def test_what_fails_for_long_is_told_and_the_others_go_on(
    error: Exception, words: str, *, decided: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_STALLED_AFTER", (3, 0.05))
    queue = WorkQueue[Key](first_s=0.01, last_s=0.02)
    others = [("a", f"well{number}") for number in range(20)]
    for key in (ILL, *others):
        queue.add(key)
    reconciling = Reconciling(error)
    await work_for(reconciling, queue, lambda: reconciling.stalled and len(reconciling.done) == 20)
    key, cause, was_decided = reconciling.stalled[0]
    assert (key, was_decided) == (ILL, decided)
    assert words in cause
    assert queue.failing == 1
    queue.close()


@pytest.mark.parametrize("error", [Unreachable("refused"), NotLeading("lost")], ids=["unreachable", "not leading"])
async def test_what_concerns_no_object_is_told_on_none(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_STALLED_AFTER", (2, 0.0))
    queue = WorkQueue[Key](first_s=0.001, last_s=0.001)
    queue.add(ILL)
    reconciling = Reconciling(error)
    await work_for(reconciling, queue, lambda: queue.failures(ILL) > 10)
    assert reconciling.stalled == []
    queue.close()
