import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmfleet_engine.board import Desk, Order
from llmfleet_engine.middleware import Drain

Message = MutableMapping[str, Any]


class Client:
    """A client of the ASGI application under test: keeps what was sent to it."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])


class Connection:
    """One of the HTTP server's connections."""

    def __init__(self, scope: Message) -> None:
        self.scope = scope
        self.closing = False

    def shutdown(self) -> None:
        self.closing = True


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("LLMFLEET_BOARD", str(tmp_path))
    return Desk(tmp_path)


def request(path: str = "/v1/completions", kind: str = "http") -> Message:
    scope: Message = {"type": kind, "path": path}
    connections = {Connection(scope), Connection({})}
    server = SimpleNamespace(server_state=SimpleNamespace(connections=connections))
    scope["app"] = SimpleNamespace(state=SimpleNamespace(server=server))
    return scope


def stream(during: Callable[[], None] = lambda: None) -> Callable[..., Awaitable[None]]:
    """Returns an application that streams three chunks and calls `during` after the first."""

    async def app(_scope: Message, _receive: Any, send: Callable[[Message], Awaitable[None]]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"one ", "more_body": True})
        during()
        await send({"type": "http.response.body", "body": b"two ", "more_body": True})
        await send({"type": "http.response.body", "body": b"three", "more_body": False})

    return app


def closing(scope: Message) -> list[bool]:
    connections = scope["app"].state.server.server_state.connections
    return [connection.closing for connection in connections if connection.scope is scope]


async def test_a_request_is_counted_while_it_runs(desk: Desk) -> None:
    counts: list[int] = []
    client, scope = Client(), request()
    await Drain(stream(lambda: counts.append(desk.running())))(scope, client.receive, client.send)
    assert counts == [1]
    assert desk.running() == 0
    assert client.body == b"one two three"
    assert b"connection" not in client.headers
    assert closing(scope) == [False]


async def test_a_request_that_fails_is_not_counted_for_ever(desk: Desk) -> None:
    async def app(*_: Any) -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await Drain(app)(request(), Client().receive, Client().send)
    assert desk.running() == 0


async def test_farewell_serves_and_asks_the_client_to_connect_anew(desk: Desk) -> None:
    desk.give(Order.FAREWELL)
    client = Client()
    await Drain(stream())(request(), client.receive, client.send)
    assert client.status == 200
    assert client.headers[b"connection"] == b"close"


async def test_a_stream_that_began_before_ends_whole_and_with_its_connection(desk: Desk) -> None:
    client, scope = Client(), request()
    await Drain(stream(lambda: desk.give(Order.REFUSE)))(scope, client.receive, client.send)
    assert client.body == b"one two three"
    assert closing(scope) == [True]
    assert sum(connection.closing for connection in scope["app"].state.server.server_state.connections) == 1


async def test_a_server_that_cannot_be_found_does_no_harm(desk: Desk) -> None:
    desk.give(Order.FAREWELL)
    client, scope = Client(), request()
    scope["app"] = SimpleNamespace(state=SimpleNamespace())
    await Drain(stream())(scope, client.receive, client.send)
    assert client.body == b"one two three"


async def test_a_new_request_is_refused_as_openai_clients_understand(desk: Desk) -> None:
    desk.give(Order.REFUSE)
    client = Client()
    await Drain(stream())(request(), client.receive, client.send)
    assert client.status == 503
    assert client.headers[b"retry-after"] == b"1"
    assert client.headers[b"connection"] == b"close"
    assert int(client.headers[b"content-length"]) == len(client.body)
    assert json.loads(client.body)["error"]["code"] == 503
    assert desk.running() == 0


async def test_a_websocket_is_told_to_try_again(desk: Desk) -> None:
    desk.give(Order.REFUSE)
    client = Client()
    await Drain(stream())(request(kind="websocket"), client.receive, client.send)
    assert client.sent == [{"type": "websocket.close", "code": 1013}]


@pytest.mark.parametrize("path", ["/health", "/metrics", "/ping"])
async def test_probes_and_scrapes_are_answered_to_the_end_and_never_counted(desk: Desk, path: str) -> None:
    desk.give(Order.REFUSE)
    counts: list[int] = []
    client = Client()
    await Drain(stream(lambda: counts.append(desk.running())))(request(path), client.receive, client.send)
    assert client.status == 200
    assert counts == [0]


async def test_the_lifespan_passes_through(desk: Desk) -> None:
    seen: list[str] = []

    async def app(scope: Message, *_: Any) -> None:
        seen.append(scope["type"])

    await Drain(app)({"type": "lifespan"}, Client().receive, Client().send)
    assert seen == ["lifespan"]
    assert desk.running() == 0


async def test_processes_are_added_up_and_dead_ones_left_out(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / f"running.{os.getppid()}").write_bytes((3).to_bytes(8, "little"))
    (tmp_path / "running.4194305").write_bytes((5).to_bytes(8, "little"))  # above the greatest process id there is
    (tmp_path / "running.1").write_bytes(b"")  # just made, not yet sized
    assert desk.running() == 3
