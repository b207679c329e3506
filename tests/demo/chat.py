"""Chat completions through the model's Service, with the client that users have."""

from __future__ import annotations

import time

import openai

from tests.cluster import ClusterError
from tests.cluster.progress import duration
from tests.demo.screen import Style, printable, say, stream, styled
from tests.demo.site import MODEL

_TOKENS = 40
_SHOWN = 70
_TIMEOUT_S = 60.0
_QUESTIONS = ("Hello! How are you today?", "What is the capital of France?")
_STORY = "Tell me a story about a lighthouse."


def client(url: str) -> openai.OpenAI:
    """Return a client of the Service; it never tries again by itself, so that every failure is seen."""
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=_TIMEOUT_S)


def converse(url: str) -> None:
    """Ask for three completions and print the answers, the last one as it comes.

    Raises:
        ClusterError: One was not answered.
    """
    chat = client(url)
    try:
        for question in _QUESTIONS:
            _ask(chat, question)
        _listen(chat, _STORY)
    except openai.OpenAIError as error:
        raise ClusterError(f"a chat completion through {url} failed: {error}") from error


def _ask(chat: openai.OpenAI, question: str) -> None:
    began = time.monotonic()
    answer = chat.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": question}], max_tokens=_TOKENS
    )
    took = time.monotonic() - began
    text = printable(answer.choices[0].message.content or "")
    tokens = answer.usage.completion_tokens if answer.usage else 0
    say(f"  you     {question}")
    say(f"  {MODEL}    {styled(text[:_SHOWN], Style.QUOTE)}... ({tokens} tokens in {duration(took)})")


def _listen(chat: openai.OpenAI, question: str) -> None:
    say(f"  you     {question} (streamed)")
    stream(f"  {MODEL}    ")
    began, first, pieces, width = time.monotonic(), 0.0, 0, 0
    answer = chat.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": question}], max_tokens=_TOKENS, stream=True
    )
    for chunk in answer:
        text = chunk.choices[0].delta.content if chunk.choices else None
        if text:
            first = first or time.monotonic() - began
            pieces += 1
            shown = text[: max(0, _SHOWN - width)]
            stream(shown)
            width += len(shown)
    took = time.monotonic() - began
    stream(f"... ({pieces} pieces from {duration(first)} to {duration(took)})", last=True)
