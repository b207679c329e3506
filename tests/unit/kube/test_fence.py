"""One who does not lead writes nothing, whatever it has begun."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from llmfleet.kube.client import Client
from llmfleet.kube.errors import NotFound, NotLeading
from llmfleet.kube.resources import Ref
from llmfleet.kube.session import Connection, lend_session, open_session

POD = Ref.to("Pod", "p", "a")
OBJECT = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "a"}}


class Fence:
    def __init__(self) -> None:
        self.open_for = 1_000_000

    def __call__(self) -> bool:
        self.open_for -= 1
        return self.open_for >= 0


@asynccontextmanager
async def served(seen: list[str], fence: Fence) -> AsyncIterator[Client]:
    async def answer(request: web.Request) -> web.Response:
        seen.append(request.method)
        return web.json_response({"metadata": {}}, status=404 if request.method == "GET" else 200)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    server = TestServer(app)
    await server.start_server()
    connection = Connection(str(server.make_url("")).rstrip("/"))
    async with open_session(connection) as session, lend_session(connection, session, may_write=fence) as fenced:
        yield Client(fenced, connection.server)
    await server.close()


@pytest.mark.parametrize("asked_before", [0, 1], ids=["before it is sent", "between its start and its first byte"])
async def test_no_write_leaves_a_process_that_does_not_lead(asked_before: int) -> None:
    seen: list[str] = []
    fence = Fence()
    async with served(seen, fence) as client:
        await client.apply(OBJECT, manager="m")
        assert seen == ["PATCH"]
        for write in (
            lambda: client.apply(OBJECT, manager="m"),
            lambda: client.create(OBJECT, manager="m"),
            lambda: client.replace(OBJECT, manager="m"),
            lambda: client.patch_json(POD, [], manager="m"),
            lambda: client.delete(POD),
        ):
            fence.open_for = asked_before
            with pytest.raises(NotLeading):
                await write()
        with pytest.raises(NotFound):
            await client.get(POD)
        await asyncio.sleep(0.05)  # a request that had left all the same would be here by now
    assert seen == ["PATCH", "GET"]
