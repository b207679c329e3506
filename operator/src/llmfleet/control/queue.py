"""The work queue: which objects wait to be reconciled, each at most once, each by one worker at a time.

The semantics are those of client-go's rate-limiting work queue. A key that is added again while it waits changes
nothing; one that is added while a worker has it is handed out again afterwards. The queue knows nothing about what a
key means or what is done with it.

*Fairness.* Every key has a lane, and of one lane only so many keys are handed out at a time: those whose work hangs
keep no worker from the keys of other lanes.

*Failures.* Pauses grow per key, exponentially, with jitter, up to one that is short enough to notice soon that a cause
is gone; when very many keys fail, it grows with their number, so that all together they are tried at a bounded rate.
What is refused, and may be otherwise without our being told, is tried at a slower bounded rate. A success of one that
failed, or was refused, wakes two more: if their cause was the same all are back soon, and if it was not, that ends
by itself. Whatever happens, nobody is tried before the time for which the other side asked.

    key = await queue.get()
    try:
        await reconcile(key)
    except ...:
        queue.retry(key)
    else:
        queue.forget(key)
    finally:
        queue.done(key)
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections import Counter, defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

K = TypeVar("K", bound="Hashable")

_MAX_DOUBLINGS = 60  # 2.0 ** n must stay finite however often a key fails
_WAKES = 2


class Timer(Protocol):
    """A scheduled call."""

    def cancel(self) -> None:
        """Forget the call."""


class TimeSource(Protocol):
    """Monotonic time and calls at a later time; an asyncio event loop is one."""

    def time(self) -> float:
        """Return seconds since some moment."""

    def call_at(self, when: float, callback: Callable[..., object], *args: object) -> Timer:
        """Call back once `time()` has reached `when`."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long what failed waits.

    Attributes:
        first_s: after a key's first failure, in seconds; doubled by each further one in a row.
        last_s: the longest while few keys fail.
        retries_per_s: how often all failing keys together are tried at most, apart from their first few attempts.
        refusals_per_s: how often all refused keys together are tried at most.
        jitter: share of a pause that is random (0-1); keys that failed together come back apart.
    """

    first_s: float = 0.25
    last_s: float = 20.0
    retries_per_s: float = 20.0
    refusals_per_s: float = 5.0
    jitter: float = 0.5


class WorkQueue(Generic[K]):
    """A deduplicating queue of keys. Made and used inside one event loop; it is not for threads.

    Args:
        lane: which lane a key belongs to; by default all are in one.
        at_once: how many keys of one lane are handed out at a time; by default as many as are asked for.
        pauses: how long what failed waits.
        rng: where the randomness comes from.
        times: the clock; by default the running event loop.
    """

    def __init__(
        self,
        *,
        lane: Callable[[K], Hashable] = lambda _: None,
        at_once: float = math.inf,
        pauses: Pauses | None = None,
        rng: random.Random | None = None,
        times: TimeSource | None = None,
    ) -> None:
        self._times: TimeSource = times if times is not None else asyncio.get_running_loop()
        self._lane = lane
        self._at_once = at_once
        self._pauses = pauses if pauses is not None else Pauses()
        self._rng = rng if rng is not None else random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._waiting: dict[K, float] = {}
        self._processing: dict[K, float] = {}
        self._scheduled: dict[K, tuple[float, Timer]] = {}
        self._failures: dict[K, tuple[int, float]] = {}
        self._refused: set[K] = set()
        self._not_before: dict[K, float] = {}
        self._asleep: dict[K, None] = {}
        """Those in a pause, in the order in which they began it."""
        self._in_lane: Counter[Hashable] = Counter()
        """How many keys of a lane are handed out, or about to be."""
        self._behind: defaultdict[Hashable, deque[K]] = defaultdict(deque)

    def add(self, key: K) -> None:
        """Ask for a key to be worked on, now or, if a worker has it, once more when that worker is done."""
        if key in self._waiting:
            return
        wait_s = self._not_before.get(key, 0.0) - self._times.time()
        if wait_s > 0:
            self.add_after(key, wait_s)
            return
        self._asleep.pop(key, None)
        self._waiting[key] = self._times.time()
        if key not in self._processing:
            self._line_up(key)

    def add_after(self, key: K, delay_s: float) -> None:
        """Add a key after a delay in seconds. Of several wishes for one key the earliest counts."""
        if delay_s <= 0:
            self.add(key)
            return
        due = self._times.time() + delay_s
        if key in self._scheduled:
            earlier, timer = self._scheduled[key]
            if earlier <= due:
                return
            timer.cancel()
        self._scheduled[key] = (due, self._times.call_at(due, self._come_due, key))

    def retry(self, key: K, *, at_least_s: float = 0.0) -> float:
        """Note a failure and add the key again after its pause.

        Args:
            key: what failed.
            at_least_s: what the other side asked for (Retry-After); the key is not handed out sooner, whoever adds it.

        Returns:
            The pause in seconds.
        """
        before, since = self._failures.get(key, (0, self._times.time()))
        self._failures[key] = (before + 1, since)
        pauses = self._pauses
        longest_s = max(pauses.last_s, len(self._failures) / pauses.retries_per_s)
        pause_s = self._jittered(min(longest_s, pauses.first_s * 2.0 ** min(before, _MAX_DOUBLINGS)))
        if at_least_s > 0:
            self._not_before[key] = self._times.time() + at_least_s
            if key in self._processing:
                self._waiting.pop(key, None)
        return self._sleep(key, max(pause_s, at_least_s))

    def refused(self, key: K, again_s: float) -> float:
        """Note that a key was worked on, as far as it is let, and add it again after a pause.

        Args:
            key: what is refused.
            again_s: when it may be otherwise, in seconds; the pause is longer where many are refused.

        Returns:
            The pause in seconds.
        """
        if self._recover(key):
            self._wake()
        self._refused.add(key)
        return self._sleep(key, max(again_s, self._jittered(len(self._refused) / self._pauses.refusals_per_s)))

    def forget(self, key: K) -> None:
        """Note a success: the next failure of this key counts as its first."""
        refused = key in self._refused
        self._refused.discard(key)
        if self._recover(key) or refused:
            self._wake()

    async def get(self) -> K:
        """Wait for a key and take it. The taker calls `done` when finished, whatever happened."""
        key = await self._ready.get()
        del self._waiting[key]
        self._processing[key] = self._times.time()
        return key

    def done(self, key: K) -> None:
        """Give a key back; if it was added meanwhile it waits again at once.

        Raises:
            KeyError: nobody has taken the key.
        """
        del self._processing[key]
        self._let_on(self._lane(key))
        if key in self._waiting:
            self._line_up(key)

    def failures(self, key: K) -> int:
        """How often in a row a key failed."""
        return self._failures.get(key, (0, 0.0))[0]

    def failing_s(self, key: K) -> float:
        """How long ago the first of a key's failures in a row was, in seconds; 0 when it does not fail."""
        return self._times.time() - self._failures[key][1] if key in self._failures else 0.0

    @property
    def failing(self) -> int:
        """How many keys failed when they were last worked on."""
        return len(self._failures)

    @property
    def depth(self) -> int:
        """How many keys wait for a worker; those in a pause, and those that a worker has, excluded."""
        return len(self._waiting) - sum(key in self._waiting for key in self._processing)

    def oldest_s(self) -> float:
        """How long the key that waits longest for a worker has waited, in seconds; 0 when none waits."""
        since = (since for key, since in self._waiting.items() if key not in self._processing)
        now = self._times.time()
        return now - min(since, default=now)

    def longest_run_s(self) -> float:
        """How long the slowest worker has been at its key, in seconds; 0 when none works."""
        return self._times.time() - min(self._processing.values()) if self._processing else 0.0

    def close(self) -> None:
        """Drop every scheduled key, so that no timer outlives the queue. Waiting keys can still be taken."""
        for _, timer in self._scheduled.values():
            timer.cancel()
        self._scheduled.clear()

    def _line_up(self, key: K) -> None:
        """Let a key that waits be handed out, or wait for its lane's turn."""
        lane = self._lane(key)
        if self._in_lane[lane] < self._at_once:
            self._in_lane[lane] += 1
            self._ready.put_nowait(key)
        else:
            self._behind[lane].append(key)

    def _let_on(self, lane: Hashable) -> None:
        """Give a place in a lane that became free to the next."""
        behind = self._behind.get(lane)
        if behind:
            self._ready.put_nowait(behind.popleft())
            return
        self._behind.pop(lane, None)
        self._in_lane[lane] -= 1
        if not self._in_lane[lane]:
            del self._in_lane[lane]

    def _jittered(self, pause_s: float) -> float:
        return pause_s * (1.0 - self._pauses.jitter * self._rng.random())

    def _sleep(self, key: K, pause_s: float) -> float:
        self._asleep.pop(key, None)
        if key not in self._waiting:
            self._asleep[key] = None
        self.add_after(key, pause_s)
        return pause_s

    def _recover(self, key: K) -> bool:
        """Forget the failures of a key; return whether there were any."""
        self._asleep.pop(key, None)
        self._not_before.pop(key, None)
        return self._failures.pop(key, None) is not None

    def _wake(self) -> None:
        """Add those again that have slept longest, though their pause is not over."""
        for key in tuple(itertools.islice(self._asleep, _WAKES)):
            del self._asleep[key]
            self.add(key)

    def _come_due(self, key: K) -> None:
        del self._scheduled[key]
        self.add(key)
