"""What starting engines do: asked of their launchers, which have no way to tell the API server.

One small request every few seconds, less often when very many start. An operator outside the cluster does not reach
pods: then no phase is told.
"""

import asyncio
import json
import logging
from typing import Final

import aiohttp

from llmfleet.control.cache import Cache, Key
from llmfleet.observe.views import PodView

log = logging.getLogger(__name__)

_EVERY_S: Final = 2.0
_UNREACHABLE_EVERY_S: Final = 15.0
_PER_S: Final = 50.0
"""How often all launchers together are asked at most."""
_IN_FLIGHT: Final = 32
_TIMEOUT: Final = aiohttp.ClientTimeout(total=1.0)
_MOST_BYTES: Final = 4096
_TOLD: Final = frozenset({"Checking", "Starting", "LoadingWeights", "Compiling", "WarmingUp"})
"""Phases worth a word. Of those that follow, Kubernetes tells itself, and other words are no launcher's."""


class Phases:
    """Asks the launchers of starting engines for their phase; an `Inquiry`.

    Args:
        cache: takes the phases.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._session: aiohttp.ClientSession | None = None
        self._turns = asyncio.Semaphore(_IN_FLIGHT)
        self._silent: dict[str, int] = {}
        """How often in a row a launcher did not answer, by pod uid, of all that are asked."""

    def concerns(self, pod: PodView) -> bool:
        """Say whether a pod's engine starts."""
        return pod.running and not pod.ready and not pod.deleting and bool(pod.probe)

    async def ask(self, key: Key, pod: PodView) -> float:
        """Ask one launcher; return after how many seconds to ask again. One answer may be missed."""
        async with self._turns:
            phase = await self._phase(pod.probe)
        self._silent[pod.uid] = 0 if phase is not None else self._silent.get(pod.uid, 0) + 1
        if self._silent[pod.uid] != 1:
            self._cache.set_phase(key, pod.uid, phase or "")
        every_s = _EVERY_S if phase or self._silent[pod.uid] == 1 else _UNREACHABLE_EVERY_S
        return max(every_s, len(self._silent) / _PER_S)

    def forget(self, key: Key, pod_uid: str) -> None:
        """Take back the phase of a pod."""
        self._silent.pop(pod_uid, None)
        self._cache.set_phase(key, pod_uid, "")

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _phase(self, address: str) -> str | None:
        """Return which phase of a start a launcher tells, empty for none, or None where there is no answer.

        Whoever answers runs an image of the user's choice: it is not followed elsewhere, not read to the end, and
        nothing but a phase that is known gets from here into a status.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT, auto_decompress=False)
        try:
            async with self._session.get(f"http://{address}/state", allow_redirects=False) as response:
                said = json.loads(await _beginning(response.content))["phase"]
                return said if said in _TOLD else ""
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.debug("the launcher at %s does not answer: %r", address, error)
            return None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            log.debug("the launcher at %s does not tell its phase: %r", address, error)
            return ""


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    """Read an answer up to the most that a launcher would say."""
    try:
        return await content.readexactly(_MOST_BYTES)
    except asyncio.IncompleteReadError as whole:
        return whole.partial
