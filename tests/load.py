"""A small load: clients that count what they sent, what was answered, and what was not."""

import threading
import time
from dataclasses import dataclass, field
from typing import Self

import openai

from tests.wait import eventually

_MOST_REQUESTS = 5000
"""Of each client, so that a load that nobody ends, ends."""


@dataclass
class Counts:
    """What came of the requests."""

    sent: int = 0
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    failed_from: list[float] = field(default_factory=list)
    """When each of the failed requests was begun, by the monotonic clock, in seconds."""


class Load:
    """Runs while its block does.

    Args:
        url: of the Service.
        model: to ask for.
        clients: how many ask at the same time.
        pause_s: between an answer and the next question of a client.
        keep: let every other client keep its connection. Only an engine with a launcher tells such clients to move
            on before it ends; the simulator closes idle connections under them, as any plain server does.
        timeout_s: after which a request without an answer has failed.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        clients: int = 4,
        pause_s: float = 0.05,
        keep: bool = False,
        timeout_s: float = 60,
    ) -> None:
        self.counts = Counts()
        self._url, self._model, self._pause_s, self._timeout_s = url, model, pause_s, timeout_s
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(keep and number % 2 == 0,), daemon=True)
            for number in range(clients)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self, answers: int = 20) -> None:
        """Wait until so many more requests were answered: whatever happened before has been met by traffic."""
        goal = self.counts.answered + answers
        eventually(lambda: self.counts.answered >= goal, within_s=60, what="more answers", last=lambda: self.counts)

    def _run(self, keep: bool) -> None:  # noqa: FBT001 - the kind of client
        chat = openai.OpenAI(base_url=f"{self._url}/v1", api_key="none", max_retries=0, timeout=self._timeout_s)
        headers = {} if keep else {"Connection": "close"}
        with chat:
            for _ in range(_MOST_REQUESTS):
                began = time.monotonic()
                failure = self._ask(chat, headers)
                with self._lock:
                    self.counts.sent += 1
                    if failure:
                        self.counts.failures.append(failure)
                        self.counts.failed_from.append(began)
                    else:
                        self.counts.answered += 1
                if self._over.wait(self._pause_s):
                    return

    def _ask(self, chat: openai.OpenAI, headers: dict[str, str]) -> str:
        try:
            answer = chat.chat.completions.create(
                model=self._model,
                messages=[{"role": "user", "content": "Say something."}],
                max_tokens=8,
                extra_headers=headers,
            )
        except openai.OpenAIError as error:
            return f"{type(error).__name__}: {error}"
        return "" if answer.choices and answer.choices[0].finish_reason else "the answer has no end"
