"""The operator's own small server: /livez, /readyz and /metrics. It answers before everything else starts."""

from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from llmfleet.control.metrics import Metrics


@dataclass
class Vitals:
    """What the process knows about itself.

    Attributes:
        phase: what it does, in a word or two: starting, standby, leading.
        ready: whether it does what it is there for; a standby does.
        checks: by name, a function that returns what is wrong, or nothing.
    """

    phase: str = "starting"
    ready: bool = False
    checks: dict[str, Callable[[], str]] = field(default_factory=dict)

    def complaints(self) -> list[str]:
        """Return what is wrong, by check."""
        return [f"{name}: {said}" for name, check in self.checks.items() if (said := check())]


async def serve(host: str, port: int, vitals: Vitals, metrics: Metrics) -> web.AppRunner:
    """Start the server; the caller ends it by ``cleanup()``. The socket's real port is ``runner.addresses[0][1]``."""

    async def livez(_: web.Request) -> web.Response:
        complaints = vitals.complaints()
        return web.Response(text="\n".join([vitals.phase, *complaints]) + "\n", status=503 if complaints else 200)

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text=f"{vitals.phase}\n", status=200 if vitals.ready else 503)

    async def show_metrics(_: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", show_metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
