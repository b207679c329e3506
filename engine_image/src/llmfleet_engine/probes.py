"""The launcher's own HTTP server: what Kubernetes and the operator ask about this engine. No request passes through."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from llmfleet_engine.state import State


def application(state: State) -> web.Application:
    """Returns the probes as a web application.

    /startupz  200 once the engine was ready for the first time
    /readyz    200 while it should get requests
    /livez     200 until it died or hangs: then only a restart helps
    /state     the phase, since when, a sentence, the GPUs, as JSON
    """

    def probe(good: Callable[[], bool]) -> Callable[[web.Request], web.Response]:
        def answer(_: web.Request) -> web.Response:
            return web.Response(status=200 if good() else 503, text=f"{state.phase.value}: {state.message}\n")

        return answer

    def document(_: web.Request) -> web.Response:
        return web.json_response(state.document())

    async def answer(request: web.Request) -> web.Response:
        return answers[request.path](request)

    answers = {
        "/startupz": probe(lambda: state.started),
        "/readyz": probe(lambda: state.ready),
        "/livez": probe(lambda: state.alive),
        "/state": document,
    }
    made = web.Application()
    made.router.add_routes([web.get(path, answer) for path in answers])
    return made


@asynccontextmanager
async def served(state: State, port: int) -> AsyncIterator[None]:
    """Serves the probes on all addresses of the container while the block runs.

    Raises:
        OSError: the port is taken.
    """
    runner = web.AppRunner(application(state), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port, shutdown_timeout=1).start()
        yield
    finally:
        await runner.cleanup()
