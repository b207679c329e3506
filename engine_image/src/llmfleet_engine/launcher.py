"""The launcher: one life of one engine, from the checks to the last request.

    Checking - Starting - LoadingWeights - Compiling - WarmingUp - Ready - Draining
                         any of them - Failed, with the engine's own cause

It supervises and answers probes; requests never pass through it.
"""

import asyncio
import logging
import os
import signal
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from enum import IntEnum
from pathlib import Path
from typing import Any

import aiohttp

from llmfleet_engine import arguments, cause, cgroup, checks, seed, termination
from llmfleet_engine.api import EngineApi, WarmUpError
from llmfleet_engine.board import Desk, Order
from llmfleet_engine.engine import Engine
from llmfleet_engine.options import Options
from llmfleet_engine.phases import Phase, announced
from llmfleet_engine.probes import served
from llmfleet_engine.state import State

log = logging.getLogger("llmfleet")

POLL_S = 0.25  # between two questions to an engine that starts or drains
WATCH_S = 2.0  # between two questions to one that serves
HUNG_S = 60.0  # without a good answer: only a restart helps
STOP_S = arguments.SHUTDOWN_S + 5.0  # for vLLM to end after SIGTERM, before it is killed
ABANDON_S = 2.0  # the same while it loads: nothing is lost then
RECENT_S = 60.0  # what an engine that served has printed before it died; earlier errors were other ones


class ExitCode(IntEnum):
    """What the launcher's exit status means; docs/engine-image.md explains it to users."""

    STOPPED = 0
    CHECK_FAILED = 1
    USAGE = 2
    ENGINE_FAILED = 3


