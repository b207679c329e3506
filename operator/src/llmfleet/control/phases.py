"""What starting engines do: asked of their launchers, pod by pod, only while a pod starts.

The launcher has no way to tell the API server, and asking costs one small request every few seconds, so this is the
one thing that is polled. An operator outside the cluster does not reach pods: then no phase is told.
"""

import asyncio
import json
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
_MOST_BYTES: Final = 4096
_TOLD: Final = frozenset({"Checking", "Starting", "LoadingWeights", "Compiling", "WarmingUp"})
"""Phases worth a word. Of those that follow, Kubernetes tells itself, and other words are no launcher's."""


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
        """Return which phase of a start a launcher tells, or nothing.

        Whoever answers runs an image of the user's choice: it is not followed elsewhere, not read to the end, and
        nothing but a phase that is known gets from here into a status.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT, auto_decompress=False)
        try:
            async with self._session.get(f"http://{address}/state", allow_redirects=False) as response:
                said = json.loads(await _beginning(response.content))["phase"]
                return said if said in _TOLD else ""
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            log.debug("the launcher at %s does not tell its phase: %r", address, error)
            return ""


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    """Read an answer up to the most that a launcher would say."""
    try:
        return await content.readexactly(_MOST_BYTES)
    except asyncio.IncompleteReadError as whole:
        return whole.partial


def _starting(pod: PodView) -> bool:
    return pod.running and not pod.ready and not pod.deleting and bool(pod.probe)
