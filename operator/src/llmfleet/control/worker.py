"""A worker: takes a key, reconciles it, and backs off where that fails. The one place that catches everything.

What goes on failing is told in the object's status, as Stalled, and is tried on with growing pauses: it costs the
others nothing, and it recovers by itself when the cause is gone. Whatever goes wrong with one object, telling of it
included, ends neither the worker nor the operator.
"""

import logging
import time
from dataclasses import dataclass
from typing import Final, NoReturn
from uuid import uuid4

from llmfleet.control.blame import Blame
from llmfleet.control.cache import Key
from llmfleet.control.inquiries import Inquiries
from llmfleet.control.logs import log_fields
from llmfleet.control.metrics import Metrics
from llmfleet.control.queue import WorkQueue
from llmfleet.control.reconcile import Reconciler
from llmfleet.kube.errors import ApiError

log = logging.getLogger(__name__)

_STALLED_AFTER: Final = (5, 30.0)
"""Failures in a row, and seconds since the first of them, after which a person is asked to look."""


@dataclass(frozen=True, slots=True)
class Worker:
    """Works on one key at a time; many share what they work with."""

    queue: WorkQueue[Key]
    reconciler: Reconciler
    inquiries: Inquiries
    metrics: Metrics
    blame: Blame

    async def run(self) -> NoReturn:
        """Work until cancelled."""
        while True:
            key = await self.queue.get()
            with log_fields(key="/".join(key), reconcile=uuid4().hex[:8]):
                started, result = time.perf_counter(), "error"
                try:
                    result = await self._reconcile(key)
                    self.inquiries.look(key)
                except Exception:
                    log.exception("a fault in llmfleet itself, after the reconcile")
                finally:
                    self.queue.done(key)
            self.metrics.reconciles.labels(result).inc()
            self.metrics.reconcile_s.observe(time.perf_counter() - started)

    async def _reconcile(self, key: Key) -> str:
        """Reconcile one key and say how it went."""
        try:
            visit = await self.reconciler.reconcile(key)
        except ApiError as error:
            self.queue.retry(key, at_least_s=error.retry_after_s or 0.0)
            self.blame.failed(key, error)
            log.warning("not done, trying again: %s", error)
            if self._long(key) and self.blame.own(error, self.queue.failing_s(key)):
                await self._tell(key, str(error))
            return "retry"
        except Exception as error:
            self.queue.retry(key)
            self.blame.over(key)
            log.exception("a fault in llmfleet itself; trying again later")
            if self._long(key):
                fault = f"a fault in llmfleet itself ({type(error).__name__}: {error})"
                await self._tell_no_more(key, f"{fault}; please report it with the operator's log")
            return "error"
        self.blame.over(key)
        if visit.refused and visit.again_s is not None:
            self.queue.refused(key, visit.again_s)
        else:
            self.queue.forget(key)
            if visit.again_s is not None:
                self.queue.add_after(key, visit.again_s)
        return "refused" if visit.refused else "ok"

    def _long(self, key: Key) -> bool:
        times, seconds = _STALLED_AFTER
        return self.queue.failures(key) >= times and self.queue.failing_s(key) >= seconds

    async def _tell(self, key: Key, cause: str) -> None:
        """Tell a person of what fails for long; see Reconciler.stall."""
        try:
            await self.reconciler.stall(key, cause, decided=True)
        except ApiError as error:
            log.warning("the status cannot say so either: %s", error)
        except Exception:
            log.exception("a fault in llmfleet itself; the status says what it can")
            await self._tell_no_more(key, cause)

    async def _tell_no_more(self, key: Key, cause: str) -> None:
        """Tell the cause and nothing else that would have to be decided or summarised."""
        try:
            await self.reconciler.stall(key, cause, decided=False)
        except ApiError as error:
            log.warning("the status cannot say so either: %s", error)
