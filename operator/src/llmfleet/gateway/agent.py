"""The agent's process: follows the cluster, and tells HAProxy whenever something changed.

HAProxy goes on with what it was told last, whatever becomes of the agent, and the agent goes on with what it saw last,
whatever becomes of the API server. One that starts while the API server is away leaves HAProxy as it is.
"""

import asyncio
import contextlib
import logging
import signal
from contextlib import AsyncExitStack
from typing import Any, Final

from llmfleet.api.names import LABEL_MANAGED_BY, MANAGED_BY, ROUTE_KIND
from llmfleet.gateway import world
from llmfleet.gateway.accounts import Accounts, listen
from llmfleet.gateway.haproxy.file import Structure
from llmfleet.gateway.haproxy.proxy import Proxy
from llmfleet.gateway.haproxy.runtime import HaproxyError
from llmfleet.gateway.haproxy.slots import sizes_for
from llmfleet.gateway.routing import Routing
from llmfleet.gateway.server import serve
from llmfleet.gateway.settings import AgentSettings
from llmfleet.kube.client import Client
from llmfleet.kube.reflector import Reflector
from llmfleet.kube.resources import RESOURCES
from llmfleet.kube.session import Connection, open_session

log = logging.getLogger(__name__)

LABEL_TENANT: Final = "llmfleet.dev/tenant"
"""On a Secret in the gateway's namespace: its values are keys of a tenant."""
_LOOK_S: Final = 2.0
"""HAProxy tells nobody when the kubelet started it again, or when a server could at last be removed."""
_LOOK_SOON_S: Final = 0.05
_PAUSE_S: Final = 0.5


async def run(settings: AgentSettings) -> None:
    """Look after HAProxy until told to stop.

    Raises:
        ConfigurationError: There is no usable way to the API server.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        proxy = Proxy(settings.folder, structure(settings))
        proxy.boot()
        if settings.boot:
            return
        connection = Connection.load(settings.kubeconfig, None)
        session = await stack.enter_async_context(open_session(connection))
        view = View(Client(session, connection.server), settings)
        accounts = Accounts(proxy.revision_of, echo=settings.access_log)
        stack.callback((await listen(settings.folder / "log.sock", accounts)).close)
        runner = await serve(settings.listen_host, settings.listen_port, proxy, accounts)
        stack.push_async_callback(runner.cleanup)
        tasks = [asyncio.create_task(reflector.run()) for reflector in view.reflectors]
        await look_after(proxy, view, stop)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def structure(settings: AgentSettings) -> Structure:
    """Return what HAProxy's file fixes."""
    return Structure(
        bind=settings.bind,
        keys=settings.keys,
        sizes=sizes_for((), {}),
        threads=settings.threads,
        connections=settings.connections,
    )


class View:
    """What the agent sees of the cluster.

    Attributes:
        changed: set whenever something did.
    """

    def __init__(self, client: Client, settings: AgentSettings) -> None:
        self._settings = settings
        self.changed = asyncio.Event()

        def tell(*_: object) -> None:
            self.changed.set()

        self._routes = Reflector(client, RESOURCES[ROUTE_KIND], namespaces=None, trim=world.route, on_change=tell)
        self._pods = Reflector(
            client,
            RESOURCES["Pod"],
            namespaces=None,
            trim=world.pod,
            on_change=tell,
            label_selector=f"{LABEL_MANAGED_BY}={MANAGED_BY}",
        )
        self._tenants = Reflector(
            client,
            RESOURCES["Secret"],
            namespaces=(settings.namespace,),
            trim=world.tenant,
            on_change=tell,
            label_selector=LABEL_TENANT,
        )
        self.reflectors: list[Reflector[Any]] = [self._routes, self._pods]
        if settings.keys:
            self.reflectors.append(self._tenants)

    @property
    def complete(self) -> bool:
        """Whether everything was seen once."""
        return all(reflector.synced.is_set() for reflector in self.reflectors)

    def routing(self) -> Routing:
        """Return what the gateway shall do by what is seen now."""
        settings = self._settings
        return world.routing(
            f"{settings.namespace}/{settings.name}",
            settings.replicas,
            self._routes.store.values(),
            self._pods.store.values(),
            self._tenants.store.values() if settings.keys else None,
        )


async def look_after(proxy: Proxy, view: View, stop: asyncio.Event) -> None:
    """Tell HAProxy what changed, and look from time to time whether it does what it was told.

    Told to stop, it goes on until HAProxy has ended: requests that HAProxy still holds wait for engines.
    """
    while True:
        view.changed.clear()
        try:
            settled = await (proxy.converge(view.routing()) if view.complete else proxy.observe())
            wait_s = _LOOK_S if settled else _LOOK_SOON_S
        except HaproxyError as error:
            if stop.is_set():
                return
            log.warning("%s", error)
            proxy.current, wait_s = None, _PAUSE_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await view.changed.wait()
