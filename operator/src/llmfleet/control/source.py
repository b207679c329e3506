"""kopf: the event source for our own kind, and the shell of the process. Only ``on.event``, nothing that writes.

What kopf does not do for a fleet is done around it: it is started again when it gives up, it is not started before
the kind exists (it would serve nothing for ever), it is started again when it serves nothing all the same, and it is
listened to (`kube.wiretap`), so that it is known how fresh it is and when it may have missed something.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import kopf

from llmfleet.api.names import GROUP, PLURAL, VERSION
from llmfleet.control.cache import Cache
from llmfleet.control.sweep import Sweep
from llmfleet.kube.resources import version_of
from llmfleet.kube.session import Connection, lend_session
from llmfleet.kube.wiretap import Wiretap

log = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 1.0
_LAST_PAUSE_S: Final = 10.0
_PAGE: Final = 500
_BACKOFFS_S: Final = (0.5, 1, 2, 3, 5, 5, 5, 5)
"""After each failure kopf waits so long. Its own go up to 21 s: too long for a fleet when the API server is back."""
_BLIND_S: Final = 5.0
_STOP_S: Final = 1.0


class _Blind(Exception):  # noqa: N818 - it is how one life of kopf ends
    """kopf follows nothing, or not what there is."""


@dataclass(frozen=True, slots=True)
class Source:
    """What following the LLMDeployments needs.

    Attributes:
        connection: where the API server is.
        session: lent to kopf.
        cache: is told.
        namespaces: which to follow; empty means all.
        tap: listens to kopf.
        sweep: finds what kopf does not tell.
        installed: returns once the API server knows the kind.
        catch_signals: sets our signal handlers again, since kopf sets its own.
    """

    connection: Connection
    session: aiohttp.ClientSession
    cache: Cache
    namespaces: Sequence[str]
    tap: Wiretap
    sweep: Sweep
    installed: Callable[[], Awaitable[None]]
    catch_signals: Callable[[], None]


async def follow(source: Source) -> None:
    """Tell the cache about LLMDeployments until cancelled.

    kopf gives up on some answers of the API server, such as a watch that ends with a 500. It is started again here,
    with a growing pause, and lists everything anew.
    """
    pause_s, loop = _FIRST_PAUSE_S, asyncio.get_running_loop()
    while True:
        source.tap.restart()
        await source.installed()
        source.sweep.distrust.clear()
        started = loop.time()
        try:
            await _live(source)
            log.warning("kopf ended by itself; it starts again in %.0f s", pause_s)
        except Exception as error:  # noqa: BLE001 - whatever ends kopf, the fleet must go on being looked after
            log.warning("kopf ended (%s: %s); it starts again in %.0f s", type(error).__name__, error, pause_s)
        pause_s = _FIRST_PAUSE_S if loop.time() - started > _LAST_PAUSE_S else min(_LAST_PAUSE_S, 2 * pause_s)
        source.tap.restart()
        await asyncio.sleep(pause_s)


async def _live(source: Source) -> None:
    """Run kopf until it ends, or is found to serve nothing."""
    stop = asyncio.Event()
    tasks = await kopf.spawn_tasks(
        registry=_registry(source),
        settings=_settings(),
        standalone=True,
        clusterwide=not source.namespaces,
        namespaces=source.namespaces,
        stop_flag=stop,
    )
    source.catch_signals()
    running = asyncio.create_task(kopf.run_tasks(tasks, ignored=_AllTasks()), name="kopf")
    blind = asyncio.create_task(_blind(source), name="look whether kopf follows")
    try:
        await asyncio.wait({running, blind}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            raise _Blind(blind.result())
        await running
    finally:
        blind.cancel()
        stop.set()
        if not (await asyncio.wait({running}, timeout=_STOP_S))[0]:
            running.cancel()
            await asyncio.wait({running})


async def _blind(source: Source) -> str:
    """Wait until kopf is seen to follow nothing, or not what there is; say what was seen."""
    tap = source.tap
    while not tap.begun.is_set():
        try:
            async with asyncio.timeout(_BLIND_S):
                await tap.begun.wait()
        except TimeoutError:
            if tap.idle_s() >= _BLIND_S:
                return f"it serves no {PLURAL}.{GROUP}"
    await source.sweep.distrust.wait()
    return "what it follows is not what there is"


class _AllTasks(Collection[asyncio.Task[Any]]):
    """Every task there is. When kopf ends, it cancels all tasks of the loop that it is not told to ignore, ours too."""

    def __contains__(self, task: object) -> bool:
        return True

    def __iter__(self) -> Iterator[asyncio.Task[Any]]:
        return iter(asyncio.all_tasks())

    def __len__(self) -> int:
        return len(asyncio.all_tasks())


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.watching.chunk_size = _PAGE
    settings.networking.error_backoffs = _BACKOFFS_S
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


def _registry(source: Source) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    connection, cache = source.connection, source.cache

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        lent = lend_session(connection, source.session, listener=source.tap)
        return kopf.AiohttpSession(
            aiohttp_session=lent, server=connection.server, default_namespace=connection.namespace
        )

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def changed(event: kopf.RawEvent, **_: Any) -> None:
        obj = event["object"]
        metadata = obj["metadata"]
        if event["type"] == "DELETED":
            cache.drop((metadata["namespace"], metadata["name"]), metadata["uid"], version_of(obj))
            if not len(cache):
                source.sweep.doubt("the last one was deleted, perhaps with its kind")
        else:
            cache.put(obj)

    return registry
