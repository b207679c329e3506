"""The phases of the measurement, each a coroutine that returns one line of figures."""

import asyncio
import statistics
import time
from collections import Counter
from typing import Any, Final

from llmfleet.api.names import LABEL_MANAGED_BY, LABEL_NAME, LABEL_REVISION, MANAGED_BY
from llmfleet.kube.resources import RESOURCES
from tests.bench.control import fleet, meters
from tests.bench.control.meters import Meter
from tests.bench.control.operator import Operator
from tests.bench.control.site import Site

Line = dict[str, Any]


_COUNT_EVERY_S: Final = 0.25
_REACT_WITHIN_S: Final = 30.0
_GAP_S: Final = 0.3
"""Between two changes."""
_NOISE_EVERY_S: Final = 0.1


async def ground(site: Site, count: int) -> Line:
    """The bare loop: the objects of a whole fleet, rendered before, written as fast as the API server takes them."""
    made = list(fleet.rendered(await fleet.create(site.client, count)))
    meter = Meter.start(site.servers)

    async def write(of_model: list[fleet.Object]) -> None:
        for obj in of_model:
            await fleet.write(site.client, obj)

    await fleet.each(made, write)
    seconds = meter.wall_s
    return {
        "s": round(seconds, 2),
        "writes": 5 * count,
        "writes_per_s": round(5 * count / seconds, 1),
        "cpu_s": meter.since(),
    }


async def cold(site: Site, operator: Operator, count: int) -> Line:
    """From the start of the operator's process until every model has every child, and until it is quiet."""
    await fleet.create(site.client, count)
    wanted = {kind: count + (await fleet.count(site.client, kind)) for kind in fleet.CHILDREN}
    operator.start()
    meter = Meter.start({**site.servers, "operator": operator.pid})
    while wanted:
        for kind in tuple(wanted):
            if await fleet.count(site.client, kind) >= wanted[kind]:
                del wanted[kind]
            else:
                break
        await asyncio.sleep(_COUNT_EVERY_S)
    children_s, cpu = meter.wall_s, meter.since()
    calls = await meters.requests(operator.port)
    last = await operator.quiet(within_s=3600)
    calls_quiet = await meters.requests(operator.port)
    return {
        "s": round(children_s, 2),
        "writes_per_model": round(meters.writes(calls) / count, 2),
        "cpu_s": cpu,
        "quiet_s": round(last - meter.at, 1),
        "quiet_writes_per_model": round(meters.writes(calls_quiet) / count, 2),
        "quiet_events_per_model": round(calls_quiet["create", "events"] / count, 2),
        "quiet_cpu_s": meter.since(),
        "reads_per_model": round(sum(n for (verb, _), n in calls_quiet.items() if verb == "get") / count, 2),
        "memory_mib": meters.memory_mib(operator.pid),
    }


async def react(site: Site, operator: Operator, keys: list[tuple[str, str]], sequences: int) -> Line:
    """One changed spec at a time: from the user's request until a watch shows the first child, and the Deployment."""
    arrivals: dict[tuple[str, str], dict[str, float]] = {key: {} for key in keys}
    changed = asyncio.Event()

    async def follow(kind: str) -> None:
        async for page in site.client.pages(RESOURCES[kind], limit=1, metadata_only=True):
            version = page["metadata"]["resourceVersion"]
            break
        selector = f"{LABEL_MANAGED_BY}={MANAGED_BY}"
        async for event in site.client.watch(
            RESOURCES[kind], resource_version=version, label_selector=selector, timeout_s=3600
        ):
            if event.get("type") != "ADDED":
                continue
            metadata = event["object"]["metadata"]
            key = (metadata["namespace"], metadata["labels"][LABEL_NAME])
            if key in arrivals and LABEL_REVISION in metadata["labels"]:
                arrivals[key].setdefault(kind, time.monotonic())
                changed.set()

    kinds = ("ControllerRevision", "Deployment")
    watches = [asyncio.create_task(follow(kind)) for kind in kinds]
    await asyncio.sleep(1)
    meter = Meter.start({"operator": operator.pid})
    before = await meters.requests(operator.port)
    asked, first, second = [], [], []
    for key in keys:
        begin = time.monotonic()
        await site.client.apply(fleet.manifest(*key, sequences=sequences), manager="bench")
        asked.append(time.monotonic() - begin)
        async with asyncio.timeout(_REACT_WITHIN_S):
            while len(arrivals[key]) < len(kinds):
                changed.clear()
                await changed.wait()
        first.append(min(arrivals[key].values()) - begin)
        second.append(arrivals[key]["Deployment"] - begin)
        await asyncio.sleep(_GAP_S)
    for watch in watches:
        watch.cancel()
    calls = await meters.requests(operator.port) - before
    return {
        "changes": len(keys),
        "request_ms": percentiles(asked),
        "first_child_ms": percentiles(first),
        "deployment_ms": percentiles(second),
        "writes_per_change": round(meters.writes(calls) / len(keys), 2),
        "requests_per_change": round(_without_lease(calls) / len(keys), 2),
        "operator_cpu_ms_per_change": round(1000 * meter.since()["operator"] / len(keys), 1),
    }


