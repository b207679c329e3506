"""A worker: takes a key, reconciles it, and backs off where that fails. The one place that catches everything.

What goes on failing is told in the object's status, as Stalled, and is tried on with growing pauses: it costs the
others nothing, and it recovers by itself when the cause is gone.
"""

import asyncio
import logging
import time
from typing import Final, NoReturn
from uuid import uuid4

from llmfleet.control.cache import Key
from llmfleet.control.inquiries import Inquiries
from llmfleet.control.logs import log_fields
from llmfleet.control.metrics import Metrics
from llmfleet.control.queue import WorkQueue
from llmfleet.control.reconcile import Reconciler
from llmfleet.kube.errors import ApiError, NotLeading, Unreachable

log = logging.getLogger(__name__)

_STALLED_AFTER: Final = (5, 30.0)
"""Failures in a row, and seconds since the first of them, after which a person is asked to look."""


async def work(queue: WorkQueue[Key], reconciler: Reconciler, inquiries: Inquiries, metrics: Metrics) -> NoReturn:
    """Work until cancelled."""
    while True:
        key = await queue.get()
        with log_fields(key="/".join(key), reconcile=uuid4().hex[:8]):
            started = time.perf_counter()
            result = await _once(queue, reconciler, key)
            inquiries.look(key)
        metrics.reconciles.labels(result).inc()
        metrics.reconcile_s.observe(time.perf_counter() - started)


async def _once(queue: WorkQueue[Key], reconciler: Reconciler, key: Key) -> str:
    """Reconcile one key and say how it went."""
    try:
        revisit_s = await reconciler.reconcile(key)
    except asyncio.CancelledError:
        raise
    except ApiError as error:
        queue.retry(key, at_least_s=error.retry_after_s or 0.0)
        log.warning("not done, trying again: %s", error)
        if not isinstance(error, Unreachable | NotLeading):
            await _tell(queue, reconciler, key, str(error))
        return "retry"
    except Exception as error:
        queue.retry(key)
        log.exception("a fault in llmfleet itself; trying again later")
        fault = (
            f"a fault in llmfleet itself ({type(error).__name__}: {error}); please report it with the operator's log"
        )
        await _tell(queue, reconciler, key, fault, decided=False)
        return "error"
    else:
        queue.forget(key)
        if revisit_s is not None:
            queue.add_after(key, revisit_s)
        return "ok"
    finally:
        queue.done(key)


async def _tell(queue: WorkQueue[Key], reconciler: Reconciler, key: Key, cause: str, *, decided: bool = True) -> None:
    """Tell a person of what fails for long; see Reconciler.stall."""
    times, seconds = _STALLED_AFTER
    if queue.failures(key) < times or queue.failing_s(key) < seconds:
        return
    try:
        await reconciler.stall(key, cause, decided=decided)
    except ApiError as error:
        log.warning("the status cannot say so either: %s", error)