class Launcher:
    """Runs one engine."""

    def __init__(self, options: Options, environment: Mapping[str, str]) -> None:
        self._options = options
        self._environment = environment
        self._state = State()
        self._stopping = asyncio.Event()
        self._kills = cgroup.kills()

    async def run(self) -> ExitCode:
        """Runs the engine until it ends or the launcher is told to stop; returns the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(served(self._state, self._options.probe_port))
            except OSError as error:
                return self._failed(ExitCode.CHECK_FAILED, f"--probe-port {self._options.probe_port}: {error.strerror}")
            try:
                self._state.gpus = await asyncio.to_thread(checks.run, self._options, self._environment)
                seed.plant(self._environment)
            except checks.CheckError as error:
                return self._failed(ExitCode.CHECK_FAILED, str(error))
            board = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llmfleet.")))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            return await self._live(board, session)

    async def _live(self, board: Path, session: aiohttp.ClientSession) -> ExitCode:
        """Runs the engine from its start to its end."""
        loop = asyncio.get_running_loop()
        engine = Engine(lambda line: self._heard(loop, line))
        desk = Desk(board)
        log.info("starting %s", arguments.shown(self._options))
        self._state.enter(Phase.STARTING, "the engine's process is starting")
        environment = arguments.environment(self._options, self._environment, board=board, cores=cgroup.cores())
        engine.start(arguments.command(self._options), environment)
        serving = asyncio.create_task(self._serve(self._api(session)))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            ends: set[asyncio.Future[Any]] = {engine.exited, serving, stopping}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if engine.exited.done():
                return await self._died(engine)
            if serving.done():
                return await self._cold(engine, serving)
            return await self._stop(engine, desk)
        finally:
            serving.cancel()
            stopping.cancel()

    def _api(self, session: aiohttp.ClientSession) -> EngineApi:
        key = self._options.raw_value("--api-key") or self._environment.get("VLLM_API_KEY")
        return EngineApi(session, self._options.port, self._options.served_model_name, key)

    def _heard(self, loop: asyncio.AbstractEventLoop, line: str) -> None:
        """Takes a line of the engine's output; called on the thread that reads it."""
        phase = announced(line) if self._state.phase.before(Phase.WARMING_UP) else None
        if phase is not None:
            loop.call_soon_threadsafe(self._advance, phase, line)

    def _advance(self, phase: Phase, line: str) -> None:
        if self._state.phase.before(phase):
            log.info("phase %s", phase.value)
            self._state.enter(phase, line.strip()[:200])

    async def _serve(self, api: EngineApi) -> None:
        """Waits for the engine to come up, warms it up, and then watches its health for as long as it serves.

        Raises:
            WarmUpError: it is up and fails its first request.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not await api.healthy():  # noqa: ASYNC110 - another process: there is no event to wait for
            await asyncio.sleep(POLL_S)
        self._state.enter(Phase.WARMING_UP, "answering a first request")
        answered = await api.warm_up()
        if answered is None:
            log.info("not warmed up: the engine offers no API that takes a text; its /health is good")
        else:
            log.info("warmed up by %s", answered)
        took = loop.time() - began
        self._state.started = self._state.healthy = True
        self._state.enter(Phase.READY, f"ready {took:.0f} s after the start")
        log.info("ready %.1f s after the start", took)
        good = loop.time()
        while True:
            await asyncio.sleep(WATCH_S)
            self._state.healthy = await api.healthy()
            if self._state.healthy:
                good = loop.time()
            self._state.hung = loop.time() - good > HUNG_S

    async def _cold(self, engine: Engine, serving: asyncio.Task[None]) -> ExitCode:
        """Ends an engine that came up and failed its first request."""
        try:
            serving.result()
        except WarmUpError as error:
            # An engine that dies of its first request tells why better than the broken connection does.
            await asyncio.wait({engine.exited}, timeout=STOP_S)
            if engine.exited.done():
                return await self._died(engine)
            await engine.stop(ABANDON_S)
            return self._failed(ExitCode.ENGINE_FAILED, f"the warm-up failed: {error}")
        raise AssertionError("watching the engine ended by itself")

    async def _stop(self, engine: Engine, desk: Desk) -> ExitCode:
        """Ends the engine after a signal: at once while it loads, drained once it has served."""
        if not self._state.started:
            self._state.enter(Phase.DRAINING, "stopped before it was ready")
            log.info("stopped before it was ready")
            await engine.stop(ABANDON_S)
            return ExitCode.STOPPED
        await self._drain(engine, desk)
        if engine.exited.done():
            return await self._died(engine)
        await engine.stop(STOP_S)
        log.info("stopped")
        return ExitCode.STOPPED

    async def _drain(self, engine: Engine, desk: Desk) -> None:
        """Lets go of the clients: serves on until the Service has forgotten this pod, then waits for what runs."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        propagation_s = self._options.propagation_s
        desk.give(Order.FAREWELL)
        self._state.enter(Phase.DRAINING, f"serving on for {propagation_s:g} s until no new requests come")
        log.info("draining: %d requests run, serving on for %g s", desk.running(), propagation_s)
        await asyncio.wait({engine.exited}, timeout=propagation_s)
        desk.give(Order.REFUSE)
        deadline = began + max(self._options.drain_timeout_s, propagation_s)
        while (running := desk.running()) and loop.time() < deadline and not engine.exited.done():
            self._state.enter(Phase.DRAINING, f"{running} requests run, at most {deadline - loop.time():.0f} s more")
            await asyncio.wait({engine.exited}, timeout=POLL_S)
        log.info("drained after %.1f s, %d requests cut off", loop.time() - began, running)

    async def _died(self, engine: Engine) -> ExitCode:
        """Finds out why the engine ended by itself."""
        await engine.clear()
        code = engine.exited.result()
        lines = engine.output.lines(RECENT_S if self._state.started else None) if engine.output is not None else []
        return self._failed(ExitCode.ENGINE_FAILED, self._killed() or cause.find(lines) or ended(code, lines))

    def _killed(self) -> str | None:
        """Says so where the kernel has killed a process of this container for memory."""
        if cgroup.kills() <= self._kills:
            return None
        limit = cgroup.memory_limit_gib()
        limited = "" if limit is None else f" (the container's limit is {limit:.1f} GiB)"
        return f"out of memory: the kernel killed a process of the engine{limited}; give the pod more memory"

    def _failed(self, code: ExitCode, why: str) -> ExitCode:
        self._state.enter(Phase.FAILED, why)
        log.error("%s", why)
        termination.write(self._options.termination_log, why)
        return code


def ended(code: int, lines: list[str]) -> str:
    """Says how the engine ended where its output tells no cause; `code` is -N for signal N."""
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return f"the engine {how}; it last said: {lines[-1].strip()[:300]}" if lines else f"the engine {how}"


def launch(options: Options) -> ExitCode:
    """Runs a launcher in this process; returns the exit status."""

    async def run() -> ExitCode:
        return await Launcher(options, dict(os.environ)).run()

    return asyncio.run(run())
