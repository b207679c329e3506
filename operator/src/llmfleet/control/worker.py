"""A worker: takes a key, reconciles it, and backs off where that fails. The one place that catches everything."""

import asyncio
import logging
import time
from typing import NoReturn
from uuid import uuid4

from llmfleet.control.cache import Key
from llmfleet.control.inquiries import Inquiries
from llmfleet.control.logs import log_fields
from llmfleet.control.metrics import Metrics
from llmfleet.control.queue import WorkQueue
from llmfleet.control.reconcile import Reconciler
from llmfleet.kube.errors import ApiError

log = logging.getLogger(__name__)


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
        return "retry"
    except Exception:
        queue.retry(key)
        log.exception("a fault in llmfleet itself; trying again later")
        return "error"
    else:
        queue.forget(key)
        if revisit_s is not None:
            queue.add_after(key, revisit_s)
        return "ok"
    finally:
        queue.done(key)
