import asyncio
import heapq
import itertools
import random
from collections.abc import Callable, Hashable
from typing import TypeVar, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llmfleet.control.queue import Pauses, WorkQueue

Key = TypeVar("Key", bound=Hashable)
KEYS = ("a", "b", "c")


class FakeTimer:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeTime:
    def __init__(self) -> None:
        self.now = 0.0
        self._calls: list[tuple[float, int, FakeTimer, Callable[[], object]]] = []
        self._numbers = itertools.count()

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[..., object], *args: object) -> FakeTimer:
        timer = FakeTimer()
        heapq.heappush(self._calls, (when, next(self._numbers), timer, lambda: callback(*args)))
        return timer

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._calls and self._calls[0][0] <= end:
            self.now, _, timer, call = heapq.heappop(self._calls)
            if not timer.cancelled:
                call()
        self.now = end

    @property
    def pending(self) -> int:
        return sum(not timer.cancelled for _, _, timer, _ in self._calls)


def take(queue: WorkQueue[Key]) -> Key | None:
    """Take a key if one is ready, without an event loop."""
    if queue._ready.empty():
        return None
    try:
        queue.get().send(None)
    except StopIteration as got:
        return cast("Key", got.value)
    raise AssertionError("get() waited although a key was ready")


def test_a_key_added_twice_is_handed_out_once() -> None:
    queue = WorkQueue[str](times=FakeTime())
    queue.add("a")
    queue.add("b")
    queue.add("a")
    assert queue.depth == 2
    assert [take(queue), take(queue), take(queue)] == ["a", "b", None]


def test_a_key_added_while_worked_on_comes_again_only_after_done() -> None:
    queue = WorkQueue[str](times=FakeTime())
    queue.add("a")
    assert take(queue) == "a"
    queue.add("a")
    queue.add("a")
    assert queue.depth == 0, "it waits for no worker: one has it"
    assert take(queue) is None
    queue.done("a")
    assert queue.depth == 1
    assert take(queue) == "a"
    queue.done("a")
    assert take(queue) is None
    assert queue.depth == 0


def test_done_without_get_is_an_error() -> None:
    with pytest.raises(KeyError):
        WorkQueue[str](times=FakeTime()).done("a")


def test_of_several_delays_the_earliest_counts() -> None:
    time = FakeTime()
    queue = WorkQueue[str](times=time)
    for delay_s in (5.0, 2.0, 9.0):
        queue.add_after("a", delay_s)
    assert time.pending == 1
    time.advance(1.9)
    assert take(queue) is None
    time.advance(0.2)
    assert take(queue) == "a"
    queue.done("a")
    time.advance(100)
    assert take(queue) is None
    assert time.pending == 0


def test_no_delay_means_now() -> None:
    queue = WorkQueue[str](times=FakeTime())
    queue.add_after("a", 0)
    assert take(queue) == "a"


