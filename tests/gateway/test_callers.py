"""Who may call, how often, and what: keys, limits and the list of models, at a real HAProxy."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import MappingProxyType

import httpx
import pytest

from llmfleet.gateway.routing import Model, Routing, Tenant
from tests.gateway.conftest import Gateway, Simulator
from tests.gateway.test_routing import model

pytestmark = pytest.mark.gateway


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(tmp_path / "run", keys=True)
    yield made
    made.stop()


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as made:
        yield made


def tenant(name: str, key: str, **more: object) -> Tenant:
    return Tenant(name, frozenset({hashlib.sha256(key.encode()).hexdigest()}), **more)


def routing(models: list[Model], *tenants: Tenant) -> Routing:
    return Routing(MappingProxyType({one.name: one for one in models}), tenants)


async def ask(client: httpx.AsyncClient, key: str, name: str = "chat") -> httpx.Response:
    body = {"model": name, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
    return await client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_a_key_lets_in_until_it_is_revoked_and_never_reaches_engine_or_file(
    gateway: Gateway, simulate: Callable[..., Simulator], client: httpx.AsyncClient
) -> None:
    engine = simulate("chat")
    await gateway.route(routing([model("chat", engine)], tenant("acme", "sk-acme")))
    assert (await ask(client, "sk-acme")).status_code == 200
    assert refusal(await ask(client, "sk-other")) == (401, "invalid_api_key")
    without = await client.post("/v1/chat/completions", json={"model": "chat"})
    assert refusal(without) == (401, "invalid_api_key")
    by_header = await client.get("/v1/models", headers={"x-api-key": "sk-acme"})
    assert by_header.status_code == 200
    assert b"sk-acme" not in gateway.written()
    await gateway.route(routing([model("chat", engine)], tenant("acme", "sk-new")))
    assert refusal(await ask(client, "sk-acme")) == (401, "invalid_api_key")
    assert (await ask(client, "sk-new")).status_code == 200


async def test_a_tenant_sees_and_calls_its_models_only(
    gateway: Gateway, simulate: Callable[..., Simulator], client: httpx.AsyncClient
) -> None:
    models = [model("chat", simulate("chat")), model("secret", simulate("secret"))]
    await gateway.route(routing(models, tenant("acme", "sk-acme", models=frozenset({"chat"})), tenant("all", "sk-all")))
    assert (await ask(client, "sk-acme", "chat")).status_code == 200
    assert refusal(await ask(client, "sk-acme", "secret")) == (403, "model_not_allowed")
    assert (await ask(client, "sk-all", "secret")).status_code == 200
    for key, seen in (("sk-acme", ["chat"]), ("sk-all", ["chat", "secret"])):
        listed = await client.get("/v1/models", headers={"authorization": f"Bearer {key}"})
        assert [one["id"] for one in listed.json()["data"]] == seen


async def test_a_tenant_over_its_rate_is_told_when_to_come_again_and_others_are_not_touched(
    gateway: Gateway, simulate: Callable[..., Simulator], client: httpx.AsyncClient
) -> None:
    models = [model("chat", simulate("chat"))]
    await gateway.route(routing(models, tenant("acme", "sk-acme", per_minute=5), tenant("free", "sk-free")))
    answers = [await ask(client, "sk-acme") for _ in range(8)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 3
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers[:5]] == ["4", "3", "2", "1", "0"]
    assert refusal(answers[-1]) == (429, "rate_limit_exceeded")
    assert answers[-1].headers["retry-after"] == answers[-1].headers["x-ratelimit-reset"] == "12"
    assert {(await ask(client, "sk-free")).status_code for _ in range(8)} == {200}


async def test_a_tenant_has_so_many_requests_at_once(
    gateway: Gateway, simulate: Callable[..., Simulator], client: httpx.AsyncClient
) -> None:
    models = [model("chat", simulate("chat", "--time-to-first-token=1s"))]
    await gateway.route(routing(models, tenant("acme", "sk-acme", at_once=3)))
    answers = await asyncio.gather(*(ask(client, "sk-acme") for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 3
    assert (await ask(client, "sk-acme")).status_code == 200
