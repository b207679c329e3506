"""What the gateway counts, beside what a caller has seen."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from llmfleet.gateway.accounts import Accounts, listen
from tests.gateway.conftest import Gateway, Simulator
from tests.gateway.test_routing import ask, model, routing

pytestmark = pytest.mark.gateway


class Books:
    """The gateway's accounts, as Prometheus reads them."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def value(self, name: str, **labels: str) -> float:
        families = text_string_to_metric_families(self._accounts.text().decode())
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def wait(self, count: float, name: str, **labels: str) -> None:
        """A line is written when a request is over, a moment after its last byte."""
        deadline = time.monotonic() + 5
        while (found := self.value(name, **labels)) != count:
            assert time.monotonic() < deadline, f"{name} {labels} is {found}, not {count}"
            await asyncio.sleep(0.02)

    @staticmethod
    async def until(condition: Callable[[], Awaitable[float]]) -> None:
        deadline = time.monotonic() + 5
        while not await condition():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


@pytest.fixture
async def books(gateway: Gateway) -> AsyncIterator[Books]:
    accounts = Accounts(gateway.proxy.revision_of, echo=False)
    transport = await listen(gateway.folder / "log.sock", accounts)
    yield Books(accounts)
    transport.close()


async def test_requests_are_counted_by_outcome(
    gateway: Gateway, simulate: Callable[..., Simulator], client: httpx.AsyncClient, books: Books
) -> None:
    await gateway.route(routing(model("chat", simulate("chat")), model("empty")))
    for _ in range(3):
        await ask(client, "chat")
    await ask(client, "nope")
    await ask(client, "empty")
    await client.post("/v1/completions", json={"model": "chat", "prompt": "a", "max_tokens": -5})
    requests = "llmfleet_gateway_requests_total"
    await books.wait(3, requests, model="chat", revision="one", outcome="ok")
    await books.wait(1, requests, model="nope", revision="", outcome="refused")
    await books.wait(1, requests, model="empty", revision="", outcome="refused")
    await books.wait(1, requests, model="chat", outcome="invalid")


async def test_the_first_token_is_timed_as_the_caller_sees_it(
    gateway: Gateway, simulate: Callable[..., Simulator], client: httpx.AsyncClient, books: Books
) -> None:
    await gateway.route(routing(model("chat", simulate("chat", "--time-to-first-token=300ms"))))
    await ask(client, "chat")
    await books.wait(1, "llmfleet_gateway_requests_total", outcome="ok")
    before = books.value("llmfleet_gateway_user_ttft_seconds_sum")
    body = {"model": "chat", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    began, first = time.monotonic(), 0.0
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data:") and not first:
                first = time.monotonic() - began
    await books.wait(2, "llmfleet_gateway_requests_total", outcome="ok")
    told = books.value("llmfleet_gateway_user_ttft_seconds_sum", model="chat", revision="one") - before
    assert told >= 0.29
    assert abs(told - first) < 0.03, (told, first)
    assert books.value("llmfleet_gateway_engine_ttft_seconds_sum") <= books.value(
        "llmfleet_gateway_user_ttft_seconds_sum"
    )


async def test_a_caller_who_leaves_frees_the_engine_within_200_ms(
    gateway: Gateway, simulate: Callable[..., Simulator], client: httpx.AsyncClient, books: Books
) -> None:
    engine = simulate("chat", "--time-to-first-token=20s")
    await gateway.route(routing(model("chat", engine)))
    asked = asyncio.create_task(ask(client, "chat"))
    await books.until(lambda: engine.metric("vllm:num_requests_running"))
    asked.cancel()
    left = time.monotonic()
    await books.wait(1, "llmfleet_gateway_requests_total", outcome="left")
    assert time.monotonic() - left < 0.2
