"""What starting engines do: asked of their launchers, pod by pod, only while a pod starts.

The launcher has no way to tell the API server, and asking costs one small request every few seconds, so this is the
one thing that is polled. An operator outside the cluster does not reach pods: then no phase is told.
"""

import asyncio
import logging
from functools import partial
from typing import Final

import aiohttp

from llmfleet.control.cache import Cache, Key
from llmfleet.observe.views import PodView

log = logging.getLogger(__name__)

_EVERY_S: Final = 2.0
_UNREACHABLE_EVERY_S: Final = 15.0
_TIMEOUT: Final = aiohttp.ClientTimeout(total=1.0)


class PhaseReader:
    """Reads the phases of starting engines into the cache.

    Args:
        cache: knows the pods and takes the phases.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._session: aiohttp.ClientSession | None = None

    def look(self, key: Key) -> None:
        """Begin to ask the starting engines of an LLMDeployment that are not asked yet."""
        snapshot = self._cache.snapshot(key)
        for pod in snapshot.pods if snapshot else ():
            if _starting(pod) and pod.uid not in self._tasks:
                task = asyncio.create_task(self._follow(key, pod), name=f"phase of {pod.name}")
                self._tasks[pod.uid] = task
                task.add_done_callback(partial(self._ended, pod.uid))

    async def close(self) -> None:
        """Stop asking."""
        for task in tuple(self._tasks.values()):
            task.cancel()
        if self._session is not None:
            await self._session.close()

    def _ended(self, pod_uid: str, _: asyncio.Task[None]) -> None:
        del self._tasks[pod_uid]

    async def _follow(self, key: Key, pod: PodView) -> None:
        """Ask one launcher until its pod is ready, gone or another one."""
        while True:
            snapshot = self._cache.snapshot(key)
            now = next((other for other in snapshot.pods if other.uid == pod.uid), None) if snapshot else None
            if now is None or not _starting(now):
                self._cache.set_phase(key, pod.uid, "")
                return
            phase = await self._ask(now.probe)
            self._cache.set_phase(key, pod.uid, phase)
            await asyncio.sleep(_EVERY_S if phase else _UNREACHABLE_EVERY_S)

    async def _ask(self, address: str) -> str:
        """Return what a launcher says it does, or nothing where it does not answer."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT)
        try:
            async with self._session.get(f"http://{address}/state") as response:
                said = await response.json()
                return str(said["phase"])
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError) as error:
            log.debug("the launcher at %s does not tell its phase: %r", address, error)
            return ""


def _starting(pod: PodView) -> bool:
    return pod.running and not pod.ready and not pod.deleting and bool(pod.probe)
