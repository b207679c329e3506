"""Leader election by a `coordination.k8s.io` Lease: at most one process acts, a standby takes over in seconds.

A Lease alone is no fence: a holder that stood still for long would send what it had begun. So whoever writes asks
`holds` in the moment of sending (`session.lend_session`); what had left before can still arrive late, and what must not
happen twice then carries a precondition of its own. Clocks of different machines are never compared: a holder counts as
gone when its Lease has not changed for its duration as measured here, on the monotonic clock. Every write is guarded
by the resourceVersion, so two processes cannot both succeed.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmfleet.kube.errors import ApiError, Conflict, NotFound
from llmfleet.kube.resources import Ref

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmfleet.kube.client import Client

log = logging.getLogger(__name__)

_MANAGER = "llmfleet"


@dataclass(frozen=True, slots=True)
class _Seen:
    """Another's claim and since when it has stood unchanged before our eyes (monotonic seconds)."""

    claim: tuple[str, str, int]
    duration_s: float
    since: float


class Lease:
    """One process's claim to lead.

    Args:
        client: to reach the API server; its own `Client`, so that a renewal never queues behind other calls.
        name: of the Lease.
        namespace: of the Lease.
        identity: unique to this process, such as the pod's name and a random part.
        duration_s: how long others wait after our last renewal; whole seconds.
        renew_deadline_s: how long we trust our last renewal; less than the duration, the rest is the safety margin.
        retry_s: pause between renewals, and between attempts to acquire.
        clock: monotonic seconds.

    Attributes:
        lost: set when a lease that was held is not any more; the process should end then. Not set by `release`.
        holder: whom the Lease was last seen to name; empty where nobody holds it.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        namespace: str,
        identity: str,
        *,
        duration_s: int = 8,
        renew_deadline_s: float = 5.0,
        retry_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not duration_s > renew_deadline_s > retry_s > 0:
            raise ValueError("a Lease needs duration > renew deadline > retry > 0")
        self._client = client
        self._ref = Ref.to("Lease", name, namespace)
        self._identity = identity
        self._duration_s = duration_s
        self._deadline_s = renew_deadline_s
        self._retry_s = retry_s
        self._clock = clock
        self._lease: dict[str, Any] | None = None
        self._renewed_at: float | None = None
        self._renewing: asyncio.Task[None] | None = None
        self.lost = asyncio.Event()
        self.holder = ""

    def age_s(self) -> float:
        """Seconds since the last successful renewal began; 0 when we do not lead."""
        return 0.0 if self._renewed_at is None else self._clock() - self._renewed_at

    def holds(self, now: float | None = None) -> bool:
        """Tell whether we may act: the last successful renewal began less than the renew deadline ago.

        Also right after the process stood still, when the renewing task has not noticed yet.

        Args:
            now: what the clock shows; by default it is read.
        """
        now = self._clock() if now is None else now
        return self._renewed_at is not None and now - self._renewed_at < self._deadline_s

    async def acquire(self) -> None:
        """Wait until the Lease is ours, then keep renewing it in the background. Errors are logged and retried."""
        seen: _Seen | None = None
        logged = ""
        while True:
            try:
                async with asyncio.timeout(self._deadline_s):
                    seen = await self._try(seen)
                logged = ""
            except (ApiError, TimeoutError) as error:
                if str(error) != logged:
                    logged = str(error)
                    log.warning("%s cannot be acquired: %s", self._ref, logged or "no answer in time")
            if self.holds():
                break
            await asyncio.sleep(self._retry_s * random.uniform(0.8, 1.0))  # noqa: S311 - spreads the standbys
        self.holder = self._identity
        log.info("%s is ours: %s", self._ref, self._identity)
        self._renewing = asyncio.create_task(self._renew(), name=f"renew {self._ref}")
        self._renewing.add_done_callback(self._renewing_ended)

    async def release(self) -> None:
        """Stop renewing and give the Lease up, so that a standby need not wait for it to expire. Never raises."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])
        held, self._renewed_at = self.holds(), None
        if not held:
            return
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._write(_given_up)
        except (ApiError, TimeoutError) as error:
            log.warning("%s is not released and expires by itself: %s", self._ref, str(error) or "no answer in time")

    async def _try(self, seen: _Seen | None) -> _Seen | None:
        """Take the Lease if it is free; otherwise return whose it is and since when that has not changed.

        A new claim counts from when it was read, not from when it was asked for: a request that was long under way
        may read a claim that was renewed just before.
        """
        started = self._clock()
        try:
            lease = await self._client.get(self._ref)
        except NotFound:
            lease = {
                "apiVersion": self._ref.resource.api_version,
                "kind": self._ref.resource.kind,
                "metadata": {"name": self._ref.name, "namespace": self._ref.namespace},
            }
            with contextlib.suppress(Conflict):
                self._lease = await self._client.create(self._claimed(lease), manager=_MANAGER)
                self._renewed_at = started
            return None
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder != self.holder:
            self.holder = holder
            log.info("%s is held by %s", self._ref, holder or "nobody")
        claim = (holder, spec.get("renewTime") or "", int(spec.get("leaseTransitions") or 0))
        if holder not in ("", self._identity):
            if seen is None or seen.claim != claim:
                return _Seen(claim, float(spec.get("leaseDurationSeconds") or self._duration_s), self._clock())
            if self._clock() - seen.since < seen.duration_s:
                return seen
            log.info("%s: %s has not renewed it for %.0f s", self._ref, holder, seen.duration_s)
        started = self._clock()
        with contextlib.suppress(Conflict):
            self._lease = await self._client.replace(self._claimed(lease), manager=_MANAGER)
            self._renewed_at = started
        return None

    async def _renew(self) -> None:
        """Renew until that fails for longer than the deadline, or the Lease is another's."""
        while True:
            await asyncio.sleep(max(0.0, min(self._retry_s, self._left_s())))
            if (left_s := self._left_s()) <= 0:
                return
            started = self._clock()
            # Half the deadline at most, so that one swallowed request does not cost the Lease.
            attempt_s = min(self._deadline_s / 2, left_s)
            try:
                async with asyncio.timeout(attempt_s):
                    if not await self._write(self._claimed):
                        return
            except (ApiError, TimeoutError) as error:
                log.warning("%s is not renewed: %s", self._ref, str(error) or f"no answer in {attempt_s:.1f} s")
            else:
                self._renewed_at = started

    def _left_s(self) -> float:
        """How long we may still act on the last renewal, in seconds."""
        return -1.0 if self._renewed_at is None else self._renewed_at + self._deadline_s - self._clock()

    def _renewing_ended(self, task: asyncio.Task[None]) -> None:
        """Renewing ended by itself, for a good reason or through a mistake of ours: either way we lead no more."""
        if task.cancelled():
            return
        self._renewed_at = None
        self.lost.set()
        log.error("%s is lost: %s leads no more", self._ref, self._identity, exc_info=task.exception())

    async def _write(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> bool:
        """Change the Lease that we hold; False if it is another's now."""
        if self._lease is None:
            return False
        try:
            self._lease = await self._client.replace(change(self._lease), manager=_MANAGER)
        except Conflict:
            # Somebody touched the metadata, or an earlier write of ours took effect and its answer was lost.
            self._lease = await self._client.get(self._ref)
            if (self._lease.get("spec") or {}).get("holderIdentity") != self._identity:
                return False
            self._lease = await self._client.replace(change(self._lease), manager=_MANAGER)
        return True

    def _claimed(self, lease: dict[str, Any]) -> dict[str, Any]:
        """Write our claim into a Lease."""
        spec = lease.get("spec") or {}
        now = _now()
        mine = spec.get("holderIdentity") == self._identity
        claim = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._duration_s,
            "acquireTime": spec.get("acquireTime", now) if mine else now,
            "renewTime": now,
            "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (0 if mine or not spec else 1),
        }
        return {**lease, "spec": {**spec, **claim}}


def _given_up(lease: dict[str, Any]) -> dict[str, Any]:
    """Take our claim out of a Lease."""
    spec = {key: value for key, value in lease["spec"].items() if key != "holderIdentity"}
    return {**lease, "spec": {**spec, "leaseDurationSeconds": 1, "renewTime": _now()}}


def _now() -> str:
    """Wall-clock time as a MicroTime: for people who read the Lease, nothing is decided by it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
