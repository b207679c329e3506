"""A small API server that can misbehave on demand. How a well-behaved one is used, tests/api tests against a real one.

Objects live by their URL path. LIST, WATCH from a resource version, GET, POST, PUT, DELETE and a crude PATCH work;
faults are queued per request, and open watches can be cut, silenced or fed garbage.
"""

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from llmfleet.kube.client import Client
from llmfleet.kube.session import Connection, open_session

Object = dict[str, Any]
Fault = Callable[[web.Request], Awaitable[web.StreamResponse]]


def status(code: int, reason: str, message: str, **details: Any) -> Object:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
        "details": details,
    }


def answer(code: int, body: Object | str, **headers: str) -> Fault:
    """Answer a request with this instead."""

    async def fault(_request: web.Request) -> web.Response:
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(
            status=code, text=text, headers={key.replace("_", "-"): value for key, value in headers.items()}
        )

    return fault


def gone() -> Fault:
    return answer(410, status(410, "Expired", "too old resource version"))


async def hang(_request: web.Request) -> web.Response:
    """Never answer."""
    await asyncio.Event().wait()
    raise AssertionError


async def hang_up(request: web.Request) -> web.Response:
    """Close the connection without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def until(condition: Callable[[], object], what: str, *, timeout_s: float = 8.0) -> None:
    """Wait for a condition that no single event announces; fails with `what` was waited for."""
    try:
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110 - see above
                await asyncio.sleep(0.005)
    except TimeoutError:
        pytest.fail(f"waited {timeout_s:g} s for {what}")


class FakeApi:
    """See the module. `requests` holds method, path and query of everything that was asked."""

    def __init__(self) -> None:
        self.version = 100
        self.objects: dict[str, Object] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.headers: list[dict[str, str]] = []
        self._history: list[tuple[int, str, str, Object]] = []
        self._forgotten = 0
        self._faults: list[tuple[str, Fault]] = []
        self._watches: dict[web.StreamResponse, web.Request] = {}
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Client]:
        """Run the server; yields a client of it."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        server = TestServer(app)
        await server.start_server()
        connection = Connection(str(server.make_url("")).rstrip("/"))
        try:
            async with open_session(connection) as session:
                yield Client(session, connection.server, timeout_s=2.0)
        finally:
            self.cut_watches()
            await server.close()

    # What others do.

    async def put(self, collection: str, name: str, **fields: Any) -> None:
        """Create or replace an object of a collection such as `/api/v1/namespaces/a/pods`."""
        path = f"{collection}/{name}"
        parts = collection.split("/")
        namespace = {"namespace": parts[parts.index("namespaces") + 1]} if "namespaces" in parts else {}
        kind = "MODIFIED" if path in self.objects else "ADDED"
        self._store(path, {"metadata": {"name": name, **namespace}, **fields}, kind)
        await self.tell()

    async def remove(self, path: str) -> None:
        obj = copy.deepcopy(self.objects.pop(path))
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self._history.append((self.version, "DELETED", path, obj))
        await self.tell()

    async def bookmark(self) -> None:
        self.version += 1
        self._history.append((self.version, "BOOKMARK", "", {"metadata": {"resourceVersion": str(self.version)}}))
        await self.tell()

    def forget_history(self) -> None:
        """From now on a watch from an older version than this gets 410."""
        self._forgotten = self.version
        self._history.clear()

    # Faults.

    def fail(self, method: str, *faults: Fault) -> None:
        """Let the next requests of a method (`WATCH` and `LIST` are methods too) meet these faults, one each."""
        self._faults += [(method, fault) for fault in faults]

    async def send_raw(self, data: bytes) -> None:
        """Write bytes into every open watch."""
        for response in list(self._watches):
            await response.write(data)

    def cut_watches(self) -> None:
        """Break every open watch in the middle."""
        for request in self._watches.values():
            if request.transport is not None:
                request.transport.abort()
        self._watches.clear()

    @property
    def watches(self) -> int:
        return len(self._watches)

    def asked(self, method: str) -> list[dict[str, str]]:
        """Queries of all requests of one method."""
        return [query for asked, _, query in self.requests if asked == method]

    async def tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _store(self, path: str, obj: Object, kind: str) -> Object:
        self.version += 1
        obj = copy.deepcopy(obj)
        obj["metadata"]["resourceVersion"] = str(self.version)
        self.objects[path] = obj
        self._history.append((self.version, kind, path, obj))
        return obj

    # Requests.

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path, query = request.path, dict(request.query)
        listing = request.method == "GET" and path.rsplit("/", 1)[1] in ("pods", "leases", "events", "nodes")
        method = ("WATCH" if "watch" in query else "LIST") if listing else request.method
        self.requests.append((method, path, query))
        self.headers.append(dict(request.headers))
        for index, (wanted, fault) in enumerate(self._faults):
            if wanted == method:
                del self._faults[index]
                return await fault(request)
        if method == "WATCH":
            return await self._watch(request)
        return web.json_response(**await self._plain(method, request))

    async def _plain(self, method: str, request: web.Request) -> Object:
        """Serve everything but watches; returns status and data."""
        path = request.path
        body = await request.json() if request.can_read_body else {}
        if method == "LIST":
            return {"data": self._list(path, dict(request.query))}
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                return _failure(409, "AlreadyExists", f"{path} already exists")
            return {"data": self._store(path, body, "ADDED"), "status": 201}
        if path not in self.objects:
            return _failure(404, "NotFound", f"{path} not found")
        return await self._existing(method, path, body)

    async def _existing(self, method: str, path: str, body: Any) -> Object:
        known = self.objects[path]
        if method == "DELETE":
            await self.remove(path)
        elif method == "PATCH":
            changes = {one["path"][1:]: one["value"] for one in body} if isinstance(body, list) else body
            known = self._store(path, {**known, **changes}, "MODIFIED")
        elif method == "PUT":
            if body["metadata"].get("resourceVersion") != known["metadata"]["resourceVersion"]:
                return _failure(409, "Conflict", "the object has been modified")
            known = self._store(path, body, "MODIFIED")
        return {"data": known}

    def _list(self, path: str, query: dict[str, str]) -> Object:
        start, limit = int(query.get("continue", "0")), int(query.get("limit", "0")) or len(self.objects)
        found = [self.objects[one] for one in sorted(self.objects) if _within(one, path)]
        rest = {"continue": str(start + limit)} if start + limit < len(found) else {}
        return {"metadata": {"resourceVersion": str(self.version), **rest}, "items": found[start : start + limit]}

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        since = int(request.query["resourceVersion"])
        if since < self._forgotten:
            return await gone()(request)
        response = web.StreamResponse()
        await response.prepare(request)
        self._watches[response] = request
        try:
            while response in self._watches:
                for version, kind, path, obj in list(self._history):
                    if version > since and (kind == "BOOKMARK" or _within(path, request.path)):
                        line = json.dumps({"type": kind, "object": obj}) + "\n"
                        await response.write(line.encode())
                    since = max(since, version)
                async with self._changed:
                    await self._changed.wait()
        finally:
            self._watches.pop(response, None)
        return response

    async def end_watches(self) -> None:
        """End every open watch in good order."""
        self._watches.clear()
        await self.tell()


def _failure(code: int, reason: str, message: str) -> Object:
    return {"data": status(code, reason, message), "status": code}


def _within(path: str, collection: str) -> bool:
    """Tell whether an object's path lies in a collection, also in one over all namespaces."""
    prefix, plural = collection.rsplit("/", 1)
    return path.startswith(prefix) and path.rsplit("/", 2)[1] == plural
