"""The first request, against an API that offers what vLLM offers for one kind of model or another."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from llmfleet_engine.api import EngineApi, WarmUpError

COMPLETIONS, EMBEDDINGS, POOLING = "/v1/completions", "/v1/embeddings", "/pooling"
Answer = tuple[int, str]
GOOD: Answer = (200, "")
FAULT: Answer = (500, "CUDA error: an illegal memory access was encountered")


@asynccontextmanager
async def engine(answers: dict[str, Answer]) -> AsyncIterator[tuple[EngineApi, list[tuple[str, Any]]]]:
    """The API of an engine that offers these paths; also yields what it was asked."""
    asked: list[tuple[str, Any]] = []

    def offered(path: str, answer: Answer) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            asked.append((path, await request.json()))
            return web.json_response({"error": {"message": answer[1]}}, status=answer[0])

        return handle

    application = web.Application()
    application.router.add_routes([web.post(path, offered(path, answer)) for path, answer in answers.items()])
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with aiohttp.ClientSession() as session:
            yield EngineApi(session, runner.addresses[0][1], "m", None), asked
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("answers", "path"),
    [
        ({COMPLETIONS: GOOD}, COMPLETIONS),
        ({EMBEDDINGS: GOOD, POOLING: GOOD}, EMBEDDINGS),
        ({POOLING: GOOD}, POOLING),
        ({POOLING: (400, "the input must be a pair")}, None),
        ({}, None),
        ({COMPLETIONS: (501, "The model does not support Completions API"), EMBEDDINGS: GOOD}, EMBEDDINGS),
        ({COMPLETIONS: (400, "The model does not support Completions API"), EMBEDDINGS: GOOD}, EMBEDDINGS),
    ],
    ids=["text", "embeddings", "reranking", "no text", "speech", "speech registered", "an older version"],
)
async def test_every_kind_of_model_is_warmed_up_by_what_it_offers(answers: dict[str, Answer], path: str | None) -> None:
    async with engine(answers) as (api, asked):
        assert await api.warm_up() == path
    assert all(body["model"] == "m" for _, body in asked)


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({COMPLETIONS: FAULT, EMBEDDINGS: GOOD}, "POST /v1/completions: 500: CUDA error"),
        ({COMPLETIONS: (400, "max_tokens must be at least 2")}, "POST /v1/completions: 400: max_tokens"),
        ({COMPLETIONS: (404, "The model `m` does not exist."), POOLING: GOOD}, "404: The model `m` does not exist"),
        ({EMBEDDINGS: FAULT, POOLING: GOOD}, "POST /v1/embeddings: 500: CUDA error"),
        ({POOLING: FAULT}, "POST /pooling: 500: CUDA error"),
        ({POOLING: (401, "Unauthorized")}, "POST /pooling: 401: Unauthorized"),
    ],
    ids=["text", "wrong request", "wrong name", "embeddings", "reranking", "wrong key"],
)
async def test_a_failed_first_request_is_told_in_the_engines_words(answers: dict[str, Answer], told: str) -> None:
    async with engine(answers) as (api, _):
        with pytest.raises(WarmUpError) as failed:
            await api.warm_up()
    assert told in str(failed.value)
