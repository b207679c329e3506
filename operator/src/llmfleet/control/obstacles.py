"""Why a pod that has a node gets no volumes or no sandbox: only an Event says so, the pod says ContainerCreating.

Reading Events is dear for the API server, which looks through all of the namespace's. So it is done only for a pod
that waits for longer than volumes take, one pod at a time, and again only while it goes on waiting.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from llmfleet.control.cache import Cache, Key
from llmfleet.kube.client import Client
from llmfleet.kube.errors import ApiError
from llmfleet.kube.resources import RESOURCES
from llmfleet.observe.events import obstacle, volumes_mounted
from llmfleet.observe.views import PodView

log = logging.getLogger(__name__)

_PATIENCE_S: Final = 10.0
_AGAIN_S: Final = 10.0
_MOUNTED_AGAIN_S: Final = 300.0
"""The image is being pulled: that takes as long as it takes."""
_REFUSED_AGAIN_S: Final = 60.0
_APART_S: Final = 0.1


class Obstacles:
    """Reads the Events of pods whose container is not made for long; an `Inquiry`.

    Args:
        client: lists Events.
        cache: takes what keeps a pod from its volumes.
        clock: the time, to see how long a pod has had its node.
    """

    def __init__(
        self, client: Client, cache: Cache, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._client = client
        self._cache = cache
        self._clock = clock
        self._turn = asyncio.Lock()

    def concerns(self, pod: PodView) -> bool:
        """Say whether a pod has a node and waits for its container to be made."""
        return pod.scheduled_at is not None and pod.preparing and not pod.deleting

    async def ask(self, key: Key, pod: PodView) -> float:
        """Read the Events of one pod; return after how many seconds to read them again."""
        if pod.scheduled_at is None:
            return _PATIENCE_S
        early_s = _PATIENCE_S - (self._clock() - pod.scheduled_at).total_seconds()
        if early_s > 0:
            return min(early_s, _PATIENCE_S)
        async with self._turn:
            await asyncio.sleep(_APART_S)
            try:
                mine = self._client.list(
                    RESOURCES["Event"], pod.namespace, field_selector=f"involvedObject.uid={pod.uid}"
                )
                events = [event async for event in mine]
            except ApiError as error:
                log.warning("why pod %s/%s does not start is not known: %s", pod.namespace, pod.name, error)
                return _REFUSED_AGAIN_S
        self._cache.set_obstacle(key, pod.uid, obstacle(events))
        return _MOUNTED_AGAIN_S if volumes_mounted(events) else _AGAIN_S

    def forget(self, key: Key, pod_uid: str) -> None:
        """Take back what kept a pod from its volumes."""
        self._cache.set_obstacle(key, pod_uid, "")

    async def close(self) -> None:
        """Nothing is kept open."""
