"""The work queue: which objects wait to be reconciled, each at most once, each by one worker at a time.

The semantics are those of client-go's rate-limiting work queue. A key that is added again while it waits changes
nothing; one that is added while a worker has it is handed out again afterwards. Failures back off per key,
exponentially, with jitter, up to a pause that is short enough to notice soon that a cause is gone; when very many keys
fail, it grows with their number, so that all together they are tried at a bounded rate. The queue knows nothing about
what a key means or what is done with it.

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
import random
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

K = TypeVar("K", bound="Hashable")

_MAX_DOUBLINGS = 60  # 2.0 ** n must stay finite however often a key fails


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


class WorkQueue(Generic[K]):
    """A deduplicating queue of keys. Made and used inside one event loop; it is not for threads.

    Args:
        first_s: pause after a key's first failure, in seconds; doubled by each further one in a row.
        last_s: the longest pause while few keys fail.
        retries_per_s: how often all failing keys together are tried at most, apart from their first few attempts.
        jitter: share of a pause that is random (0-1); keys that failed together come back apart.
        rng: where the randomness comes from.
        times: the clock; by default the running event loop.
    """

    def __init__(
        self,
        *,
        first_s: float = 0.25,
        last_s: float = 20.0,
        retries_per_s: float = 20.0,
        jitter: float = 0.5,
        rng: random.Random | None = None,
        times: TimeSource | None = None,
    ) -> None:
        self._times: TimeSource = times if times is not None else asyncio.get_running_loop()
        self._first_s = first_s
        self._last_s = last_s
        self._retries_per_s = retries_per_s
        self._jitter = jitter
        self._rng = rng if rng is not None else random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._waiting: dict[K, float] = {}
        self._processing: dict[K, float] = {}
        self._scheduled: dict[K, tuple[float, Timer]] = {}
        self._failures: dict[K, tuple[int, float]] = {}

    def add(self, key: K) -> None:
        """Ask for a key to be worked on, now or, if a worker has it, once more when that worker is done."""
        if key in self._waiting:
            return
        self._waiting[key] = self._times.time()
        if key not in self._processing:
            self._ready.put_nowait(key)

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
            at_least_s: what the other side asked for (Retry-After); the pause is not shorter.

        Returns:
            The pause in seconds.
        """
        before, since = self._failures.get(key, (0, self._times.time()))
        self._failures[key] = (before + 1, since)
        longest_s = max(self._last_s, len(self._failures) / self._retries_per_s)
        full_s = min(longest_s, self._first_s * 2.0 ** min(before, _MAX_DOUBLINGS))
        pause_s = max(full_s * (1.0 - self._jitter * self._rng.random()), at_least_s)
        self.add_after(key, pause_s)
        return pause_s

    def forget(self, key: K) -> None:
        """Note a success: the next failure of this key counts as its first."""
        self._failures.pop(key, None)

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
        if key in self._waiting:
            self._ready.put_nowait(key)

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
        """How many keys wait for a worker, those in a pause excluded."""
        return len(self._waiting)

    @property
    def paused(self) -> int:
        """How many keys are scheduled for later."""
        return len(self._scheduled)

    def oldest_s(self) -> float:
        """How long the key that waits longest has waited, in seconds; 0 when none waits."""
        return self._times.time() - min(self._waiting.values()) if self._waiting else 0.0

    def longest_run_s(self) -> float:
        """How long the slowest worker has been at its key, in seconds; 0 when none works."""
        return self._times.time() - min(self._processing.values()) if self._processing else 0.0

    def close(self) -> None:
        """Drop every scheduled key, so that no timer outlives the queue. Waiting keys can still be taken."""
        for _, timer in self._scheduled.values():
            timer.cancel()
        self._scheduled.clear()

    def _come_due(self, key: K) -> None:
        del self._scheduled[key]
        self.add(key)
