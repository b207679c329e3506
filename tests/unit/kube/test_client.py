import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from llmfleet.kube import errors
from llmfleet.kube.answer import read_lines
from llmfleet.kube.client import Client
from llmfleet.kube.resources import RESOURCES, Ref, Resource, resource_of
from tests.unit.kube.fake_api import FakeApi, answer, hang, hang_up, status

PODS = "/api/v1/namespaces/a/pods"
POD = Ref.to("Pod", "p", "a")


@pytest.fixture
async def api() -> FakeApi:
    made = FakeApi()
    await made.put(PODS, "p", value=1)
    return made


@pytest.fixture
async def client(api: FakeApi) -> AsyncIterator[Client]:
    async with api.serve() as made:
        yield made


def pod(**fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "a"}, **fields}


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (400, "BadRequest", errors.BadRequest),
        (401, "Unauthorized", errors.Unauthorized),
        (403, "Forbidden", errors.Forbidden),
        (404, "NotFound", errors.NotFound),
        (409, "Conflict", errors.Conflict),
        (409, "AlreadyExists", errors.AlreadyExists),
        (410, "Expired", errors.Gone),
        (422, "Invalid", errors.Invalid),
        (429, "TooManyRequests", errors.TooManyRequests),
        (500, "InternalError", errors.ServerError),
        (503, "ServiceUnavailable", errors.ServerError),
        (418, "Teapot", errors.ApiError),
    ],
)
async def test_every_refusal_has_its_class_and_the_servers_words(
    api: FakeApi, client: Client, code: int, reason: str, kind: type[errors.ApiError]
) -> None:
    causes = [{"field": "spec.replicas", "message": "must not be negative"}]
    api.fail("GET", answer(code, status(code, reason, "the server's words", causes=causes)))
    with pytest.raises(errors.ApiError) as caught:
        await client.get(POD)
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.reason, str(caught.value)) == (code, reason, "the server's words")
    assert caught.value.causes == (errors.Cause("spec.replicas", "must not be negative"),)


async def test_an_apply_that_breaks_the_schema_is_invalid_and_no_server_error(api: FakeApi, client: Client) -> None:
    message = "failed to create typed patch object (a/p; /v1, Kind=Pod): .spec.bogus: field not declared in schema"
    api.fail("PATCH", answer(500, status(500, "", message)))
    with pytest.raises(errors.Invalid, match=r"\.spec\.bogus: field not declared"):
        await client.apply(pod(), manager="llmfleet")


async def test_retry_after_is_carried_from_header_or_body(api: FakeApi, client: Client) -> None:
    api.fail(
        "GET",
        answer(429, "Too many requests, please try again later.\n", Retry_After="7"),
        answer(429, status(429, "TooManyRequests", "slow down", retryAfterSeconds=3)),
        answer(503, status(503, "ServiceUnavailable", "starting"), Retry_After="Fri, 01 Jan 2027 00:00:00 GMT"),
    )
    waits = []
    for _ in range(3):
        with pytest.raises(errors.ApiError) as caught:
            await client.get(POD)
        waits.append((type(caught.value), caught.value.retry_after_s))
    assert waits == [(errors.TooManyRequests, 7), (errors.TooManyRequests, 3), (errors.ServerError, None)]


@pytest.mark.parametrize("body", ["<html>login</html>", "[1, 2]", '{"hello": "world"}', ""])
async def test_an_answer_that_is_no_object_counts_as_unreachable(api: FakeApi, client: Client, body: str) -> None:
    api.fail("GET", answer(200, body))
    with pytest.raises(errors.Unreachable):
        await client.get(POD)


async def test_no_answer_in_time_is_unreachable() -> None:
    api = FakeApi()
    async with api.serve() as made:
        api.fail("GET", hang)
        impatient = Client(made._session, made._server, timeout_s=0.1)
        with pytest.raises(errors.Unreachable, match="/api/v1/namespaces/a/pods/p: "):
            await impatient.get(POD)


async def test_a_write_waits_longer_than_any_webhook_may_take() -> None:
    """The API server's word on a webhook that hangs comes after 30 s, our limit for reads; ours must not be first."""
    api = FakeApi()

    async def hanging_webhook(_: web.Request) -> web.Response:
        await asyncio.sleep(0.3)
        said = 'failed calling webhook "x": context deadline exceeded'
        return web.json_response(status(500, "InternalError", said), status=500)

    async with api.serve() as made:
        api.fail("PATCH", hanging_webhook)
        impatient = Client(made._session, made._server, timeout_s=0.1)
        with pytest.raises(errors.ServerError, match="failed calling webhook"):
            await impatient.apply(pod(value=2), manager="llmfleet")
        assert impatient.since_write_s() == math.inf
        await impatient.create(pod(value=2), manager="llmfleet")
        assert impatient.since_write_s() < 5


async def test_an_apply_survives_a_pooled_connection_that_the_server_closed(api: FakeApi, client: Client) -> None:
    api.fail("PATCH", hang_up)
    assert (await client.apply(pod(value=2), manager="llmfleet"))["value"] == 2


async def test_an_apply_that_the_server_hangs_up_on_twice_fails(api: FakeApi, client: Client) -> None:
    api.fail("PATCH", hang_up, hang_up)
    with pytest.raises(errors.Unreachable):
        await client.apply(pod(), manager="llmfleet")


async def test_a_create_is_not_sent_twice(api: FakeApi, client: Client) -> None:
    api.fail("POST", hang_up)
    with pytest.raises(errors.Unreachable):
        await client.create(pod(), manager="llmfleet")
    assert len(api.asked("POST")) == 1


