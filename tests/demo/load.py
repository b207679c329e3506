"""A small load: two clients that count what they sent, what was answered, and what was not."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import openai
from tests.demo.chat import client
from tests.demo.site import MODEL

_TOKENS = 16
_PAUSE_S = 0.2
_MOST_REQUESTS = 5000
"""Of each client, so that a load that nobody ends, ends."""


@dataclass
class Counts:
    """What came of the requests.

    Attributes:
        sent: requests begun.
        answered: requests answered in full.
        slowest_s: the longest that a client waited for a full answer.
        failures: what the failed ones were told, in order.
    """

    sent: int = 0
    answered: int = 0
    slowest_s: float = 0.0
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.sent} requests sent, {len(self.failures)} failed"


class Load:
    """Runs while its block does.

    One client keeps its connection and streams its answers; the other opens a connection for every request.
    """

    def __init__(self, url: str) -> None:
        self.counts = Counts()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._clients = [
            threading.Thread(target=self._run, args=(client(url), streamed), name=f"load-{streamed}", daemon=True)
            for streamed in (True, False)
        ]

    def __enter__(self) -> Self:
        for thread in self._clients:
            thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        """Send no more and wait for the answers under way."""
        self._over.set()
        for thread in self._clients:
            thread.join()

    def _run(self, chat: openai.OpenAI, streamed: bool) -> None:  # noqa: FBT001 - the kind of client
        for _ in range(_MOST_REQUESTS):
            began = time.monotonic()
            with self._lock:
                self.counts.sent += 1
            failure = _stream(chat) if streamed else _request(chat)
            with self._lock:
                self.counts.slowest_s = max(self.counts.slowest_s, time.monotonic() - began)
                if failure:
                    self.counts.failures.append(f"{time.strftime('%H:%M:%S')} {failure}")
                else:
                    self.counts.answered += 1
            if self._over.wait(_PAUSE_S):
                return


def _request(chat: openai.OpenAI) -> str:
    """Ask for a whole answer on a connection of its own; return what went wrong, or nothing."""
    try:
        answer = chat.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Count to ten."}],
            max_tokens=_TOKENS,
            extra_headers={"Connection": "close"},
        )
    except openai.OpenAIError as error:
        return f"{type(error).__name__}: {error}"
    return "" if answer.choices and answer.choices[0].finish_reason else "the answer has no end"


def _stream(chat: openai.OpenAI) -> str:
    """Ask for a streamed answer and read it to its end; return what went wrong, or nothing."""
    try:
        answer = chat.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Tell me a joke."}], max_tokens=_TOKENS, stream=True
        )
        ends = [choice.finish_reason for chunk in answer for choice in chunk.choices if choice.finish_reason]
    except (openai.OpenAIError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return "" if ends else "the stream broke off"
