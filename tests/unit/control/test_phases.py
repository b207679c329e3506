"""What an engine's pod says about itself, which may run any image: believed as far as it is a phase of a start."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import cast

import pytest
from aiohttp import web

from llmfleet.control import phases
from llmfleet.control.cache import Cache, Key
from llmfleet.control.inquiries import Inquiries
from llmfleet.control.phases import Phases
from llmfleet.control.summary import summarise
from llmfleet.decide.decision import decide
from llmfleet.decide.revision import revision_hash
from llmfleet.observe.views import PodView
from llmfleet_engine.phases import Phase
from llmfleet_engine.state import State
from tests.unit.worlds import NOW, deployment, pod, snapshot, stored_spec

KEY: Key = ("team", "chat")
NEW = revision_hash(stored_spec())
LOADING = json.dumps({"phase": "LoadingWeights"})


def said(text: str) -> web.Response:
    return web.Response(text=text, content_type="application/json")


class World:
    """What is known of the cluster, one starting engine; and what was told about it."""

    def __init__(self, address: str) -> None:
        self.engines = (pod(NEW, probe=address),)
        self.told: asyncio.Queue[str] = asyncio.Queue()

    def pods(self, _: Key) -> tuple[PodView, ...]:
        return self.engines

    def set_phase(self, _: Key, pod_uid: str, phase: str) -> None:
        assert pod_uid == f"pod-{NEW}-0"
        self.told.put_nowait(phase)


@asynccontextmanager
async def launcher(answer: web.Response) -> AsyncIterator[tuple[str, list[str]]]:
    """Something that answers as a launcher's port; yields its address and the paths it was asked for."""
    asked: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append(request.path)
        again = web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        return again if request.path == "/state" else said(LOADING)

    runner = web.AppRunner(application := web.Application())
    application.router.add_get("/{path:.*}", handle)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


async def told(answer: web.Response) -> tuple[str, list[str]]:
    async with launcher(answer) as (address, asked):
        world = World(address)
        inquiries = Inquiries(cast("Cache", world), Phases(cast("Cache", world)))
        try:
            inquiries.look(KEY)
            return await asyncio.wait_for(world.told.get(), 5), asked
        finally:
            await inquiries.close()


@pytest.mark.parametrize(
    ("answer", "phase"),
    [
        (said(LOADING), "LoadingWeights"),
        (said('{"phase": "Ready"}'), ""),
        (said('{"phase": "Draining"}'), ""),
        (said('{"phase": "being attacked, call +1 555 0100"}'), ""),
        (said('{"phase": ["LoadingWeights"]}'), ""),
        (said('["LoadingWeights"]'), ""),
        (said("[" * 4000), ""),
        (said("no JSON"), ""),
        (said(" " * 5000 + LOADING), ""),
    ],
    ids=["a phase", "ready", "draining", "prose", "a list", "no object", "deep", "no JSON", "long"],
)
async def test_only_phases_of_a_start_are_taken_over(answer: web.Response, phase: str) -> None:
    assert await told(answer) == (phase, ["/state"])


async def test_a_phase_is_taken_back_when_the_pod_has_become_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phases, "_EVERY_S", 0)
    async with launcher(said(LOADING)) as (address, _):
        world = World(address)
        inquiries = Inquiries(cast("Cache", world), Phases(cast("Cache", world)))
        inquiries.look(KEY)
        inquiries.look(KEY)
        assert await asyncio.wait_for(world.told.get(), 5) == "LoadingWeights"
        world.engines = (pod(NEW, ready=True, probe=address),)
        told = "LoadingWeights"
        while told:
            told = await asyncio.wait_for(world.told.get(), 5)
        await inquiries.close()
    assert world.told.empty(), "it was asked twice"


async def test_a_pod_does_not_send_the_operator_elsewhere() -> None:
    redirect = web.Response(status=302, headers={"Location": "/elsewhere"})
    assert await told(redirect) == ("", ["/state"])


async def test_of_an_endless_answer_only_the_beginning_is_read() -> None:
    sent, hung_up = 0, asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while sent < 2**30:
                writer.write(b" " * 2**16)
                await writer.drain()
                sent += 2**16
        except ConnectionError:
            hung_up.set()
        finally:
            writer.close()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    async with server:
        world = World(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        inquiries = Inquiries(cast("Cache", world), Phases(cast("Cache", world)))
        inquiries.look(KEY)
        assert await asyncio.wait_for(world.told.get(), 5) == ""
        await asyncio.wait_for(hung_up.wait(), 5)
        await inquiries.close()
    assert sent < 2**24  # what fits into the buffers on the way, far from what came within the time limit


async def test_one_missed_answer_says_nothing_and_a_second_one_does() -> None:
    async with launcher(said(LOADING)) as (address, _):
        world = World(address)
        asking = Phases(cast("Cache", world))
        (answering,) = world.engines
        silent = replace(answering, probe="127.0.0.1:1")
        told_after = []
        for view in (answering, silent, answering, silent, silent):
            again_s = await asking.ask(KEY, view)
            told_after.append((world.told.get_nowait() if not world.told.empty() else None, again_s))
        await asking.close()
    assert told_after == [("LoadingWeights", 2), (None, 2), ("LoadingWeights", 2), (None, 2), ("", 15)]


class Busy(Phases):
    """Answers slowly, and counts."""

    open = most = 0

    async def _phase(self, address: str) -> str:
        assert address
        self.open += 1
        self.most = max(self.most, self.open)
        await asyncio.sleep(0.001)
        self.open -= 1
        return "LoadingWeights"


async def test_a_fleet_that_starts_is_asked_at_a_bounded_rate() -> None:
    world = World("127.0.0.1:1")
    world.set_phase = lambda *_: None  # type: ignore[method-assign]
    asking = Busy(cast("Cache", world))
    pods = [replace(world.engines[0], uid=f"uid{number}") for number in range(1000)]
    await asyncio.gather(*(asking.ask(KEY, view) for view in pods))
    assert await asking.ask(KEY, pods[0]) == 20, "a thousand in twenty seconds"
    assert asking.most == 32
    for view in pods[1:]:
        asking.forget(KEY, view.uid)
    assert await asking.ask(KEY, pods[0]) == 2


async def test_every_phase_of_a_start_has_words_of_its_own() -> None:
    for phase in Phase:
        word, _ = await told(said(json.dumps(State(phase=phase).document())))
        starts = phase.before(Phase.READY)
        assert word == (phase.value if starts else "")
        if starts:
            world = snapshot(deployments=(deployment(NEW),), pods=(pod(NEW),), phases={f"pod-{NEW}-0": word})
            summary = summarise(world, decide(world, NOW), None, outdated=False, now=NOW).summary
            assert phase.value not in summary.split(), f"no words for {phase.value}"