async def test_apply_says_who_it_is(api: FakeApi, client: Client) -> None:
    await client.apply(pod(), manager="llmfleet")
    await client.apply(pod(), manager="llmfleet", force=False)
    assert api.asked("PATCH") == [
        {"fieldManager": "llmfleet", "force": "true"},
        {"fieldManager": "llmfleet", "force": "false"},
    ]
    assert api.headers[-1]["Content-Type"] == "application/apply-patch+yaml"


async def test_a_status_is_applied_to_its_subresource_only(api: FakeApi, client: Client) -> None:
    with pytest.raises(ValueError, match="subresource='status'"):
        await client.apply(pod(status={}), manager="llmfleet-status")
    assert not api.requests
    with pytest.raises(errors.NotFound):
        await client.apply(pod(status={}), manager="llmfleet-status", subresource="status")
    assert api.requests[-1][:2] == ("PATCH", f"{PODS}/p/status")


async def test_a_list_goes_page_by_page_and_its_items_know_their_kind(api: FakeApi, client: Client) -> None:
    for number in range(5):
        await api.put(PODS, f"x{number}", value=number)
    pages = [page async for page in client.pages(RESOURCES["Pod"], "a", limit=2, label_selector="a in (b,c)")]
    assert [len(page["items"]) for page in pages] == [2, 2, 2]
    assert {(item["apiVersion"], item["kind"]) for page in pages for item in page["items"]} == {("v1", "Pod")}
    assert [query.get("continue") for query in api.asked("LIST")] == [None, "2", "4"]
    assert {query["labelSelector"] for query in api.asked("LIST")} == {"a in (b,c)"}
    assert len([item async for item in client.list(RESOURCES["Pod"])]) == 6


async def test_no_more_calls_are_in_flight_than_allowed_and_the_rest_wait() -> None:
    api = FakeApi()
    async with api.serve() as made:
        narrow = Client(made._session, made._server, in_flight=2, timeout_s=5)
        api.fail("GET", hang, hang)
        stuck = [asyncio.create_task(narrow.get(POD)) for _ in range(2)]
        waiting = asyncio.create_task(narrow.get(POD))
        while len(api.requests) < 2:  # noqa: ASYNC110 - the fake server has no event for it
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        assert len(api.requests) == 2
        stuck[0].cancel()
        with pytest.raises(errors.NotFound):
            await waiting
        stuck[1].cancel()
        await asyncio.wait(stuck)


class BrokenStream:
    """A body whose connection ended between two reads, as aiohttp shows it."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = list(chunks)

    async def readany(self) -> bytes:
        if self._chunks:
            return self._chunks.pop(0)
        raise RuntimeError("Connection closed.")


async def test_a_connection_that_ended_between_two_reads_is_a_broken_one() -> None:
    lines = read_lines(BrokenStream(b"one\ntw", b"o\nthree"))  # type: ignore[arg-type]
    assert [await anext(lines), await anext(lines)] == [b"one", b"two"]
    with pytest.raises(aiohttp.ClientConnectionError):
        await anext(lines)


async def test_calls_are_observed(api: FakeApi, client: Client) -> None:
    seen: list[tuple[str, str, str]] = []

    def observe(verb: str, resource: Resource, code: str, seconds: float) -> None:
        assert 0 <= seconds < 5
        seen.append((verb, resource.kind, code))

    observed = Client(client._session, client._server, observe=observe)
    await observed.get(POD)
    api.fail("GET", answer(403, status(403, "Forbidden", "no")), hang_up, hang_up)
    for _ in range(2):
        with pytest.raises(errors.ApiError):
            await observed.get(POD)
    async for _ in observed.watch(RESOURCES["Pod"], resource_version="1"):
        break
    api.fail("WATCH", answer(410, status(410, "Expired", "old")))
    with pytest.raises(errors.Gone):
        await anext(observed.watch(RESOURCES["Pod"], resource_version="1"))
    assert seen == [
        ("get", "Pod", "200"),
        ("get", "Pod", "403"),
        ("get", "Pod", "unreachable"),
        ("watch", "Pod", "200"),
        ("watch", "Pod", "410"),
    ]


def test_paths() -> None:
    assert RESOURCES["Pod"].path() == "/api/v1/pods"
    assert RESOURCES["Pod"].path("a", "p", "eviction") == "/api/v1/namespaces/a/pods/p/eviction"
    assert Ref.to("LLMDeployment", "x", "a").path("status") == (
        "/apis/llmfleet.dev/v1alpha1/namespaces/a/llmdeployments/x/status"
    )
    assert str(Ref.to("Deployment", "x", "a")) == "Deployment a/x"


def test_a_name_cannot_leave_its_path() -> None:
    assert Ref.to("Pod", "../../secrets/x?y", "a").path() == "/api/v1/namespaces/a/pods/..%2F..%2Fsecrets%2Fx%3Fy"


@pytest.mark.parametrize(
    "obj",
    [
        {"apiVersion": "apps/v1beta1", "kind": "Deployment"},
        {"apiVersion": "v1", "kind": "Unknown"},
        {"kind": "Pod"},
    ],
)
def test_an_unknown_kind_or_version_is_refused(obj: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no resource is known"):
        resource_of(obj)


def test_a_ref_checks_name_and_namespace() -> None:
    with pytest.raises(ValueError, match="Pod without a namespace"):
        Ref.of({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}})
    with pytest.raises(ValueError, match="Pod without a name"):
        Ref.of({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "x"}})
