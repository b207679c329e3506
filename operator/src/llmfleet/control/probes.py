"""The operator's own small server: /livez, /readyz and /metrics. It answers before everything else starts.

/livez fails when a restart would help, and only then: a watch of a leader that shows no sign of life, a worker that
does not come back. That it is answered at all, in time, shows that the event loop lives. A standby passes.
/readyz passes for who acts and for who stands by to act. Both begin with a line that says which of the two it is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from llmfleet.control.metrics import Metrics


@dataclass
class Vitals:
    """What the process knows about itself.

    Attributes:
        phase: what it does, in a word or two: starting, standby, leading.
        ready: whether it does what it is there for; a standby does.
        checks: by name, a function that returns what is wrong and a restart would mend, or nothing.
        notes: by name, a function that returns what a person should know and a restart would not mend, or nothing.
    """

    phase: str = "starting"
    ready: bool = False
    checks: dict[str, Callable[[], str]] = field(default_factory=dict)
    notes: dict[str, Callable[[], str]] = field(default_factory=dict)

    def complaints(self) -> list[str]:
        """Return what is wrong, by check."""
        return _said(self.checks)

    def remarks(self) -> list[str]:
        """Return what a person should know."""
        return _said(self.notes)


def _said(functions: Mapping[str, Callable[[], str]]) -> list[str]:
    return [f"{name}: {said}" for name, function in functions.items() if (said := function())]


async def serve(host: str, port: int, vitals: Vitals, metrics: Metrics) -> web.AppRunner:
    """Start the server; the caller ends it by ``cleanup()``. The socket's real port is ``runner.addresses[0][1]``."""

    async def livez(_: web.Request) -> web.Response:
        complaints = vitals.complaints()
        return _lines([vitals.phase, *complaints], 503 if complaints else 200)

    async def readyz(_: web.Request) -> web.Response:
        return _lines([vitals.phase, *vitals.remarks()], 200 if vitals.ready else 503)

    async def show_metrics(_: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", show_metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner


def _lines(lines: list[str], status: int) -> web.Response:
    return web.Response(text="\n".join(lines) + "\n", status=status)
