"""kopf: the event source for our own kind, and the shell of the process. Only ``on.event``, nothing that writes."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

import aiohttp
import kopf

from llmfleet.api.names import GROUP, PLURAL, VERSION
from llmfleet.control.cache import Cache
from llmfleet.kube.session import Connection, lend_session

log = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 1.0
_LAST_PAUSE_S: Final = 30.0
_PAGE: Final = 500


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.watching.chunk_size = _PAGE
    # Nothing here writes to objects; should a later handler do so, it must not leave kopf's names on them.
    settings.persistence.finalizer = f"{GROUP}/kopf"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = _NoDiffs()
    return settings


class _NoDiffs(kopf.DiffBaseStorage):
    """kopf copies every object of every event for handlers of differences, of which there are none."""

    def build(self, *, body: kopf.Body, extra_fields: object = None) -> kopf.BodyEssence:
        """Keep nothing."""
        del body, extra_fields
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> None:
        """Remember nothing."""

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Write nothing."""


def _registry(connection: Connection, session: aiohttp.ClientSession, cache: Cache) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        lent = lend_session(connection, session)
        return kopf.AiohttpSession(
            aiohttp_session=lent, server=connection.server, default_namespace=connection.namespace
        )

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def changed(event: kopf.RawEvent, **_: Any) -> None:
        obj = event["object"]
        metadata = obj["metadata"]
        if event["type"] == "DELETED":
            cache.drop((metadata["namespace"], metadata["name"]), metadata["uid"])
        else:
            cache.put(obj)

    return registry


async def follow(
    connection: Connection, session: aiohttp.ClientSession, cache: Cache, namespaces: Sequence[str]
) -> None:
    """Tell the cache about LLMDeployments until the process is told to stop.

    kopf gives up on some answers of the API server, such as a watch that ends with a 500. It is started again here,
    with a growing pause, and lists everything anew.
    """
    pause_s = _FIRST_PAUSE_S
    while True:
        started = asyncio.get_running_loop().time()
        try:
            await kopf.operator(
                registry=_registry(connection, session, cache),
                settings=_settings(),
                standalone=True,
                clusterwide=not namespaces,
                namespaces=namespaces,
            )
        except Exception as error:  # noqa: BLE001 - whatever ends kopf, the fleet must go on being looked after
            log.warning("kopf ended (%s: %s); it starts again in %.0f s", type(error).__name__, error, pause_s)
        else:
            return
        lasted_s = asyncio.get_running_loop().time() - started
        pause_s = _FIRST_PAUSE_S if lasted_s > _LAST_PAUSE_S else min(_LAST_PAUSE_S, 2 * pause_s)
        await asyncio.sleep(pause_s)
