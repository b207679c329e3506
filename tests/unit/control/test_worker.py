"""A fault in one reconcile: told on that object after half a minute, tried on, and nobody else's matter."""

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import cast

import pytest

from llmfleet.control import worker
from llmfleet.control.blame import Blame
from llmfleet.control.cache import Key
from llmfleet.control.inquiries import Inquiries
from llmfleet.control.metrics import Metrics
from llmfleet.control.queue import Pauses, WorkQueue
from llmfleet.control.reconcile import Reconciler, Visit
from llmfleet.control.worker import Worker
from llmfleet.kube.errors import ApiError, Invalid, NotLeading, ServerError, TooManyRequests, Unreachable

ILL: Key = ("a", "ill")
OTHERS: list[Key] = [("a", f"well{number}") for number in range(20)]
FULL = ServerError("etcd is full", status=500)


class Reconciling:
    """Plays the reconciler: some objects always fail, and the status of some cannot be told."""

    def __init__(self, error: Exception, *ill: Key, untellable: Exception | None = None) -> None:
        self.error = error
        self.ill = ill or (ILL,)
        self.untellable = untellable
        self.visit = Visit()
        self.done: list[Key] = []
        self.stalled: list[tuple[Key, str, bool]] = []

    async def reconcile(self, key: Key) -> Visit:
        if key in self.ill:
            raise self.error
        self.done.append(key)
        return self.visit

    async def stall(self, key: Key, cause: str, *, decided: bool) -> None:
        if decided and self.untellable is not None:
            raise self.untellable
        self.stalled.append((key, cause, decided))


class Looking:
    """Plays the inquiries, which fail or not."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault

    def look(self, key: Key) -> None:
        if self.fault is not None and key == ILL:
            raise self.fault


def hasty() -> WorkQueue[Key]:
    return WorkQueue[Key](pauses=Pauses(first_s=0.001, last_s=0.002))


async def work_for(
    reconciling: Reconciling,
    queue: WorkQueue[Key],
    until: Callable[[], object],
    *,
    looking: Looking | None = None,
    since_write_s: float = math.inf,
) -> Metrics:
    metrics = Metrics()
    made = Worker(
        queue,
        cast("Reconciler", reconciling),
        cast("Inquiries", looking or Looking()),
        metrics,
        Blame(lambda: since_write_s),
    )
    tasks = [asyncio.create_task(made.run()) for _ in range(2)]
    try:
        async with asyncio.timeout(5):
            while not until():
                assert not any(task.done() for task in tasks), "a worker ended"
                await asyncio.sleep(0.005)
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)
        queue.close()
    return metrics


def counted(metrics: Metrics, result: str) -> float:
    return metrics.registry.get_sample_value("llmfleet_reconciles_total", {"result": result}) or 0.0


@pytest.mark.parametrize(
    ("error", "words", "decided"),
    [(FULL, "etcd is full", True), (KeyError("x"), "a fault in llmfleet itself (KeyError: 'x')", False)],
    ids=["the API server", "a bug"],
)
async def test_what_fails_for_long_is_told_and_the_others_go_on(
    error: Exception, words: str, *, decided: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_STALLED_AFTER", (3, 0.05))
    queue = WorkQueue[Key](pauses=Pauses(first_s=0.01, last_s=0.02))
    for key in (ILL, *OTHERS):
        queue.add(key)
    reconciling = Reconciling(error)
    await work_for(reconciling, queue, lambda: reconciling.stalled and len(reconciling.done) == 20)
    key, cause, was_decided = reconciling.stalled[0]
    assert (key, was_decided) == (ILL, decided)
    assert words in cause
    assert queue.failing == 1


@pytest.mark.parametrize(
    ("error", "untellable", "looking"),
    [
        (FULL, AttributeError("nonsense in a view"), None),
        (KeyError("x"), None, AttributeError("nonsense in a pod")),
    ],
    ids=["telling it", "looking at its pods"],
)
async def test_a_bug_in_what_follows_a_reconcile_ends_nobody(
    error: Exception, untellable: Exception | None, looking: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_STALLED_AFTER", (2, 0.0))
    queue = hasty()
    for key in (ILL, *OTHERS):
        queue.add(key)
    reconciling = Reconciling(error, untellable=untellable)
    await work_for(
        reconciling, queue, lambda: reconciling.stalled and len(reconciling.done) == 20, looking=Looking(looking)
    )
    assert {decided for _, _, decided in reconciling.stalled} == {False}, "told without what fails"


async def test_one_that_cannot_be_told_of_at_all_keeps_its_pauses_and_ends_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "_STALLED_AFTER", (2, 0.0))
    queue, reconciling = hasty(), Reconciling(FULL)

    async def stall(*_: object, decided: bool) -> None:
        raise AttributeError(f"nonsense, {decided}")

    reconciling.stall = stall  # type: ignore[method-assign]
    for key in (ILL, *OTHERS):
        queue.add(key)
    metrics = await work_for(reconciling, queue, lambda: queue.failures(ILL) > 5 and len(reconciling.done) == 20)
    assert counted(metrics, "ok") == 20
    assert counted(metrics, "error") > 0


@pytest.mark.parametrize(
    ("error", "count", "since_write_s", "told"),
    [
        (NotLeading("lost"), 1, 0.0, False),
        (Unreachable("no answer in 35 s"), 1, math.inf, True),
        (Unreachable("refused"), 10, math.inf, False),
        (Unreachable("no answer in 35 s"), 10, 0.0, True),
        (TooManyRequests("slow down", status=429), 1, 0.0, True),
        (TooManyRequests("slow down", status=429), 10, 0.0, False),
        (FULL, 10, 0.0, False),
        (Invalid("spec.replicas", status=422), 10, 0.0, True),
    ],
    ids=[
        "not leading",
        "one that is not answered",
        "nobody is answered",
        "others are answered",
        "one is asked to wait",
        "all are asked to wait",
        "a fault of the API server",
        "all wrong",
    ],
)
async def test_what_concerns_no_object_is_told_on_none(
    error: ApiError, count: int, since_write_s: float, *, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_STALLED_AFTER", (3, 0.0001))
    queue, ill = hasty(), [("a", f"ill{number}") for number in range(count)]
    for key in ill:
        queue.add(key)
    reconciling = Reconciling(error, *ill)
    await work_for(
        reconciling, queue, lambda: all(queue.failures(key) > 10 for key in ill), since_write_s=since_write_s
    )
    assert bool(reconciling.stalled) is told


async def test_a_refusal_is_counted_as_one_and_looked_at_again() -> None:
    queue, reconciling = hasty(), Reconciling(FULL)
    reconciling.visit = Visit(0.01, refused=True)
    queue.add(OTHERS[0])
    metrics = await work_for(reconciling, queue, lambda: len(reconciling.done) >= 2)
    assert counted(metrics, "refused") >= 2
    assert counted(metrics, "ok") == 0
