"""Which of the namespaces to look after let us in.

A namespace that is deleted takes its Roles along, and one that is made later has none until somebody brings them. Such
a namespace must not keep the operator from the others: it is left out for one life of the process, which begins anew
when that changes. Whoever looks after the whole cluster has one right for all of it, and nothing to find out.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from llmfleet.control.cache import WATCHED
from llmfleet.kube.client import Client
from llmfleet.kube.errors import ApiError, Forbidden
from llmfleet.kube.resources import RESOURCES

log = logging.getLogger(__name__)

_LOOK_S: Final = 20.0


class Access:
    """Finds out which namespaces may be read.

    Args:
        client: to ask.
        namespaces: those to look after; none means the whole cluster.

    Attributes:
        closed: those that were left out, with what the API server said.
        outdated: set when others let us in than were found.
    """

    def __init__(self, client: Client, namespaces: Sequence[str]) -> None:
        self._client = client
        self._namespaces = namespaces
        self.closed: Mapping[str, str] = {}
        self.outdated = asyncio.Event()

    async def find(self) -> tuple[str, ...]:
        """Wait until at least one namespace lets us in; return all that do, in order."""
        told: Mapping[str, str] = {}
        while True:
            self.closed = await self._refused()
            for namespace in self.closed.keys() - told.keys():
                log.error("namespace %s is left out: %s", namespace, self.closed[namespace])
            told = self.closed
            if len(self.closed) < len(self._namespaces):
                return tuple(namespace for namespace in self._namespaces if namespace not in self.closed)
            if not self._namespaces:
                return ()
            await asyncio.sleep(_LOOK_S)

    async def watch(self, refused: Callable[[], bool]) -> None:
        """Wait until other namespaces let us in than `find` found, and that twice in a row; then say so.

        Args:
            refused: says whether anything that is followed is refused at present; without that nothing is asked.
        """
        last = self.closed.keys()
        while True:
            await asyncio.sleep(_LOOK_S)
            if not self.closed and not refused():
                continue
            now = (await self._refused()).keys()
            if now == last != self.closed.keys():
                log.warning("left out so far: %s; now: %s", ", ".join(self.closed), ", ".join(now))
                self.outdated.set()
                return
            last = now

    async def _refused(self) -> Mapping[str, str]:
        """Return which namespaces refuse us something that has to be followed, and what they say."""
        found: dict[str, str] = {}
        for namespace in self._namespaces:
            try:
                for kind in WATCHED:
                    await self._look(kind, namespace)
            except Forbidden as error:
                found[namespace] = str(error)
            except ApiError as error:
                # What else goes wrong says nothing about rights, and whoever follows tries on.
                log.debug("namespace %s: %s", namespace, error)
        return found

    async def _look(self, kind: str, namespace: str) -> None:
        async with aclosing(self._client.pages(RESOURCES[kind], namespace, limit=1, metadata_only=True)) as pages:
            async for _ in pages:
                return
