"""What the launcher asks the engine's own API: whether it is well, and its first request."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

HEALTH_TIMEOUT = aiohttp.ClientTimeout(total=5)
CONNECT_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=5)  # a first generation may compile for minutes
OK, UNAUTHORIZED, FORBIDDEN = 200, 401, 403
CLIENT_ERRORS = range(400, 500)
NOT_OFFERED = {404, 405, 501}


@dataclass(frozen=True, slots=True)
class FirstRequest:
    """A first request for one kind of model."""

    path: str
    body: Mapping[str, object]


FIRST_REQUESTS = (
    FirstRequest("/v1/completions", {"prompt": "Hello", "max_tokens": 1, "temperature": 0}),
    FirstRequest("/v1/embeddings", {"input": "Hello"}),
    FirstRequest("/pooling", {"input": "Hello"}),  # reranking, classification, rewards
)
"""The first of these that the engine offers is its warm-up. vLLM offers only what the model can do."""


class WarmUpError(Exception):
    """The engine fails its first request; the text is its own."""


class EngineApi:
    """The engine's API on this container's loopback."""

    def __init__(self, session: aiohttp.ClientSession, port: int, model: str, key: str | None) -> None:
        self._session = session
        self._base = f"http://127.0.0.1:{port}"
        self._model = model
        self._headers: Mapping[str, str] = {} if key is None else {"Authorization": f"Bearer {key}"}

    async def healthy(self) -> bool:
        """Tells whether the engine says it is well, within 5 s."""
        try:
            async with self._session.get(f"{self._base}/health", timeout=HEALTH_TIMEOUT) as answer:
                return answer.status == OK
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def warm_up(self) -> str | None:
        """Lets the engine answer once, so that the first client does not wait for what is made on first use.

        Returns:
            The path that it answered, None where it offers none of those that take a mere text (speech does not).

        Raises:
            WarmUpError: it answers with an error or not at all.
        """
        for request in FIRST_REQUESTS:
            status, text = await self._post(request)
            if status == OK:
                return request.path
            if not refuses(request, status, text):
                raise WarmUpError(f"POST {request.path}: {status}: {message(text)}")
        return None

    async def _post(self, request: FirstRequest) -> tuple[int, str]:
        body = {"model": self._model, **request.body}
        try:
            async with self._session.post(
                f"{self._base}{request.path}", json=body, headers=self._headers, timeout=CONNECT_TIMEOUT
            ) as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise WarmUpError(f"POST {request.path}: {type(error).__name__}: {error}") from error


def refuses(request: FirstRequest, status: int, text: str) -> bool:
    """Tells whether an answer says that the model is of another kind, rather than that the engine fails.

    A model that does not generate text may want another input than a text, an image for example; it is told so by 400.
    """
    if status in NOT_OFFERED:
        return "does not exist" not in text  # that would be the model's name
    if request is FIRST_REQUESTS[0]:
        return "does not support" in text  # 400 in older versions of vLLM
    return status in CLIENT_ERRORS and status not in {UNAUTHORIZED, FORBIDDEN}


def message(text: str) -> str:
    """Returns the message in an OpenAI-style error, or the text itself."""
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return text[:300]
