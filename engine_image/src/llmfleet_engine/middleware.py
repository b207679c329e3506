"""ASGI middleware inside the engine's API server: counts requests, and lets go of clients when the engine drains.

vLLM loads it with --middleware. It is plain ASGI, so that no byte of a stream is held or copied, and it needs nothing
but the standard library, so that it cannot disturb the engine's own dependencies.
"""

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from llmfleet_engine.board import ENVIRONMENT, Counter, Order

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

# Asked by probes and scrapers until the very end; never counted, never refused.
ALWAYS = frozenset({"/health", "/ping", "/metrics", "/version", "/load"})
RETRY_AFTER_S = 1
TRY_AGAIN_LATER = 1013  # WebSocket close code
CLOSE = (b"connection", b"close")
REFUSAL = json.dumps(
    {
        "error": {
            "message": "This engine is shutting down and takes no new requests. Try again: another one will answer.",
            "type": "ServiceUnavailable",
            "param": None,
            "code": 503,
        }
    }
).encode()


class Drain:
    """Counts running requests and, by the launcher's order on the board, says farewell or refuses."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._counter = Counter(Path(os.environ[ENVIRONMENT]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] not in {"http", "websocket"} or scope["path"] in ALWAYS:
            await self._app(scope, receive, send)
            return
        # Counted before the order is read: the launcher gives the order before it reads the count, so that a request
        # is either refused here or seen there.
        self._counter.add(1)
        try:
            if self._counter.order is Order.REFUSE:
                await refuse(scope, send)
            else:
                await self._app(scope, receive, self._watched(scope, send))
        finally:
            self._counter.add(-1)

    def _watched(self, scope: Scope, send: Send) -> Send:
        """Returns `send`, adding what makes the client connect anew once the engine drains."""

        async def watched(message: Message) -> None:
            if self._counter.order is not Order.SERVE:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message.get("headers", ()), CLOSE]
                elif message["type"] == "http.response.body" and not message.get("more_body", False):
                    close_after(scope)
            await send(message)

        return watched


async def refuse(scope: Scope, send: Send) -> None:
    """Answers 503 in the form OpenAI clients read, which they take as a reason to try again."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": TRY_AGAIN_LATER})
        return
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(REFUSAL)).encode()),
        (b"retry-after", str(RETRY_AFTER_S).encode()),
        CLOSE,
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": REFUSAL})


def close_after(scope: Scope) -> None:
    """Lets the server close this request's connection after the answer.

    A stream whose headers left before the drain could not say `Connection: close`, and its client would send the next
    request here. uvicorn's own graceful shutdown of one connection does it; vLLM keeps its server in the app's state.
    """
    server = getattr(scope["app"].state, "server", None)
    if server is None:
        return
    for connection in list(server.server_state.connections):
        if getattr(connection, "scope", None) is scope:
            connection.shutdown()
