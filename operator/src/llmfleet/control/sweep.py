"""Compares the LLMDeployments that are known with those that there are, whenever something may have been missed.

kopf tells no deletion that happened while it listed anew, so that a deleted LLMDeployment would stay known for ever.
The comparison costs one listing of metadata, so it is made when there is a cause (see `kube.wiretap`), and every
ten minutes for what nobody noticed. While none is known it is made every ten seconds, which costs nothing then: the
watch of a kind that was deleted and installed anew stays open for two minutes and tells nothing.
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
from llmfleet.kube.errors import ApiError, NotFound
from llmfleet.kube.resources import RESOURCES, Ref

log = logging.getLogger(__name__)

_ANYWAY_S: Final = (540.0, 660.0)
_EMPTY_S: Final = (8.0, 12.0)
_AGAIN_S: Final = 3.0
_SHARE: Final = 0.05
"""Sweeps take at most this share of the time, however often there is a cause."""
_ON_ITS_WAY_S: Final = 3.0
"""What is listed and not known yet may be told in this time, before it counts as missed."""


class Sweep:
    """Finds LLMDeployments that are known and gone, and those that changed without our being told.

    Args:
        client: to list.
        cache: what is known.
        namespaces: which to look at; empty means all.

    Attributes:
        healed: how many differences were found so far.
        distrust: set when whoever follows has to begin anew: the kind is gone, or something was never told.
    """

    def __init__(self, client: Client, cache: Cache, namespaces: Sequence[str]) -> None:
        self._client = client
        self._cache = cache
        self._namespaces = namespaces
        self._cause = asyncio.Event()
        self._listing_s = 0.0
        self.healed = 0
        self.distrust = asyncio.Event()

    def doubt(self, why: str) -> None:
        """Ask for a comparison soon."""
        log.info("the LLMDeployments are compared with what the API server has: %s", why)
        self._cause.set()

    async def run(self) -> NoReturn:
        """Compare when asked, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                wait_s = random.uniform(*(_ANYWAY_S if len(self._cache) else _EMPTY_S))  # noqa: S311 - spreads the load
                async with asyncio.timeout(wait_s):
                    await self._cause.wait()
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

    async def compare(self) -> None:
        """Forget what is gone, fetch what was missed.

        Raises:
            ApiError: The API server could not be asked.
        """
        known, there = self._cache.identities(), await self._listed()
        for key, (uid, _) in known.items():
            # Known before the listing began and not in it: this very object is gone.
            if there.get(key, ("", 0))[0] != uid and self._cache.drop(key, uid):
                self.healed += 1
                log.warning("LLMDeployment %s/%s is gone, and we were not told", *key)
        if self._behind(there):
            await asyncio.sleep(_ON_ITS_WAY_S)
        for key in self._behind(there):
            with contextlib.suppress(NotFound):
                self._cache.put(await self._client.get(Ref.to(KIND, key[1], key[0])))
                self.healed += 1
                self.distrust.set()
                log.warning("LLMDeployment %s/%s changed, and we were not told", *key)

    def _behind(self, there: dict[Key, tuple[str, int]]) -> list[Key]:
        """Return what is not known, or not as it is now."""
        known = self._cache.identities()
        behind = []
        for key, (uid, generation) in there.items():
            known_uid, known_generation = known.get(key, ("", 0))
            if known_uid != uid or known_generation < generation:
                behind.append(key)
        return behind

    async def _listed(self) -> dict[Key, tuple[str, int]]:
        """Return uid and generation of every LLMDeployment there is."""
        found: dict[Key, tuple[str, int]] = {}
        begin = time.monotonic()
        for namespace in self._namespaces or (None,):
            async for item in self._client.list(RESOURCES[KIND], namespace, metadata_only=True):
                metadata = item["metadata"]
                found[metadata["namespace"], metadata["name"]] = metadata["uid"], metadata["generation"]
        self._listing_s = time.monotonic() - begin
        return found
