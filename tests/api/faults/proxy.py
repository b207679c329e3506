"""The real API server behind a proxy that misbehaves on demand, and that writes down who wrote what.

Clients reach it through a kubeconfig of their own (`kubeconfig(name)`), so the record tells them apart. It ends TLS,
speaks to the API server as administrator, hands watches through event by event, and runs in a thread of its own.
Faults are contexts: they begin and end with a `with`.

    with proxy.answering(500, only=lambda asked: asked.write and asked.plural == "deployments"):
        ...
"""

import asyncio
import contextlib
import json
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp import web
from yarl import URL

from tests.cluster import Cluster, pki

_HOP_BY_HOP = frozenset({"connection", "host", "transfer-encoding", "content-length", "authorization", "keep-alive"})
_REASONS = {403: "Forbidden", 409: "Conflict", 410: "Expired", 429: "TooManyRequests", 500: "InternalError"}

Object = dict[str, Any]
Shaper = Callable[[Object], Iterable[tuple[float, Object]]]
"""What becomes of one watch event: what is sent instead of it, each after so many seconds."""


@dataclass(frozen=True)
class Asked:
    """One request. `plural`, `namespace`, `name` and `part` (the subresource) are empty where the path has none."""

    client: str
    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    plural: str
    namespace: str
    name: str
    part: str

    @classmethod
    def of(cls, client: str, request: web.Request, body: bytes) -> Self:
        parts = request.path.strip("/").split("/")[2 if request.path.startswith("/api/") else 3 :]
        namespace = ""
        if parts[:1] == ["namespaces"] and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        plural, name, part = (*parts, "", "", "")[:3]
        parsed = json.loads(body) if body else None
        query = dict(request.query)
        return cls(client, request.method, request.path, query, parsed, plural, namespace, name, part)

    @property
    def watch(self) -> bool:
        return "watch" in self.query

    @property
    def write(self) -> bool:
        return self.method != "GET"

    @property
    def lease(self) -> bool:
        return self.plural == "leases"

    @property
    def counts(self) -> bool:
        """A write that changes the fleet: neither the Lease nor an Event that tells of it."""
        return self.write and self.plural not in ("leases", "events")

    def __str__(self) -> str:
        return f"{self.client}: {self.method} {self.plural} {self.namespace}/{self.name} {self.part}".rstrip()


@dataclass
class Written:
    """One write: what was asked, when (monotonic), and the answer's status (0: none yet, or none at all).

    `retry_after` is for how many seconds the answer asks to wait.
    """

    asked: Asked
    at: float
    status: int = 0
    retry_after: int = 0
    seen: Any = None
    """What the proxy's witness saw before it was passed on."""


@dataclass(frozen=True)
class _Rule:
    """What happens to requests of a kind: an answer of our own, a delay, or events that are shaped."""

    only: Callable[[Asked], bool]
    status: int = 0
    retry_after: int = 0
    delay_s: float = 0.0
    shape: Shaper | None = None


def _everything(_: Asked) -> bool:
    return True


