from datetime import datetime

import pytest
from aiohttp.test_utils import TestClient, TestServer

from llmfleet_engine.gpu import Gpu
from llmfleet_engine.phases import Phase
from llmfleet_engine.probes import application
from llmfleet_engine.state import State


def at(phase: Phase, *, started: bool = False, healthy: bool = False, hung: bool = False) -> State:
    return State(phase=phase, message="a sentence", started=started, healthy=healthy, hung=hung)


@pytest.mark.parametrize(
    ("state", "startup", "ready", "live"),
    [
        (at(Phase.CHECKING), 503, 503, 200),
        (at(Phase.LOADING_WEIGHTS), 503, 503, 200),
        (at(Phase.READY, started=True, healthy=True), 200, 200, 200),
        (at(Phase.READY, started=True), 200, 503, 200),
        (at(Phase.READY, started=True, hung=True), 200, 503, 503),
        (at(Phase.DRAINING, started=True, healthy=True), 200, 503, 200),
        (at(Phase.FAILED, started=True), 200, 503, 503),
    ],
)
async def test_probes_tell_the_state(state: State, startup: int, ready: int, live: int) -> None:
    async with TestClient(TestServer(application(state))) as client:
        answers = [(await client.get(path)).status for path in ("/startupz", "/readyz", "/livez")]
    assert answers == [startup, ready, live]


async def test_the_state_is_a_document() -> None:
    state = State(gpus=(Gpu(0, "NVIDIA L4", 23_034),))
    state.enter(Phase.WARMING_UP, "answering a first request")
    async with TestClient(TestServer(application(state))) as client:
        document = await (await client.get("/state")).json()
    since = datetime.fromisoformat(document.pop("since"))
    assert since.tzinfo is not None
    assert document == {
        "phase": "WarmingUp",
        "message": "answering a first request",
        "gpus": [{"index": 0, "name": "NVIDIA L4", "memoryMiB": 23_034}],
    }


def test_a_new_message_in_the_same_phase_does_not_move_its_beginning() -> None:
    state = State()
    state.enter(Phase.DRAINING, "2 requests run")
    began = state.since
    state.enter(Phase.DRAINING, "1 request runs")
    assert state.since == began
    assert state.message == "1 request runs"
