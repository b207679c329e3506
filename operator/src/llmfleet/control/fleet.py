"""What the leader does: fills the caches, follows the LLMDeployments and works on them, and measures all of it."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import aiohttp

from llmfleet.api.names import KIND
from llmfleet.control.access import Access
from llmfleet.control.admission import refuse
from llmfleet.control.blame import Blame
from llmfleet.control.cache import Cache, Key
from llmfleet.control.executor import Executor
from llmfleet.control.inquiries import Inquiries
from llmfleet.control.metrics import Metrics
from llmfleet.control.obstacles import Obstacles
from llmfleet.control.phases import Phases
from llmfleet.control.probes import Vitals
from llmfleet.control.queue import WorkQueue
from llmfleet.control.reconcile import Reconciler
from llmfleet.control.settings import Settings
from llmfleet.control.source import Source, follow
from llmfleet.control.sweep import Sweep
from llmfleet.control.worker import Worker
from llmfleet.kube.client import Client
from llmfleet.kube.events import Recorder
from llmfleet.kube.reflector import Reflector
from llmfleet.kube.resources import RESOURCES
from llmfleet.kube.session import Connection
from llmfleet.kube.wiretap import Wiretap

log = logging.getLogger(__name__)

_STALE_WATCH_S: Final = 180.0
"""The API server sends a bookmark about every minute; three missed ones mean that the watch is dead."""
_STUCK_WORKER_S: Final = 600.0
"""A reconcile makes some ten calls at most, each of which ends after 35 s."""
_SHARE: Final = 4
"""One namespace gets at most a quarter of the workers: where its webhooks hang, the others do not wait for it."""
_LAST_WORDS_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """What looking after the fleet needs.

    Attributes:
        session: for kopf, which only reads.
        client: for everything else; it writes only while we lead.
        wait_for_kind: returns once the API server knows LLMDeployments.
        catch_signals: sets the process' signal handlers.
    """

    settings: Settings
    connection: Connection
    session: aiohttp.ClientSession
    client: Client
    vitals: Vitals
    metrics: Metrics
    wait_for_kind: Callable[[], Awaitable[None]]
    catch_signals: Callable[[], None]


async def look_after(fleet: Fleet, access: Access, group: asyncio.TaskGroup) -> None:
    """Fill the caches, start the workers, and follow the LLMDeployments until cancelled."""
    client, settings = fleet.client, fleet.settings
    _observe_access(fleet, access)
    namespaces = await access.find()
    queue: WorkQueue[Key] = WorkQueue(lane=_namespace, at_once=max(1, settings.workers // _SHARE))
    admit = partial(refuse, allow_host_path=settings.allow_host_path)
    cache = Cache(client, namespaces or None, queue.add, admit)
    recorder = Recorder(client, instance=socket.gethostname())
    inquiries = Inquiries(cache, Phases(cache), Obstacles(client, cache))
    reconciler = Reconciler(client, cache, Executor(client, cache, settings.images), recorder, fleet.metrics)
    sweep = Sweep(client, cache, namespaces)
    tap = Wiretap(RESOURCES[KIND], namespaces, sweep.doubt)
    observe(fleet, queue, cache, tap)
    _observe_losses(fleet, sweep, recorder)
    for kind, reflector in cache.reflectors.items():
        group.create_task(reflector.run(), name=f"reflector {kind}")
    group.create_task(access.watch(partial(_refused, cache, tap, sweep)), name="access")
    for reflector in cache.reflectors.values():
        await reflector.synced.wait()
    group.create_task(recorder.run(), name="events")
    group.create_task(sweep.run(tap.synced), name="sweep")
    worker = Worker(queue, reconciler, inquiries, fleet.metrics, Blame(client.since_write_s))
    workers = [group.create_task(worker.run(), name=f"worker {number}") for number in range(settings.workers)]
    group.create_task(_say_when_ready(fleet.vitals, tap), name="ready")
    source = Source(
        fleet.connection,
        fleet.session,
        cache,
        namespaces,
        tap,
        sweep,
        fleet.wait_for_kind,
        fleet.catch_signals,
    )
    following = group.create_task(follow(source), name="kopf")
    try:
        await asyncio.wait({following})
    finally:
        # First who writes, so that nothing is begun in the last moments; kopf takes a second to end.
        for task in workers:
            task.cancel()
        await asyncio.wait(workers)
        queue.close()
        await inquiries.close()
        await recorder.drain(_LAST_WORDS_S)


def observe(fleet: Fleet, queue: WorkQueue[Key], cache: Cache, tap: Wiretap) -> None:
    """Let probes and metrics see the queue, the workers and every watch."""
    vitals, metrics = fleet.vitals, fleet.metrics
    metrics.gauge("llmfleet_queue_depth", "LLMDeployments waiting to be looked at.", lambda: queue.depth)
    metrics.gauge("llmfleet_queue_age_seconds", "Age of the oldest of them.", queue.oldest_s)
    metrics.gauge("llmfleet_queue_failing", "LLMDeployments whose last reconcile failed.", lambda: queue.failing)
    metrics.gauge("llmfleet_models", "LLMDeployments known.", lambda: len(cache))
    metrics.gauges(
        "llmfleet_watch_age_seconds",
        "Seconds since the last sign of life of a watch, by kind.",
        "kind",
        lambda: {KIND: tap.age_s(), **{kind: _age_s(reflector) for kind, reflector in cache.reflectors.items()}},
    )
    vitals.checks[f"watch of {KIND}"] = lambda: _staleness(tap.age_s())
    vitals.notes[f"watch of {KIND}"] = lambda: tap.last_error
    for kind, reflector in cache.reflectors.items():
        vitals.checks[f"watch of {kind}"] = partial(_stale, reflector)
        vitals.notes[f"watch of {kind}"] = partial(_last_error, reflector)
    vitals.checks["workers"] = partial(_stuck, queue)


def _observe_losses(fleet: Fleet, sweep: Sweep, recorder: Recorder) -> None:
    fleet.metrics.counter(
        "llmfleet_missed", "LLMDeployments found gone or changed without having been told.", lambda: sweep.healed
    )
    fleet.metrics.counter(
        "llmfleet_events_dropped",
        "Events that were not written: too many of one object, too many at once, or the API server refused them.",
        lambda: recorder.dropped,
    )


def _observe_access(fleet: Fleet, access: Access) -> None:
    fleet.metrics.gauge(
        "llmfleet_namespaces_refused",
        "Namespaces to look after that do not let the operator in.",
        lambda: len(access.closed),
    )
    fleet.vitals.notes["left out"] = lambda: "; ".join(
        f"namespace {name} ({said})" for name, said in access.closed.items()
    )


def _refused(cache: Cache, tap: Wiretap, sweep: Sweep) -> frozenset[str]:
    """Return the namespaces that refuse something. A watch that stands goes on without the right: the sweep sees it."""
    return tap.refused.union(sweep.refused, *(reflector.refused for reflector in cache.reflectors.values()))


def _namespace(key: Key) -> str:
    return key[0]


async def _say_when_ready(vitals: Vitals, tap: Wiretap) -> None:
    await tap.synced.wait()
    log.info("everything is listed")
    vitals.phase, vitals.ready = "leading", True


def _age_s(reflector: Reflector[Any]) -> float:
    """Age of a watch; of one that never began nothing is known, and a restart would not mend it."""
    return reflector.age_s() if reflector.synced.is_set() else 0.0


def _stale(reflector: Reflector[Any]) -> str:
    return _staleness(_age_s(reflector))


def _staleness(age_s: float) -> str:
    return f"no sign of life for {age_s:.0f} s" if age_s > _STALE_WATCH_S else ""


def _last_error(reflector: Reflector[Any]) -> str:
    return str(reflector.last_error) if reflector.last_error is not None else ""


def _stuck(queue: WorkQueue[Key]) -> str:
    longest_s = queue.longest_run_s()
    return f"one has been at its object for {longest_s:.0f} s" if longest_s > _STUCK_WORKER_S else ""