class FaultProxy:
    """See the module; use it as a context."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._server = cluster.server
        self._folder = folder
        self._tls = ssl.create_default_context(cafile=str(cluster.ca))
        self._tls.load_cert_chain(cluster.cert, cluster.key)
        pki.Authority.create(folder, "ca").issue("proxy", "proxy", sans=("127.0.0.1",))
        self._own_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._own_tls.load_cert_chain(folder / "proxy.crt", folder / "proxy.key")
        self._rules: tuple[_Rule, ...] = ()
        self._after_write: Callable[[Asked], bool] | None = None
        self._clients: dict[int, str] = {}
        self._watches: dict[web.StreamResponse, tuple[Asked, web.Request]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.written: list[Written] = []
        self.refused: list[Written] = []
        """Writes that were answered here and not passed on."""
        self.witness: Callable[[aiohttp.ClientSession, str, Asked], Awaitable[Any]] | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def kubeconfig(self, client: str) -> Path:
        """Open a port for a client and return the kubeconfig that leads to it."""
        port = self._do(self._listen())
        self._clients[port] = client
        path = self._folder / f"{client}.json"
        cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(self._folder / "ca.crt")}
        document = {
            "current-context": "proxy",
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy"}}],
            "clusters": [{"name": "proxy", "cluster": cluster}],
        }
        path.write_text(json.dumps(document))
        return path

    # Faults.

    @contextlib.contextmanager
    def answering(
        self, status: int, *, retry_after: int = 0, only: Callable[[Asked], bool] = _everything
    ) -> Iterator[None]:
        """Answer requests with an error instead of passing them on."""
        with self._ruled(_Rule(only, status=status, retry_after=retry_after)):
            yield

    @contextlib.contextmanager
    def slow(self, seconds: float, *, only: Callable[[Asked], bool] = _everything) -> Iterator[None]:
        """Answer late: what was asked is passed on at once, and its answer waits."""
        with self._ruled(_Rule(only, delay_s=seconds)):
            yield

    @contextlib.contextmanager
    def shaping(self, shape: Shaper, *, only: Callable[[Asked], bool] = _everything) -> Iterator[None]:
        """Change what watches say; it also holds for watches that are open."""
        with self._ruled(_Rule(only, shape=shape)):
            yield

    @contextlib.contextmanager
    def after_write(self, number: int, namespace: str, call: Callable[[], object]) -> Iterator[list[Asked]]:
        """Call once the API server has carried out the n-th write in a namespace; its answer is withheld, as are all
        that follow.

        Yields the writes that were carried out, in order.
        """
        seen: list[Asked] = []

        def count(asked: Asked) -> bool:
            if asked.namespace != namespace:
                return False
            if len(seen) >= number:
                return True
            seen.append(asked)
            if len(seen) == number:
                call()
            return len(seen) >= number

        self._after_write = count
        try:
            yield seen
        finally:
            self._after_write = None

    @property
    def watches(self) -> int:
        """How many watches are open."""
        return len(self._watches)

    def cut(self, only: Callable[[Asked], bool] = _everything) -> int:
        """Break open watches in the middle; return how many."""
        return self._do(self._cut(only))

    def send(self, event: Object, only: Callable[[Asked], bool] = _everything) -> int:
        """Say something in open watches; return in how many."""
        return self._do(self._send(event, only))

    def writes(self, client: str | None = None, *, since: float = 0.0, namespace: str = "") -> list[Written]:
        """Return the writes to the fleet that were passed on: of one client, from a moment on, of one namespace."""
        return self._of(self.written, client, since, namespace)

    def attempts(self, client: str | None = None, *, since: float = 0.0, namespace: str = "") -> list[Written]:
        """Return the writes as `writes` does, those that were refused here included, in order."""
        everything = self._of([*self.written, *self.refused], client, since, namespace)
        return sorted(everything, key=lambda written: written.at)

    def _of(self, writes: Iterable[Written], client: str | None, since: float, namespace: str) -> list[Written]:
        return [
            written
            for written in writes
            if written.asked.counts
            and (client is None or written.asked.client == client)
            and written.at >= since
            and namespace in ("", written.asked.namespace)
        ]

    @contextlib.contextmanager
    def _ruled(self, rule: _Rule) -> Iterator[None]:
        self._rules = (*self._rules, rule)
        try:
            yield
        finally:
            self._rules = tuple(other for other in self._rules if other is not rule)

    # The proxy's own thread.

    def _do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _open(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, handler_cancellation=True)
        await self._runner.setup()

    async def _close(self) -> None:
        await self._cut(_everything)
        await self._runner.cleanup()
        await self._session.close()

    async def _listen(self) -> int:
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._own_tls)
        await site.start()
        return int(self._runner.addresses[-1][1])

    async def _cut(self, only: Callable[[Asked], bool]) -> int:
        cut = [request for asked, request in self._watches.values() if only(asked)]
        for request in cut:
            _hang_up(request)
        return len(cut)

    async def _send(self, event: Object, only: Callable[[Asked], bool]) -> int:
        told = [response for response, (asked, _) in self._watches.items() if only(asked)]
        for response in told:
            await _write(response, event)
        return len(told)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        asked = Asked.of(self._clients[request.transport.get_extra_info("sockname")[1]], request, body)  # type: ignore[union-attr]
        rules = [rule for rule in self._rules if rule.only(asked)]
        refusing = next((rule for rule in rules if rule.status), None)
        if refusing is not None:
            if asked.write:
                self.refused.append(Written(asked, time.monotonic(), refusing.status, refusing.retry_after))
            return _refusal(refusing.status, refusing.retry_after)
        try:
            if asked.watch:
                return await self._stream(asked, request)
            return await self._pass(asked, request, body, max((rule.delay_s for rule in rules), default=0.0))
        except (aiohttp.ClientError, TimeoutError, OSError):
            return _hang_up(request)

    async def _pass(self, asked: Asked, request: web.Request, body: bytes, delay_s: float) -> web.StreamResponse:
        written = Written(asked, time.monotonic())
        if asked.write:
            written.seen = await self.witness(self._session, self._server, asked) if self.witness else None
            self.written.append(written)
        async with self._upstream(request, body) as answer:
            text = await answer.read()
            written.status = answer.status
            headers = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
        if asked.counts and self._after_write is not None and self._after_write(asked):
            return _hang_up(request)
        await asyncio.sleep(delay_s)
        return web.Response(status=answer.status, body=text, headers=headers)

    async def _stream(self, asked: Asked, request: web.Request) -> web.StreamResponse:
        """Hand a watch through, event by event."""
        async with self._upstream(request, b"") as answer:
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": "application/json"})
            await response.prepare(request)
            self._watches[response] = (asked, request)
            later: set[asyncio.Task[None]] = set()
            try:
                rest = b""
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        await self._tell(asked, response, json.loads(line), later)
            except aiohttp.ClientError:
                return _hang_up(request)
            finally:
                del self._watches[response]
                for task in later:
                    task.cancel()
        await response.write_eof()
        return response

    async def _tell(
        self, asked: Asked, response: web.StreamResponse, event: Object, later: set[asyncio.Task[None]]
    ) -> None:
        told: list[tuple[float, Object]] = [(0.0, event)]
        for rule in self._rules:
            if rule.shape is not None and rule.only(asked):
                told = [(delay + more, out) for delay, one in told for more, out in rule.shape(one)]
        for delay_s, out in told:
            if delay_s:
                task = asyncio.create_task(_write(response, out, delay_s))
                later.add(task)
                task.add_done_callback(later.discard)
            else:
                await _write(response, out)

    def _upstream(self, request: web.Request, body: bytes) -> Any:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        url = URL(f"{self._server}{request.raw_path}", encoded=True)
        return self._session.request(request.method, url, headers=headers, data=body or None, allow_redirects=False)


async def _write(response: web.StreamResponse, event: Object, delay_s: float = 0.0) -> None:
    await asyncio.sleep(delay_s)
    with contextlib.suppress(ConnectionError):
        await response.write(json.dumps(event).encode() + b"\n")


def _hang_up(request: web.Request) -> web.Response:
    """Break the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _refusal(status: int, retry_after: int) -> web.Response:
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "code": status,
        "reason": _REASONS[status],
        "message": f"the fault proxy answers {status}",
    }
    headers = {"Retry-After": str(retry_after)} if retry_after else {}
    return web.json_response(body, status=status, headers=headers)
