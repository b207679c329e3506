"""The operator's process, in the order in which things must be there.

    own server -> connection -> kind installed -> Lease -> caches -> kopf and workers

A standby answers its probes from the first moment. Whoever loses the Lease ends at once, by becoming a new process
that waits in line. Whatever writes goes through a session that asks the Lease in the moment of sending.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Final, NoReturn
from uuid import uuid4

from llmfleet.api.names import KIND
from llmfleet.control.access import Access
from llmfleet.control.fleet import Fleet, look_after
from llmfleet.control.metrics import Metrics
from llmfleet.control.probes import Vitals, serve
from llmfleet.control.settings import Settings
from llmfleet.kube.client import Client
from llmfleet.kube.errors import ApiError, Forbidden, NotFound
from llmfleet.kube.lease import Lease
from llmfleet.kube.resources import RESOURCES
from llmfleet.kube.session import Connection, lend_session, open_session

log = logging.getLogger(__name__)

_LOOK_AGAIN_S: Final = 2.0
_LAST_WORDS_S: Final = 2.0
_ANEW_AT: Final = "_LLMFLEET_ANEW_AT"
"""Variable by which a process tells the one that replaces it when it began anew for other namespaces (monotonic)."""


async def run(settings: Settings) -> None:
    """Run the operator until it is told to stop.

    Raises:
        ConfigurationError: There is no usable way to the API server.
    """
    stop = asyncio.Event()
    catch_signals = partial(_catch_signals, stop)
    catch_signals()
    async with AsyncExitStack() as stack:
        vitals, metrics = Vitals(), Metrics()
        probes = await serve(settings.listen_host, settings.listen_port, vitals, metrics)
        stack.push_async_callback(probes.cleanup)
        log.info("probes and metrics at %s:%d", *probes.addresses[0][:2])
        connection = Connection.load(settings.kubeconfig, settings.context)
        session = await stack.enter_async_context(open_session(connection))
        namespace = settings.lease_namespace or connection.namespace
        lease = Lease(
            Client(session, connection.server, observe=metrics.observe_call),
            settings.lease_name,
            namespace,
            f"{socket.gethostname()}_{uuid4().hex[:8]}",
        )
        fenced = await stack.enter_async_context(lend_session(connection, session, may_write=lease.holds))
        client = Client(fenced, connection.server, observe=metrics.observe_call)
        wait_for_kind = partial(_kind_installed, client, vitals, settings.namespaces)
        fleet = Fleet(settings, connection, session, client, vitals, metrics, wait_for_kind, catch_signals)
        act = asyncio.create_task(_act(fleet, lease), name="act")
        stopped = asyncio.create_task(stop.wait(), name="stop")
        await asyncio.wait({act, stopped}, return_when=asyncio.FIRST_COMPLETED)
        vitals.phase, vitals.ready = "stopping", False
        act.cancel()
        # Who does not end in time is not waited for: without the Lease it cannot write.
        ended, _ = await asyncio.wait({act}, timeout=_LAST_WORDS_S)
        await lease.release()
        log.info("stopped")
        if ended and not act.cancelled():
            act.result()


def _catch_signals(stop: asyncio.Event) -> None:
    """Stop when told to."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


async def _act(fleet: Fleet, lease: Lease) -> None:
    """Wait for the turn, then look after the fleet."""
    vitals, metrics = fleet.vitals, fleet.metrics
    metrics.gauge(
        "llmfleet_lease_age_seconds", "Seconds since the Lease was last renewed; 0 for a standby.", lease.age_s
    )
    await fleet.wait_for_kind()
    vitals.phase, vitals.ready = "standby", True
    vitals.notes["the Lease is held by"] = lambda: lease.holder
    log.info("standing by for the Lease")
    await lease.acquire()
    log.info("leading")
    vitals.phase, vitals.ready = "leading, reading the cluster", False
    observe_lease(vitals, lease)
    metrics.leading.set(1)
    anew_at = os.environ.get(_ANEW_AT)
    access = Access(fleet.client, fleet.settings.namespaces, anew_at=float(anew_at) if anew_at else None)
    async with asyncio.TaskGroup() as group:
        group.create_task(_end_with(lease), name="lease")
        group.create_task(_end_when_outdated(access, lease), name="namespaces")
        await look_after(fleet, access, group)


def observe_lease(vitals: Vitals, lease: Lease) -> None:
    """Let /livez see whether the Lease is held."""
    vitals.checks["the Lease"] = lambda: "" if lease.holds() else f"not renewed for {lease.age_s():.0f} s"


async def _kind_installed(client: Client, vitals: Vitals, namespaces: Sequence[str]) -> None:
    """Wait until the API server knows LLMDeployments: charts may install the operator first.

    Asked in the namespaces, if there are any: the operator may have no right on the whole cluster then, and not yet,
    or no more, on each of them.
    """
    phase, told = vitals.phase, set[str]()
    while True:
        for namespace in namespaces or (None,):
            try:
                async for _ in client.pages(RESOURCES[KIND], namespace, limit=1, metadata_only=True):
                    vitals.phase = phase
                    return
            except Forbidden as error:
                vitals.phase = f"waiting for the right to list {RESOURCES[KIND].plural}"
                said = str(error)
            except NotFound:
                vitals.phase = f"waiting for the CustomResourceDefinition of {KIND}"
                said = f"the cluster has no kind {KIND} yet: kubectl apply --server-side -f crds/"
            except ApiError as error:
                said = f"the API server does not answer: {error}"
            if said not in told:
                log.warning("%s", said)
                told.add(said)
        await asyncio.sleep(_LOOK_AGAIN_S)


async def _end_with(lease: Lease) -> None:
    """End when the Lease is lost: at once, so that not even a write that is under way is followed by another.

    The process is replaced in place. Were it to exit, the kubelet would start it again with a pause that doubles each
    time, up to five minutes, and an API server that is away three times in a row would cost a fleet its operator.
    """
    await lease.lost.wait()
    log.error("the Lease is lost: starting anew, another replica may act now")
    _begin_anew()


async def _end_when_outdated(access: Access, lease: Lease) -> None:
    """End when other namespaces let us in: whatever follows them was made for those of before."""
    await access.outdated.wait()
    log.warning("starting anew, with the namespaces that let us in now")
    await lease.release()
    os.environ[_ANEW_AT] = str(time.monotonic())
    _begin_anew()


def _begin_anew() -> NoReturn:
    logging.shutdown()
    try:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - our own command line
    except OSError:
        os._exit(1)
