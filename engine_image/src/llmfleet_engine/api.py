"""What the launcher asks the engine's own API: whether it is well, and for its first token."""

import json
from collections.abc import Mapping

import aiohttp

HEALTH_TIMEOUT = aiohttp.ClientTimeout(total=5)
CONNECT_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=5)  # a first generation may compile for minutes
PROMPT = "Hello"


class WarmUpError(Exception):
    """The engine cannot generate; the text is its own."""


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
                return answer.status == 200  # noqa: PLR2004 - HTTP OK
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def generate(self) -> None:
        """Lets the engine generate one token, so that the first client does not wait for what is made on first use.

        Raises:
            WarmUpError: it answers with an error or not at all.
        """
        body = {"model": self._model, "prompt": PROMPT, "max_tokens": 1, "temperature": 0}
        try:
            async with self._session.post(
                f"{self._base}/v1/completions", json=body, headers=self._headers, timeout=CONNECT_TIMEOUT
            ) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise WarmUpError(f"{type(error).__name__}: {error}") from error
        if answer.status != 200:  # noqa: PLR2004 - HTTP OK
            raise WarmUpError(f"{answer.status}: {message(text)}")


def message(text: str) -> str:
    """Returns the message in an OpenAI-style error, or the text itself."""
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return text[:300]
