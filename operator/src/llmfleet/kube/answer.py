"""Reads what the API server sends back: objects, errors, the lines of a watch.

Whatever is not an answer of an API server becomes an error of `errors`, never an exception of a parser.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from llmfleet.kube.errors import ApiError, Unreachable, error_from_status, error_from_text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable

    from yarl import URL

    from llmfleet.kube.resources import Resource


def read_object(text: bytes) -> dict[str, Any]:
    """Parse an answer. Anything in between that answers for the API server may say 200 and mean something else.

    Raises:
        ValueError: it is no Kubernetes object.
    """
    parsed: dict[str, Any] = orjson.loads(text)
    if not isinstance(parsed, dict) or "metadata" not in parsed:
        raise ValueError("the answer is no Kubernetes object")
    return parsed


async def read_body(response: aiohttp.ClientResponse) -> bytes:
    """Read the whole body of an answer.

    Raises:
        aiohttp.ClientError: the connection broke.
    """
    return await _read(response.read())


async def _read(reading: Awaitable[bytes]) -> bytes:
    try:
        return await reading
    except RuntimeError as error:
        # What aiohttp (3.14) says when a connection ended between two reads.
        raise aiohttp.ClientConnectionError(str(error)) from error


async def read_error(response: aiohttp.ClientResponse) -> ApiError:
    """Read the error out of an answer."""
    text = (await read_body(response)).decode(errors="replace")
    retry_after = response.headers.get("Retry-After")
    try:
        body = orjson.loads(text)
    except ValueError:
        body = None
    if isinstance(body, dict) and body.get("kind") == "Status":
        return error_from_status(body, status=response.status, retry_after=retry_after)
    return error_from_text(text, status=response.status, retry_after=retry_after)


def unreachable(verb: str, url: URL, error: Exception) -> Unreachable:
    """Say what was tried and what went wrong, in one line."""
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Unreachable(f"{verb} {url.origin()}{url.path}: {what}", reason=type(error).__name__)


async def read_lines(content: aiohttp.StreamReader) -> AsyncGenerator[bytes, None]:
    """Split a stream into lines of any length (StreamReader.readline has a limit that large objects exceed).

    A last line without its end is dropped: it is half an event.
    """
    parts: list[bytes] = []
    while chunk := await _read(content.readany()):
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            parts.append(end)
            line = b"".join(parts)
            parts.clear()
            if line:
                yield line
        if rest:
            parts.append(rest)


def read_event(line: bytes, resource: Resource) -> dict[str, Any]:
    """Parse one line of a watch; raises what an ERROR event says, or Unreachable for a line that is no event."""
    try:
        event: dict[str, Any] = orjson.loads(line)
        if event["type"] != "ERROR":
            event["object"]["metadata"]["resourceVersion"]  # looked up to fail here and not where it is used
            return event
        status = dict(event["object"])
    except (ValueError, KeyError, TypeError) as error:
        said = f"the watch of {resource.plural} sent a line that is no watch event"
        raise Unreachable(said, reason="Malformed") from error
    raise error_from_status(status)