def test_failures_back_off_exponentially_up_to_a_limit_and_success_forgets() -> None:
    queue = WorkQueue[str](pauses=Pauses(first_s=1.0, last_s=10.0, jitter=0.0), times=FakeTime())
    assert [queue.retry("a") for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert queue.retry("b") == 1.0
    assert queue.failures("a") == 6
    queue.forget("a")
    assert queue.failures("a") == 0
    assert queue.retry("a") == 1.0


def test_a_thousand_failures_do_not_overflow() -> None:
    queue = WorkQueue[str](times=FakeTime())
    for _ in range(3000):
        pause_s = queue.retry("a")
    assert 10 <= pause_s <= 20


def test_many_failing_keys_are_tried_at_a_bounded_rate() -> None:
    time = FakeTime()
    queue = WorkQueue[int](pauses=Pauses(1.0, 10.0, retries_per_s=20.0, jitter=0.0), times=time)
    for _ in range(20):
        pauses = [queue.retry(key) for key in range(1000)]
    assert set(pauses) == {50.0}
    assert queue.failing == 1000
    for key in range(999):
        queue.forget(key)
    assert queue.retry(999) == 10.0


def test_since_when_a_key_fails_is_known() -> None:
    time = FakeTime()
    queue = WorkQueue[str](times=time)
    queue.retry("a")
    time.advance(40)
    queue.retry("a")
    assert (queue.failing_s("a"), queue.failing_s("b")) == (40, 0)
    queue.forget("a")
    assert queue.failing_s("a") == 0


def test_jitter_takes_up_to_its_share_off_a_pause() -> None:
    queue = WorkQueue[int](pauses=Pauses(1.0, 1.0, jitter=0.4), rng=random.Random(1), times=FakeTime())
    pauses = [queue.retry(key) for key in range(200)]
    assert 0.6 <= min(pauses) < 0.63
    assert 0.97 < max(pauses) <= 1.0


def test_retry_after_of_the_server_is_respected() -> None:
    time = FakeTime()
    queue = WorkQueue[str](times=time)
    assert queue.retry("a", at_least_s=30.0) == 30.0
    time.advance(29.9)
    assert take(queue) is None
    time.advance(0.1)
    assert take(queue) == "a"


def test_retry_after_of_the_server_holds_for_whoever_adds_the_key() -> None:
    time = FakeTime()
    queue = WorkQueue[str](times=time)
    queue.retry("a", at_least_s=2.0)
    queue.add("a")
    queue.add_after("a", 1.0)
    time.advance(1.9)
    assert take(queue) is None
    time.advance(0.1)
    assert take(queue) == "a"


def test_retry_after_of_the_server_holds_for_a_key_that_was_added_meanwhile() -> None:
    time = FakeTime()
    queue = WorkQueue[str](times=time)
    queue.add("a")
    assert take(queue) == "a"
    queue.add("a")
    queue.retry("a", at_least_s=2.0)
    queue.done("a")
    assert take(queue) is None
    time.advance(2)
    assert take(queue) == "a"


def test_a_success_wakes_those_that_failed_alike_until_all_are_back() -> None:
    """A thousand failed, each waits for up to 50 s; then the cause is gone."""
    time = FakeTime()
    queue = WorkQueue[int](times=time, rng=random.Random(0))
    for _ in range(20):
        for key in range(1000):
            queue.retry(key)
    begin, tries = time.now, 0
    while queue.failing:
        time.advance(0.1)
        for key in [key for _ in range(32) if (key := take(queue)) is not None]:
            tries += 1
            queue.forget(key)
            queue.done(key)
    assert time.now - begin < 10
    assert tries == 1000


def test_a_success_amid_failures_that_go_on_is_no_storm() -> None:
    time = FakeTime()
    queue = WorkQueue[int](times=time, rng=random.Random(0))
    tries = 0
    for key in range(1000):
        queue.add(key)
    for second in range(600):
        while (key := take(queue)) is not None:
            tries += second >= 300
            if key % 50 == 0 and queue.failures(key):
                queue.forget(key)
                queue.add_after(key, 1.0)
            else:
                queue.retry(key)
            queue.done(key)
        time.advance(1)
    assert tries / 300 < 100, "twenty a second, the twenty that come and go, and what their successes wake"


def test_what_is_refused_is_tried_again_at_a_rate_that_does_not_grow_with_the_fleet() -> None:
    time = FakeTime()
    queue = WorkQueue[int](times=time, rng=random.Random(0))
    assert queue.refused(-1, 20.0) == 20.0
    for key in range(5000):
        queue.refused(key, 20.0)
    tries = 0
    for second in range(4000):
        time.advance(1)
        while (key := take(queue)) is not None:
            tries += second >= 2000
            queue.refused(key, 20.0)
            queue.done(key)
    assert 2 < tries / 2000 < 8
    queue.add(7)
    assert take(queue) == 7, "a change of the object itself does not wait"


def test_when_one_is_refused_no_more_the_others_are_tried_too() -> None:
    time = FakeTime()
    queue = WorkQueue[int](times=time)
    for key in range(100):
        queue.refused(key, 20.0)
    queue.add(0)
    tried = []
    while (key := take(queue)) is not None:
        tried.append(key)
        queue.forget(key)
        queue.done(key)
    assert sorted(tried) == list(range(100))


def test_one_lane_does_not_take_every_worker() -> None:
    queue = WorkQueue[str](lane=lambda key: key[0], at_once=2, times=FakeTime())
    for key in ("a1", "a2", "a3", "a4", "b1"):
        queue.add(key)
    assert [take(queue) for _ in range(4)] == ["a1", "a2", "b1", None]
    assert queue.depth == 2
    queue.add("a1")
    queue.done("a1")
    assert [take(queue), take(queue)] == ["a3", None]
    for key in ("a2", "a3", "b1"):
        queue.done(key)
    assert [take(queue), take(queue)] == ["a4", "a1"]


async def test_those_that_hang_keep_no_worker_from_the_others() -> None:
    """A namespace with a webhook that hangs, a hundred objects in it, and eight workers."""
    queue = WorkQueue[tuple[str, int]](lane=lambda key: key[0], at_once=2)
    made: list[tuple[str, int]] = []
    hanging = asyncio.Event()

    async def work() -> None:
        while True:
            key = await queue.get()
            if key[0] == "ill":
                await hanging.wait()
            made.append(key)
            queue.done(key)

    workers = [asyncio.create_task(work()) for _ in range(8)]
    try:
        for number in range(100):
            queue.add(("ill", number))
        for number in range(20):
            queue.add((f"well{number % 3}", number))
        async with asyncio.timeout(5):
            while len(made) < 20:  # noqa: ASYNC110 - the queue has no event for being empty
                await asyncio.sleep(0)
        hanging.set()
        async with asyncio.timeout(5):
            while len(made) < 120:  # noqa: ASYNC110
                await asyncio.sleep(0)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def test_an_event_does_not_wait_for_the_pause() -> None:
    queue = WorkQueue[str](times=FakeTime())
    queue.retry("a")
    queue.add("a")
    assert take(queue) == "a"


def test_ages_are_readable() -> None:
    time = FakeTime()
    queue = WorkQueue[str](times=time)
    assert (queue.oldest_s(), queue.longest_run_s()) == (0.0, 0.0)
    queue.add("a")
    time.advance(3)
    queue.add("b")
    time.advance(1)
    assert queue.oldest_s() == 4.0
    assert take(queue) == "a"
    assert queue.oldest_s() == 1.0
    time.advance(2)
    assert queue.longest_run_s() == 2.0
    queue.add("a")
    time.advance(2)
    assert queue.oldest_s() == 5.0
    assert take(queue) == "b"
    assert queue.oldest_s() == 0.0, "a waits for no worker: one has it"
    queue.done("a")
    queue.done("b")
    assert queue.longest_run_s() == 0.0


def test_close_cancels_what_is_scheduled() -> None:
    time = FakeTime()
    queue = WorkQueue[str](times=time)
    queue.add_after("a", 5)
    queue.close()
    assert time.pending == 0
    time.advance(10)
    assert take(queue) is None


async def test_workers_on_a_real_loop_never_share_a_key_and_miss_nothing() -> None:
    queue = WorkQueue[int](pauses=Pauses(first_s=0.001))
    wanted = dict.fromkeys(range(10), 0)
    seen = dict.fromkeys(range(10), -1)
    held: set[int] = set()

    async def work() -> None:
        while True:
            key = await queue.get()
            assert key not in held
            held.add(key)
            version = wanted[key]
            await asyncio.sleep(0)
            seen[key] = version
            held.remove(key)
            queue.done(key)

    async with asyncio.timeout(20):
        workers = [asyncio.create_task(work()) for _ in range(4)]
        rng = random.Random(7)
        for _ in range(500):
            key = rng.randrange(10)
            wanted[key] += 1
            queue.add(key)
            if rng.random() < 0.3:
                await asyncio.sleep(0)
        for key in range(10):
            queue.add(key)
        while queue.depth or held:  # noqa: ASYNC110 - the queue has no event for being empty
            await asyncio.sleep(0)
        for worker in workers:
            worker.cancel()
        results = await asyncio.gather(*workers, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    assert seen == wanted


async def test_a_cancelled_worker_loses_no_key() -> None:
    queue = WorkQueue[str]()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(5):
        assert await queue.get() == "a"


class QueueMachine(RuleBasedStateMachine):
    """Whatever is done to the queue: one worker per key, and no change of a key goes unworked."""

    def __init__(self) -> None:
        super().__init__()
        self.time = FakeTime()
        self.queue = WorkQueue[str](times=self.time, rng=random.Random(0))
        self.held: set[str] = set()
        self.owed: set[str] = set()
        self.due: dict[str, float] = {}
        self.failing: set[str] = set()
        self.asleep: list[str] = []

    @rule(key=st.sampled_from(KEYS))
    def add(self, key: str) -> None:
        self.queue.add(key)
        self.owe(key)

    def owe(self, key: str) -> None:
        self.owed.add(key)
        if key in self.asleep:
            self.asleep.remove(key)

    @rule(key=st.sampled_from(KEYS), delay_s=st.floats(0.1, 10.0))
    def add_after(self, key: str, delay_s: float) -> None:
        self.queue.add_after(key, delay_s)
        self.due[key] = min(self.due.get(key, float("inf")), self.time.now + delay_s)

    @rule(seconds=st.floats(0.0, 5.0))
    def wait(self, seconds: float) -> None:
        self.time.advance(seconds)
        for key in [key for key, due in self.due.items() if due <= self.time.now]:
            del self.due[key]
            self.owe(key)

    @precondition(lambda self: self.owed - self.held)
    @rule()
    def take(self) -> None:
        key = take(self.queue)
        assert key is not None
        assert key in self.owed - self.held
        self.owed.remove(key)
        self.held.add(key)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.held)))
        pause_s = self.queue.retry(key)
        self.due[key] = min(self.due.get(key, float("inf")), self.time.now + pause_s)
        self.failing.add(key)
        if key not in self.owed:
            self.asleep.append(key)
        self.queue.done(key)
        self.held.remove(key)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.held)))
        self.queue.forget(key)
        if key in self.failing:
            self.failing.remove(key)
            for other in self.asleep[:2]:
                self.owe(other)
        self.queue.done(key)
        self.held.remove(key)

    @invariant()
    def counts_agree(self) -> None:
        assert self.queue.depth == len(self.owed - self.held)
        assert self.time.pending == len(self.due)

    def teardown(self) -> None:
        for key in self.held:
            self.queue.done(key)
        left = set(iter(lambda: take(self.queue), None))
        assert left == self.owed


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
