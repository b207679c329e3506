"""The agent's own small server: probes, and what HAProxy really does now."""

from aiohttp import web

from llmfleet.gateway.accounts import Accounts
from llmfleet.gateway.haproxy.proxy import Proxy


async def serve(host: str, port: int, proxy: Proxy, accounts: Accounts) -> web.AppRunner:
    """Start the server; the caller ends it by ``cleanup()``."""

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def readyz(_: web.Request) -> web.Response:
        ready = proxy.current is not None
        return web.Response(text="ready\n" if ready else "HAProxy was not told yet\n", status=200 if ready else 503)

    async def route(request: web.Request) -> web.Response:
        found = proxy.route((request.match_info["namespace"], request.match_info["name"]))
        return web.json_response(found, status=404) if found is None else web.json_response(found)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=accounts.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.add_routes(
        [
            web.get("/livez", livez),
            web.get("/readyz", readyz),
            web.get("/metrics", metrics),
            web.get("/routes/{namespace}/{name}", route),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
