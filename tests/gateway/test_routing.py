"""Requests through a real HAProxy to simulated engines: where they go, and what callers are told when they cannot."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from types import MappingProxyType

import httpx
import openai
import pytest

from llmfleet.gateway.haproxy import file
from llmfleet.gateway.routing import Arm, Balance, Model, Routing
from tests.gateway.conftest import Gateway, Simulator

pytestmark = pytest.mark.gateway


def routing(*models: Model) -> Routing:
    return Routing(MappingProxyType({model.name: model for model in models}))


def model(name: str, *engines: Simulator, **more: object) -> Model:
    return Model(name, ("default", name), Arm("one", tuple(engine.engine() for engine in engines)), **more)


async def ask(client: httpx.AsyncClient, name: str, **more: object) -> httpx.Response:
    body = {"model": name, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5, **more}
    return await client.post("/v1/chat/completions", json=body)


async def test_the_openai_client_is_answered_whole_and_streamed(gateway: Gateway, simulate: Callable) -> None:
    await gateway.route(routing(model("chat", simulate("chat"))))
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
        asked = {"model": "chat", "messages": [{"role": "user", "content": "Hello"}]}
        whole = await client.chat.completions.create(**asked)
        assert whole.choices[0].message.content
        pieces = [piece async for piece in await client.chat.completions.create(**asked, stream=True)]
        assert any(piece.choices and piece.choices[0].delta.content for piece in pieces)


async def test_a_model_is_found_by_body_header_and_path(
    gateway: Gateway, simulate: Callable, client: httpx.AsyncClient
) -> None:
    await gateway.route(routing(model("org/chat-7b", simulate("org/chat-7b"))))
    body = {"model": "org/chat-7b", "messages": [{"role": "user", "content": "Hello"}]}
    by_body = await client.post("/v1/chat/completions", json=body)
    by_header = await client.post("/v1/chat/completions", json=body, headers={"x-model": "org/chat-7b"})
    by_path = await client.post("/m/org/chat-7b/v1/chat/completions", json=body)
    assert [answer.status_code for answer in (by_body, by_header, by_path)] == [200, 200, 200]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            '{"messages":[{"role":"user","content":"\\u4f60\\u597d \\ud83d\\ude00"}],"model":"chat"}', id="escaped"
        ),
        pytest.param('{"messages":[{"role":"user","content":"你好 😀"}],"model":"chat"}', id="raw"),
        pytest.param(
            '{"x":' + "[" * 30 + "]" * 30 + ',"messages":[{"role":"user","content":"a"}],"model":"chat"}', id="deep"
        ),
        pytest.param(
            '{"messages":[{"role":"user","content":"\\"model\\": \\"no\\" }"}], "model" : "chat"}', id="quoted"
        ),
        pytest.param(
            '{"metadata":{"model":"no"},"messages":[{"role":"user","content":"a"}],"model":"chat"}', id="nested"
        ),
    ],
)
async def test_a_model_is_found_in_bodies_that_are_hard_to_read(
    gateway: Gateway, simulate: Callable, client: httpx.AsyncClient, body: str
) -> None:
    await gateway.route(routing(model("chat", simulate("chat"))))
    answer = await client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200, answer.text


async def test_who_asks_wrongly_is_told_what_to_do(gateway: Gateway, client: httpx.AsyncClient) -> None:
    await gateway.route(routing(model("empty")))
    for sent, status, code in (
        ({"content": '{"model":"nope"}'}, 404, "model_not_found"),
        ({"content": "{bad"}, 400, "model_missing"),
        ({"content": '{"model":"empty"}'}, 503, "model_not_ready"),
    ):
        answer = await client.post("/v1/chat/completions", **sent)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert int(answer.headers["retry-after"]) > 0
    asked = await client.post("/v1/chat/completions", content=json.dumps({"model": 'a"b\\'}))
    assert 'a"b\\' in asked.json()["error"]["message"]


async def test_a_share_of_conversations_goes_to_the_canary_and_each_stays_where_it_is(
    gateway: Gateway, simulate: Callable, client: httpx.AsyncClient
) -> None:
    stable, canary = simulate("chat"), simulate("chat")
    arms = {"stable": Arm("one", (stable.engine(),)), "canary": Arm("two", (canary.engine(),))}

    async def spread(share: int) -> dict[int, str]:
        await gateway.route(routing(Model("chat", ("default", "chat"), share=share, **arms)))
        return {talk: await served(talk) for talk in range(200)}

    async def served(talk: int) -> str:
        before = await canary.metric("vllm:request_success_total")
        answer = await client.post(
            "/v1/completions",
            json={"model": "chat", "prompt": "Hello", "max_tokens": 1},
            headers={"x-conversation-id": f"talk {talk}"},
        )
        assert answer.status_code == 200
        return "canary" if await canary.metric("vllm:request_success_total") > before else "stable"

    few, more = await spread(1000), await spread(3000)
    assert 5 <= Counter(few.values())["canary"] <= 40
    assert 35 <= Counter(more.values())["canary"] <= 90
    assert {talk for talk, arm in few.items() if arm == "canary"} <= {t for t, arm in more.items() if arm == "canary"}
    assert "canary" not in (await spread(0)).values()


async def test_requests_are_held_until_the_first_engine_is_there(
    gateway: Gateway, simulate: Callable, client: httpx.AsyncClient
) -> None:
    await gateway.route(routing(model("chat", hold_s=20, hold_most=50)))
    asked = [asyncio.create_task(ask(client, "chat")) for _ in range(50)]
    await eventually_held(gateway, 50)
    refused = await ask(client, "chat")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_waiting")
    engine = simulate("chat")
    began = time.monotonic()
    await gateway.route(routing(model("chat", engine, hold_s=20, hold_most=50)))
    assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}
    assert time.monotonic() - began < 3
    await gateway.route(routing(model("chat", hold_s=0.3, hold_most=50)))
    answer = await ask(client, "chat")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_not_ready")


async def eventually_held(gateway: Gateway, count: int) -> None:
    deadline = time.monotonic() + 10
    while await gateway.proxy.held() != {"chat": count}:
        assert time.monotonic() < deadline, await gateway.proxy.held()
        await asyncio.sleep(0.05)


async def test_a_new_model_where_no_slot_is_free_costs_a_reload_and_no_stream(
    gateway: Gateway, simulate: Callable, client: httpx.AsyncClient
) -> None:
    engine = simulate("m0", "--inter-token-latency=50ms", "--time-to-first-token=50ms", "--mode=echo")
    await gateway.route(routing(model("m0", engine)))
    pids = await gateway.proxy.workers()
    words = " ".join(str(number) for number in range(60))

    async def stream() -> str:
        body = {"model": "m0", "messages": [{"role": "user", "content": words}], "stream": True}
        text = ""
        async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: {"):
                    for choice in json.loads(line.removeprefix("data: "))["choices"]:
                        text += choice["delta"].get("content") or ""
        return text

    streams = [asyncio.create_task(stream()) for _ in range(5)]
    await asyncio.sleep(0.5)
    many = [model(f"m{number}", engine) for number in range(12)]
    await gateway.route(routing(*many))
    assert set(await gateway.proxy.workers()) - set(pids), "HAProxy has a new worker"
    assert [text.split() for text in await asyncio.gather(*streams)] == [words.split()] * 5
    # A connection of before the reload may belong to the old worker for one request more, which has no slot for it.
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as new:
        answer = await ask(new, "m11")
    assert answer.status_code == 404, answer.text
    assert answer.json()["error"]["type"] == "NotFoundError", "the engine, which serves m0 only, was asked"


async def test_membership_changes_without_a_reload_and_an_engine_that_leaves_finishes(
    gateway: Gateway, simulate: Callable, client: httpx.AsyncClient
) -> None:
    first = simulate("chat", "--time-to-first-token=1500ms")
    second = simulate("chat")
    await gateway.route(routing(model("chat", first)))
    pids = await gateway.proxy.workers()
    slow = asyncio.create_task(ask(client, "chat"))
    await asyncio.sleep(0.5)
    leaving = Arm("one", (first.engine(leaving=True), second.engine()))
    await gateway.route(routing(Model("chat", ("default", "chat"), leaving)))
    began = time.monotonic()
    assert (await ask(client, "chat")).status_code == 200
    assert time.monotonic() - began < 1, "the new engine answers"
    assert (await slow).status_code == 200
    await gateway.route(routing(model("chat", second)))
    found = gateway.proxy.route(("default", "chat"))
    assert found == {"model": "chat", "arms": [{"revision": "one", "share": 1.0, "engines": 1, "up": 1}]}
    assert await gateway.proxy.workers() == pids


@pytest.mark.parametrize("balance", list(Balance))
async def test_every_way_to_balance_reaches_the_engines(
    gateway: Gateway, simulate: Callable, client: httpx.AsyncClient, balance: Balance
) -> None:
    await gateway.route(routing(model("chat", simulate("chat"), simulate("chat"), balance=balance)))
    assert {(await ask(client, "chat")).status_code for _ in range(4)} == {200}


async def test_an_agent_that_starts_anew_finds_haproxy_at_work_and_changes_nothing(
    gateway: Gateway, simulate: Callable, client: httpx.AsyncClient
) -> None:
    engine = simulate("chat")
    many = routing(*(model(name, engine) for name in ("chat", *(f"m{number}" for number in range(11)))))
    await gateway.route(many)
    pids, files = await gateway.proxy.workers(), {path: path.read_bytes() for path in gateway.configuration()}
    gateway.begin_anew()
    assert await gateway.proxy.observe(), "it serves before the cluster is seen"
    await gateway.route(many)
    assert await gateway.proxy.workers() == pids
    assert {path: path.read_bytes() for path in gateway.configuration()} == files
    assert (await ask(client, "chat")).status_code == 200


async def test_haproxy_that_was_killed_comes_back_as_it_was_without_the_agent(
    gateway: Gateway, simulate: Callable, client: httpx.AsyncClient
) -> None:
    await gateway.route(routing(model("chat", simulate("chat"))))
    gateway.restart()
    deadline = time.monotonic() + 10
    while True:
        try:
            answer = await ask(client, "chat")
        except httpx.TransportError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        else:
            break
    assert answer.status_code == 200


async def test_a_file_that_haproxy_refuses_changes_nothing_and_is_not_tried_again(
    gateway: Gateway, simulate: Callable, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = simulate("chat")
    await gateway.route(routing(model("chat", engine)))
    pids, rendered = await gateway.proxy.workers(), file.rendered
    monkeypatch.setattr(file, "rendered", lambda *arguments: rendered(*arguments) + "nonsense\n")
    many = routing(*(model(name, engine) for name in ("chat", *(f"m{number}" for number in range(11)))))
    for _ in range(5):
        await gateway.proxy.converge(many)
    assert await gateway.proxy.workers() == pids
    assert (await ask(client, "chat")).status_code == 200
    assert (await client.post("/m/m0/v1/chat/completions", json={"model": "chat"})).status_code != 404
    monkeypatch.undo()
