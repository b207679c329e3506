"""Compares the LLMDeployments that are known with those that there are, whenever something may have been missed.

kopf tells no deletion that happened while it listed anew, so that a deleted LLMDeployment would stay known for ever.
The comparison costs one listing of metadata, so it is made when there is a cause (see `kube.wiretap`), and every
ten minutes for what nobody noticed. While none is known it is made every ten seconds, which costs nothing then: the
watch of a kind that was deleted and installed anew stays open for two minutes and tells nothing. Before everything was
listed for the first time there is nothing to compare.

Versions are compared and not generations, which annotations do not raise. What is on its way (the echo of a status,
above all) gets some time to arrive; what was missed is fetched, and when that is much it is left to whoever follows,
who begins anew and tells everything.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Sequence
from typing import Final, NoReturn

from llmfleet.api.names import KIND
from llmfleet.control.cache import Cache, Key
from llmfleet.kube.client import Client
from llmfleet.kube.errors import ApiError, Forbidden, NotFound
from llmfleet.kube.resources import RESOURCES, Ref, version_of

log = logging.getLogger(__name__)

_ANYWAY_S: Final = (540.0, 660.0)
_EMPTY_S: Final = (8.0, 12.0)
_AGAIN_S: Final = 3.0
_SHARE: Final = 0.05
"""Sweeps take at most this share of the time, however often there is a cause."""
_ON_ITS_WAY_S: Final = 3.0
"""What is listed and not known yet may be told in this time, before it counts as missed."""
_FETCHED: Final = 20


class Sweep:
    """Finds LLMDeployments that are known and gone, and those that changed without our being told.

    Args:
        client: to list.
        cache: what is known.
        namespaces: which to look at; empty means all.

    Attributes:
        healed: how many differences were found so far.
        refused: namespaces that did not let themselves be listed the last time.
        distrust: set when whoever follows has to begin anew: the kind is gone, or something was never told.
    """

    def __init__(self, client: Client, cache: Cache, namespaces: Sequence[str]) -> None:
        self._client = client
        self._cache = cache
        self._namespaces = namespaces
        self._cause = asyncio.Event()
        self._listing_s = 0.0
        self.healed = 0
        self.refused: frozenset[str] = frozenset()
        self.distrust = asyncio.Event()

    def doubt(self, why: str) -> None:
        """Ask for a comparison soon."""
        log.info("the LLMDeployments are compared with what the API server has: %s", why)
        self._cause.set()

    async def run(self, synced: asyncio.Event) -> NoReturn:
        """Compare when asked, until cancelled.

        Args:
            synced: set once everything was listed for the first time.
        """
        await synced.wait()
        while True:
            await self._wait()
            self._cause.clear()
            try:
                await self.compare()
            except NotFound:
                log.info("there is no such kind at present")
                self.distrust.set()
            except ApiError as error:
                log.warning("the LLMDeployments could not be compared, trying again: %s", error)
                self._cause.set()
            await asyncio.sleep(max(_AGAIN_S, self._listing_s / _SHARE))

    async def _wait(self) -> None:
        """Wait for a cause. Whether any is known can change while it waits."""
        begin, anyway_s = time.monotonic(), random.uniform(*_ANYWAY_S)  # noqa: S311 - spreads the load
        while True:
            try:
                async with asyncio.timeout(random.uniform(*_EMPTY_S)):  # noqa: S311
                    await self._cause.wait()
            except TimeoutError:
                if len(self._cache) and time.monotonic() - begin < anyway_s:
                    continue
            return

    async def compare(self) -> None:
        """Forget what is gone, fetch what was missed. Of a namespace that refuses us nothing is said.

        Raises:
            ApiError: The API server could not be asked.
        """
        known = self._cache.uids()
        there, self.refused = await self._listed()
        for key, uid in known.items():
            # Known before the listing began and not in it: this very object is gone.
            if key[0] not in self.refused and there.get(key, ("", 0))[0] != uid and self._cache.drop(key, uid):
                self.healed += 1
                log.warning("LLMDeployment %s/%s is gone, and we were not told", *key)
        if self._behind(there):
            await asyncio.sleep(_ON_ITS_WAY_S)
        for key in self._behind(there)[:_FETCHED]:
            with contextlib.suppress(NotFound):
                self._cache.put(await self._client.get(Ref.to(KIND, key[1], key[0])))
                self.healed += 1
                self.distrust.set()
                log.warning("LLMDeployment %s/%s changed, and we were not told", *key)

    def _behind(self, there: dict[Key, tuple[str, int]]) -> list[Key]:
        """Return what is not known, or not as it is now."""
        return [key for key, (_, version) in there.items() if self._cache.told(key) < version]

    async def _listed(self) -> tuple[dict[Key, tuple[str, int]], frozenset[str]]:
        """Return uid and version of every LLMDeployment there is, and the namespaces that refuse to tell."""
        found: dict[Key, tuple[str, int]] = {}
        refused: set[str] = set()
        begin = time.monotonic()
        for namespace in self._namespaces or (None,):
            try:
                async for item in self._client.list(RESOURCES[KIND], namespace, metadata_only=True):
                    metadata = item["metadata"]
                    found[metadata["namespace"], metadata["name"]] = metadata["uid"], version_of(item)
            except Forbidden:
                if namespace is None:
                    raise
                refused.add(namespace)
        self._listing_s = time.monotonic() - begin
        return found, frozenset(refused)
