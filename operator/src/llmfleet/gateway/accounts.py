"""What became of the requests: HAProxy's log, line by line, as counters and histograms for Prometheus.

One line tells one request, when its last byte has gone. Prompts and answers are not in it.
"""

import asyncio
import logging
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

log = logging.getLogger(__name__)

_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 30, 60, 120)
_NO_SERVER: Final = "<NOSRV>"
_UNSET: Final = "-"
_ENGINE_FAULT, _CALLER_FAULT = 500, 400


@dataclass(frozen=True, slots=True)
class Request:
    """One finished request.

    Attributes:
        backend: that it was sent to, empty where it was refused before.
        outcome: ok; refused, by the gateway; invalid, 4xx of the engine; failed, 5xx of it or none; cut, in the middle
            of an answer; left, by the caller.
        user_ttft_s: from its last byte to the first byte of the answer's body, None where there is none.
        engine_ttft_s: the same without the time it was held and queued.
    """

    model: str
    tenant: str
    backend: str
    outcome: str
    retries: int
    held_s: float
    user_ttft_s: float | None
    engine_ttft_s: float | None


def parsed(line: bytes) -> Request:
    """Read a line of HAProxy's log.

    Raises:
        ValueError: It is none of ours.
    """
    said = orjson.loads(line)
    began, sent, first = (_number(said[name]) for name in ("began", "sent", "first"))
    answered = first > 0 and began > 0
    waited_s = (max(0.0, _number(said["queue_ms"])) + max(0.0, _number(said["connect_ms"]))) / 1e3
    return Request(
        model=said["model"],
        tenant="" if said["tenant"] == _UNSET else said["tenant"],
        backend="" if said["engine"] == _NO_SERVER else said["backend"],
        outcome=_outcome(said["engine"], said["status"], said["end"]),
        retries=int(_number(said["retries"].lstrip("+"))),
        held_s=_number(said["held_ms"]) / 1e3,
        user_ttft_s=(first - began) / 1e6 if answered else None,
        engine_ttft_s=max(0.0, (first - sent) / 1e6 - waited_s) if answered and sent > 0 else None,
    )


def _number(text: str | float) -> float:
    return float(text) if text not in ("", _UNSET) else 0.0


def _outcome(engine: str, status: int, end: str) -> str:
    """Say what became of a request, by its status and how its session ended (HAProxy's "termination state")."""
    if end.startswith("C"):
        return "left"
    if end == "SD":
        return "cut"
    if engine == _NO_SERVER:
        return "refused" if status >= _CALLER_FAULT else "ok"
    if status >= _ENGINE_FAULT or status < 0:
        return "failed"
    return "invalid" if status >= _CALLER_FAULT else "ok"


class Accounts:
    """Counts requests.

    Args:
        revision_of: returns the revision behind a backend.
        echo: writes each line to standard output: the access log.
    """

    def __init__(self, revision_of: Callable[[str], str], *, echo: bool) -> None:
        self._revision_of = revision_of
        self._echo = echo
        self._registry = CollectorRegistry()
        labels = ["model", "revision", "tenant"]
        self._requests = Counter(
            "llmfleet_gateway_requests",
            "Finished requests by outcome: `ok`; `refused`, by the gateway; `invalid`, 4xx of the engine; `failed`, "
            "5xx of it or none; `cut`, in the middle of an answer; `left`, by the caller.",
            [*labels, "outcome"],
            registry=self._registry,
        )
        self._retries = Counter(
            "llmfleet_gateway_retries", "Times a request was sent to an engine again.", labels, registry=self._registry
        )
        self._held = Counter(
            "llmfleet_gateway_held", "Requests that waited for the first engine.", labels, registry=self._registry
        )
        self._user_ttft = self._histogram("user", "a request's last byte to the first byte of the answer's body")
        self._engine_ttft = self._histogram(
            "engine", "the dispatch to an engine to the first byte of the answer's body"
        )

    def _histogram(self, whose: str, span: str) -> Histogram:
        return Histogram(
            f"llmfleet_gateway_{whose}_ttft_seconds",
            f"Time from {span}.",
            ["model", "revision"],
            buckets=_SECONDS,
            registry=self._registry,
        )

    def take(self, line: bytes) -> None:
        """Count one line of HAProxy's log; what it says of itself goes into ours."""
        if not line.startswith(b"{"):
            log.info("HAProxy: %s", line.decode(errors="replace").strip())
            return
        try:
            request = parsed(line)
        except (ValueError, KeyError, TypeError) as error:
            log.warning("a line of HAProxy's log cannot be read (%r): %r", error, line)
            return
        if self._echo:
            sys.stdout.write(line.decode(errors="replace").strip() + "\n")
        revision = self._revision_of(request.backend)
        labels = (request.model, revision, request.tenant)
        self._requests.labels(*labels, request.outcome).inc()
        if request.retries:
            self._retries.labels(*labels).inc(request.retries)
        if request.held_s:
            self._held.labels(*labels).inc()
        if request.user_ttft_s is not None:
            self._user_ttft.labels(request.model, revision).observe(request.user_ttft_s)
        if request.engine_ttft_s is not None:
            self._engine_ttft.labels(request.model, revision).observe(request.engine_ttft_s)

    def text(self) -> bytes:
        """Return everything counted, as Prometheus reads it."""
        return generate_latest(self._registry)


class _Receiver(asyncio.DatagramProtocol):
    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take

    def datagram_received(self, data: bytes, addr: object) -> None:
        del addr
        for line in data.splitlines():
            if line:
                self._take(line)


async def listen(path: Path, accounts: Accounts) -> asyncio.DatagramTransport:
    """Receive HAProxy's log at a socket of the shared folder; the caller closes it."""
    path.unlink(missing_ok=True)  # noqa: ASYNC240 - once, before anything else runs
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Receiver(accounts.take), local_addr=str(path), family=socket.AF_UNIX
    )
    return transport
