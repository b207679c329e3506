"""What only others can tell about a pod: asked pod by pod, and only while the pod is in the state in which it matters.

This is all that is polled; everything else comes by watches.
"""

import asyncio
import logging
from functools import partial
from typing import Protocol

from llmfleet.control.cache import Cache, Key
from llmfleet.observe.views import PodView

log = logging.getLogger(__name__)


class Inquiry(Protocol):
    """One thing to ask about pods."""

    def concerns(self, pod: PodView) -> bool:
        """Say whether a pod is in a state in which its answer matters."""

    async def ask(self, key: Key, pod: PodView) -> float:
        """Ask about a pod of an LLMDeployment, tell the cache, and return after how many seconds to ask again."""

    def forget(self, key: Key, pod_uid: str) -> None:
        """Take back what the cache was told about a pod: it matters no more."""

    async def close(self) -> None:
        """Let go of what asking needed."""


class Inquiries:
    """Runs inquiries, one task for each pod that they concern.

    Args:
        cache: knows the pods.
        kinds: what to ask.
    """

    def __init__(self, cache: Cache, *kinds: Inquiry) -> None:
        self._cache = cache
        self._kinds = kinds
        self._tasks: dict[tuple[Inquiry, str], asyncio.Task[None]] = {}

    def look(self, key: Key) -> None:
        """Begin to ask about the pods of an LLMDeployment that need it and are not asked about yet."""
        for pod in self._cache.pods(key):
            for kind in self._kinds:
                mark = (kind, pod.uid)
                if mark not in self._tasks and kind.concerns(pod):
                    task = asyncio.create_task(self._follow(kind, key, pod.uid), name=f"ask about {pod.name}")
                    self._tasks[mark] = task
                    task.add_done_callback(partial(self._ended, mark))

    async def close(self) -> None:
        """Stop asking."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for kind in self._kinds:
            await kind.close()

    def _ended(self, mark: tuple[Inquiry, str], task: asyncio.Task[None]) -> None:
        """Forget a task; should a fault of ours have ended it, the next look at the LLMDeployment begins anew."""
        del self._tasks[mark]
        if not task.cancelled() and (fault := task.exception()) is not None:
            log.error("a fault in llmfleet itself: %s", task.get_name(), exc_info=fault)

    async def _follow(self, kind: Inquiry, key: Key, pod_uid: str) -> None:
        """Ask about one pod until it is in another state or gone."""
        while True:
            pod = self._now(key, pod_uid)
            if pod is None or not kind.concerns(pod):
                kind.forget(key, pod_uid)
                return
            await asyncio.sleep(await kind.ask(key, pod))

    def _now(self, key: Key, pod_uid: str) -> PodView | None:
        return next((pod for pod in self._cache.pods(key) if pod.uid == pod_uid), None)
