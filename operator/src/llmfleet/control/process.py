"""The operator's process, in the order in which things must be there.

    own server -> connection -> kind installed -> Lease -> caches -> kopf and workers

A standby answers its probes from the first moment. Whoever loses the Lease ends at once: the kubelet starts it again,
and it waits in line.
"""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from uuid import uuid4

import aiohttp

from llmfleet.api.names import KIND
from llmfleet.control.admission import refuse
from llmfleet.control.cache import Cache, Key
from llmfleet.control.executor import Executor
from llmfleet.control.inquiries import Inquiries
from llmfleet.control.metrics import Metrics
from llmfleet.control.obstacles import Obstacles
from llmfleet.control.phases import Phases
from llmfleet.control.probes import Vitals, serve
from llmfleet.control.queue import WorkQueue
from llmfleet.control.reconcile import Reconciler
from llmfleet.control.settings import Settings
from llmfleet.control.source import follow
from llmfleet.control.worker import work
from llmfleet.kube.client import Client
from llmfleet.kube.errors import ApiError, NotFound
from llmfleet.kube.events import Recorder
from llmfleet.kube.lease import Lease
from llmfleet.kube.reflector import Reflector
from llmfleet.kube.resources import RESOURCES
from llmfleet.kube.session import Connection, open_session

log = logging.getLogger(__name__)

_STALE_WATCH_S: Final = 180.0
"""The API server sends a bookmark about every minute; three missed ones mean that the watch is dead."""
_LOOK_AGAIN_S: Final = 2.0
_LAST_WORDS_S: Final = 2.0


async def run(settings: Settings) -> None:
    """Run the operator until it is told to stop.

    Raises:
        ConfigurationError: There is no usable way to the API server.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        vitals, metrics = Vitals(), Metrics()
        probes = await serve(settings.listen_host, settings.listen_port, vitals, metrics)
        stack.push_async_callback(probes.cleanup)
        connection = Connection.load(settings.kubeconfig, settings.context)
        session = await stack.enter_async_context(open_session(connection))
        client = Client(session, connection.server, observe=metrics.observe_call)
        lease_client = Client(session, connection.server, observe=metrics.observe_call)
        namespace = settings.lease_namespace or connection.namespace
        lease = Lease(lease_client, settings.lease_name, namespace, f"{socket.gethostname()}_{uuid4().hex[:8]}")
        fleet = _Fleet(settings, connection, session, client, vitals, metrics)
        act = asyncio.create_task(_act(fleet, lease), name="act")
        stopped = asyncio.create_task(stop.wait(), name="stop")
        done, _ = await asyncio.wait({act, stopped}, return_when=asyncio.FIRST_COMPLETED)
        vitals.phase, vitals.ready = "stopping", False
        act.cancel()
        await asyncio.wait({act})
        await lease.release()
        if act in done:
            act.result()


@dataclass(frozen=True, slots=True)
class _Fleet:
    """What looking after the fleet needs."""

    settings: Settings
    connection: Connection
    session: aiohttp.ClientSession
    client: Client
    vitals: Vitals
    metrics: Metrics


class _Stopped(Exception):  # noqa: N818 - kopf was told to stop, and all that runs beside it ends with it
    pass


async def _act(fleet: _Fleet, lease: Lease) -> None:
    """Wait for the turn, then look after the fleet."""
    vitals = fleet.vitals
    await _kind_installed(fleet.client, vitals, fleet.settings.namespaces)
    vitals.phase, vitals.ready = "standby", True
    await lease.acquire()
    log.info("leading")
    vitals.phase, vitals.ready = "leading, reading the cluster", False
    fleet.metrics.leading.set(1)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_end_with(lease), name="lease")
            await _look_after(fleet, group)
    except* _Stopped:
        log.info("stopped")


async def _look_after(fleet: _Fleet, group: asyncio.TaskGroup) -> None:
    """Fill the caches, start the workers, and follow the LLMDeployments until told to stop."""
    client, settings, metrics = fleet.client, fleet.settings, fleet.metrics
    queue: WorkQueue[Key] = WorkQueue()
    admit = partial(refuse, allow_host_path=settings.allow_host_path)
    cache = Cache(client, settings.namespaces or None, queue.add, admit)
    recorder = Recorder(client, instance=socket.gethostname())
    inquiries = Inquiries(cache, Phases(cache), Obstacles(client, cache))
    reconciler = Reconciler(client, cache, Executor(client, cache, settings.images), recorder, metrics)
    metrics.gauge("llmfleet_queue_depth", "LLMDeployments waiting to be looked at.", lambda: queue.depth)
    metrics.gauge("llmfleet_queue_age_seconds", "Age of the oldest of them.", queue.oldest_s)
    metrics.gauge("llmfleet_models", "LLMDeployments known.", lambda: len(cache))
    for kind, reflector in cache.reflectors.items():
        fleet.vitals.checks[f"watch of {kind}"] = partial(_staleness, reflector)
        group.create_task(reflector.run(), name=f"reflector {kind}")
    for reflector in cache.reflectors.values():
        await reflector.synced.wait()
    group.create_task(recorder.run(), name="events")
    for number in range(settings.workers):
        group.create_task(work(queue, reconciler, inquiries, metrics), name=f"worker {number}")
    fleet.vitals.phase, fleet.vitals.ready = "leading", True
    try:
        await follow(fleet.connection, fleet.session, cache, settings.namespaces)
    finally:
        queue.close()
        await inquiries.close()
        await recorder.drain(_LAST_WORDS_S)
    raise _Stopped


async def _kind_installed(client: Client, vitals: Vitals, namespaces: Sequence[str]) -> None:
    """Wait until the API server knows LLMDeployments: charts may install the operator first.

    Asked in one of the namespaces, if there are any: the operator may have no right on the whole cluster then.
    """
    namespace = namespaces[0] if namespaces else None
    vitals.phase = f"waiting for the CustomResourceDefinition of {KIND}"
    told = False
    while True:
        try:
            async for _ in client.pages(RESOURCES[KIND], namespace, limit=1, metadata_only=True):
                return
        except NotFound:
            if not told:
                log.warning("the cluster has no kind %s yet: kubectl apply --server-side -f crds/", KIND)
                told = True
        except ApiError as error:
            log.warning("the API server does not answer: %s", error)
        await asyncio.sleep(_LOOK_AGAIN_S)


async def _end_with(lease: Lease) -> None:
    await lease.lost.wait()
    log.error("the Lease is lost: ending, another replica may act now")
    # At once: not even a write that is under way may be followed by another.
    os._exit(1)


def _staleness(reflector: Reflector[Any]) -> str:
    """Say that a watch is dead; one that never began is for /readyz, a restart would not mend it."""
    age_s = reflector.age_s() if reflector.synced.is_set() else 0.0
    return f"no sign of life for {age_s:.0f} s" if age_s > _STALE_WATCH_S else ""
