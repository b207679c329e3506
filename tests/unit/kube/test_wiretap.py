"""What can be heard of somebody who follows a resource over a session that we lent."""

import asyncio
import contextlib

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from llmfleet.kube import wiretap
from llmfleet.kube.resources import RESOURCES
from llmfleet.kube.session import Connection, lend_session, open_session
from llmfleet.kube.wiretap import Wiretap
from tests.unit.kube.fake_api import until

PATH = "/apis/llmfleet.dev/v1alpha1/llmdeployments"


OF_B = "/apis/llmfleet.dev/v1alpha1/namespaces/b/llmdeployments"


class Api:
    """Lists nothing, and has watches that can be fed, ended and broken."""

    def __init__(self) -> None:
        self.status = 200
        self.watches: list[tuple[web.Request, web.StreamResponse]] = []
        self.end = asyncio.Event()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query or self.status != 200:
            return web.json_response({"items": []}, status=self.status)
        response = web.StreamResponse()
        await response.prepare(request)
        self.watches.append((request, response))
        with contextlib.suppress(ConnectionError):
            await self.end.wait()
        return response


async def test_what_kopf_does_not_tell_is_heard() -> None:
    clock, api = [0.0], Api()
    doubts: list[str] = []
    app = web.Application()
    app.router.add_get(PATH, api.serve)
    server = TestServer(app)
    await server.start_server()
    connection = Connection(str(server.make_url("")).rstrip("/"))
    tap = Wiretap(RESOURCES["LLMDeployment"], (), doubts.append, clock=lambda: clock[0])
    async with open_session(connection) as session, lend_session(connection, session, listener=tap) as lent:
        url = server.make_url(PATH)

        async def watch() -> aiohttp.ClientResponse:
            clock[0] += wiretap._WATCH_EVERY_S
            return await lent.get(url, params={"watch": "true"})

        async with lent.get(url) as listing:
            await listing.read()
        assert tap.begun.is_set()
        assert tap.synced.is_set()
        first = await watch()
        assert (doubts, tap.age_s()) == ([], 0.0)
        clock[0] += 70
        assert tap.age_s() == 70
        await api.watches[0][1].write(b'{"type":"BOOKMARK"}\n')
        await first.content.readany()
        assert tap.age_s() == 0.0

        # A watch that ends in good order is no cause for doubt; one that breaks is, once the next one stands.
        api.end.set()
        assert await first.content.readany() == b""
        api.end.clear()
        second = await watch()
        assert doubts == []
        transport = api.watches[1][0].transport
        assert transport is not None
        transport.abort()
        with contextlib.suppress(aiohttp.ClientError):
            await second.content.readany()
        await until(lambda: second.content.exception() is not None, "the break to be noticed")
        api.status = 500
        refused = await watch()
        assert tap.last_error == "HTTP 500"
        assert doubts == []
        api.status = 200
        third = await watch()
        assert (len(doubts), tap.last_error) == (1, "")

        async with lent.get(url, params={"limit": "500"}) as listing:
            await listing.read()
        assert doubts[1:] == ["it was listed anew"]
        for response in (first, second, refused, third):
            response.close()
    api.end.set()
    await server.close()


async def test_the_namespaces_that_refuse_are_known() -> None:
    api = Api()
    app = web.Application()
    app.router.add_get(OF_B, api.serve)
    server = TestServer(app)
    await server.start_server()
    connection = Connection(str(server.make_url("")).rstrip("/"))
    tap = Wiretap(RESOURCES["LLMDeployment"], ("a", "b"), lambda _: None)
    async with open_session(connection) as session, lend_session(connection, session, listener=tap) as lent:
        for status, refused in ((403, {"b"}), (500, set()), (403, {"b"}), (200, set())):
            api.status = status
            async with lent.get(server.make_url(OF_B)) as listing:
                assert listing.status == status
            assert tap.refused == refused
    await server.close()


async def test_one_who_follows_nothing_is_idle_and_not_stale() -> None:
    clock = [0.0]
    tap = Wiretap(RESOURCES["LLMDeployment"], ("a", "b"), lambda _: None, clock=lambda: clock[0])
    clock[0] = 500.0
    assert (tap.idle_s(), tap.age_s(), tap.begun.is_set(), tap.synced.is_set()) == (500.0, 0.0, False, False)