async def idle(site: Site, operator: Operator, seconds: float) -> Line:
    """Nothing changes."""
    before = await meters.requests(operator.port)
    meter = Meter.start({**site.servers, "operator": operator.pid})
    await asyncio.sleep(seconds)
    used = meter.since()
    calls = await meters.requests(operator.port) - before
    return {
        "s": seconds,
        "core_percent": {name: round(100 * used[name] / seconds, 2) for name in (*site.servers, "operator")},
        "others_share": used["others_share"],
        "requests": _without_lease(calls),
        "writes": meters.writes(calls, events=True),
        "memory_mib": meters.memory_mib(operator.pid),
    }


async def restart(site: Site, operator: Operator) -> Line:
    """A clean stop and a start with everything in place: until it makes no more calls."""
    stop_s = operator.stop()
    operator.start()
    meter = Meter.start({**site.servers, "operator": operator.pid})
    await operator.ready()
    ready_s = meter.wall_s
    last = await operator.quiet(within_s=300)
    calls = await meters.requests(operator.port)
    spent = await meters.value(operator.port, "llmfleet_reconcile_seconds_sum")
    number = await meters.value(operator.port, "llmfleet_reconcile_seconds_count")
    return {
        "stop_s": round(stop_s, 2),
        "ready_s": round(ready_s, 2),
        "quiet_s": round(last - meter.at, 2),
        "requests": _without_lease(calls),
        "writes": meters.writes(calls, events=True),
        "reconciles": int(number),
        "ms_per_reconcile": round(1000 * spent / number, 3),
        "cpu_s": meter.since(),
        "memory_mib": meters.memory_mib(operator.pid),
    }


async def noise(site: Site, operator: Operator, keys: list[tuple[str, str]], sequences: int, alone: Line) -> Line:
    """The same changes as `react`, whose line is given, while one other model changes every 100 ms."""
    changes = 0

    async def disturb() -> None:
        nonlocal changes
        begin = time.monotonic()
        while True:
            body = fleet.manifest(*keys[0])
            body["spec"]["replicas"] = 1 + changes % 2
            await site.client.apply(body, manager="bench")
            changes += 1
            await asyncio.sleep(max(0.0, begin + changes * _NOISE_EVERY_S - time.monotonic()))

    disturbing = asyncio.create_task(disturb())
    try:
        line = await react(site, operator, keys[1:], sequences)
    finally:
        disturbing.cancel()
    beside, by_itself = line["first_child_ms"], alone["first_child_ms"]
    return {
        **line,
        "changes_of_the_other": changes,
        "delay_ms": {p: round(beside[p] - by_itself[p], 1) for p in beside},
    }


def percentiles(samples: list[float]) -> dict[str, float]:
    """Return the median, the 99th percentile and the worst, in milliseconds."""
    ranked = sorted(1000 * sample for sample in samples)
    p99 = ranked[min(len(ranked) - 1, int(0.99 * len(ranked)))]
    return {"p50": round(statistics.median(ranked), 1), "p99": round(p99, 1), "worst": round(ranked[-1], 1)}


def _without_lease(calls: Counter[tuple[str, str]]) -> int:
    return sum(number for (_, resource), number in calls.items() if resource != "leases")
