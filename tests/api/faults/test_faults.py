"""One operator and one small fleet, through every fault in a row: nothing wrong is written, and nothing is lost.

During each fault a model is made, one changes, one is deleted, and one loses a child. When the fault is over, all of
it has to be as wanted within 30 s, and the model that nobody touched has the pods it had.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.faults.fleet import Fleet, harm, impatient
from tests.api.faults.proxy import Asked, FaultProxy, Object
from tests.api.faults.vitals import metric, wait_for_log
from tests.cluster import Cluster
from tests.operator_process import OperatorProcess
from tests.wait import eventually

pytestmark = pytest.mark.api

WITHIN_S = 30
KINDS = 6
"""So many kinds the operator watches, at least."""
WRITES = 100
"""More than this in one fault would be a storm; without any fault the same changes take about 35."""
ATTEMPTS = 100
"""And so is more than this, those that are refused included; 42 were seen, while every write was answered 409."""

Fault = Callable[["World"], contextlib.AbstractContextManager[None]]


class World:
    def __init__(self, cluster: Cluster, proxy: FaultProxy, fleet: Fleet, operator: OperatorProcess) -> None:
        self.cluster, self.proxy, self.fleet, self.operator = cluster, proxy, fleet, operator
        self.round = 1

    @property
    def robbed(self) -> str:
        """The model of this round that loses an object: one that lost it every round would be disputed."""
        return f"robbed{self.round}"

    def disturb(self) -> None:
        """What people do all day."""
        self.fleet.apply(f"new{self.round}")
        self.fleet.apply("changed", tag=str(self.round), replicas=2)
        self.fleet.delete("gone")
        self.fleet.remove("PodDisruptionBudget", f"{self.robbed}-{self.fleet.selected()[self.robbed]}")

    def restore(self) -> None:
        """Bring the fleet into the state in which every round begins."""
        for name in [name for name in self.fleet.wanted if name.startswith(("new", "robbed"))]:
            self.fleet.delete(name)
        self.round += 1
        for name in ("kept", self.robbed, "gone"):
            self.fleet.apply(name)
        self.fleet.settle()
        eventually(lambda: self.proxy.watches >= KINDS, within_s=30, what="every watch is open again")


@pytest.fixture(scope="module")
def world(cluster: Cluster, proxy: FaultProxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    log = tmp_path_factory.mktemp("faults") / "operator.log"
    flags = (f"--lease-name=faults-{uuid4().hex[:6]}",)
    with (
        Fleet(cluster, f"faults-{uuid4().hex[:6]}") as fleet,
        OperatorProcess(proxy.kubeconfig("faults"), log, *flags) as operator,
    ):
        made = World(cluster, proxy, fleet, operator)
        fleet.apply("changed", replicas=2)
        fleet.apply("gone")
        fleet.settle()
        fleet.delete("gone")
        # The garbage collector looks for new kinds every 30 s only: it has to know ours before anything is timed.
        fleet.settle(60)
        yield made


def fleet_only(asked: Asked) -> bool:
    """All requests but those for the Lease, whose faults are a matter of their own."""
    return not asked.lease


def drop_every_second() -> Callable[[Object], Iterable[tuple[float, Object]]]:
    counter = itertools.count()
    return lambda event: [] if event["type"] != "BOOKMARK" and next(counter) % 2 else [(0.0, event)]


def error_event(code: int) -> Object:
    status = {"kind": "Status", "apiVersion": "v1", "code": code, "reason": "Expired", "message": f"{code}, injected"}
    return {"type": "ERROR", "object": status}


@contextlib.contextmanager
def watches_cut(world: World) -> Iterator[None]:
    assert world.proxy.cut() >= KINDS
    yield
    eventually(world.proxy.cut, within_s=10, what="a watch is open again, and cut once more")


@contextlib.contextmanager
def events_dropped(world: World) -> Iterator[None]:
    """A middlebox that loses every second event, until its connections break."""
    with world.proxy.shaping(drop_every_second()):
        yield
        time.sleep(4)  # as long as the fault lasts: what is dropped meanwhile is not told again by itself
    world.proxy.cut()


@contextlib.contextmanager
def events_twice(world: World) -> Iterator[None]:
    with world.proxy.shaping(lambda event: [(0.0, event), (0.0, event)]):
        yield
        world.fleet.settle()


@contextlib.contextmanager
def events_again_later(world: World) -> Iterator[None]:
    """Time travel: everything is told in time, and again when it is long outdated."""
    with world.proxy.shaping(lambda event: [(0.0, event), (1.5, event)]):
        yield
        world.fleet.settle()
        time.sleep(1.5)  # until the last outdated event was told


@contextlib.contextmanager
def events_late(world: World) -> Iterator[None]:
    with world.proxy.shaping(lambda event: [(3.0, event)]):
        yield
        time.sleep(4)  # as long as the fault lasts


@contextlib.contextmanager
def expired(world: World) -> Iterator[None]:
    with world.proxy.answering(410, only=lambda asked: asked.watch):
        world.proxy.send(error_event(410))
        yield
        time.sleep(2)  # as long as the fault lasts


@contextlib.contextmanager
def error_in_watches(world: World) -> Iterator[None]:
    assert world.proxy.send(error_event(500)) >= KINDS
    yield
    world.proxy.send(error_event(500))


def answered(status: int, *, only: Callable[[Asked], bool], lasting_s: float, retry_after: int = 0) -> Fault:
    @contextlib.contextmanager
    def fault(world: World) -> Iterator[None]:
        with world.proxy.answering(status, retry_after=retry_after, only=only):
            world.proxy.cut()
            yield
            time.sleep(lasting_s)  # as long as the fault lasts

    return fault


@contextlib.contextmanager
def writes_put_off(world: World) -> Iterator[None]:
    """Every write shall come again in 2 s, and meanwhile somebody changes his mind again and again."""
    with world.proxy.answering(429, retry_after=2, only=lambda asked: asked.counts):
        yield
        for more in range(6):
            time.sleep(0.8)  # as long as the fault lasts
            world.fleet.apply("changed", tag=f"{world.round}-{more}")


def slow(only: Callable[[Asked], bool], *, lasting_s: float) -> Fault:
    @contextlib.contextmanager
    def fault(world: World) -> Iterator[None]:
        with world.proxy.slow(5.0, only=only):
            yield
            time.sleep(lasting_s)  # as long as the fault lasts

    return fault


@contextlib.contextmanager
def restarted_api_server(world: World) -> Iterator[None]:
    yield
    world.cluster.stop("kube-apiserver")
    world.cluster.restart("kube-apiserver")
    eventually(lambda: healthy(world), within_s=30, what="the API server is back")


@contextlib.contextmanager
def paused_etcd(world: World) -> Iterator[None]:
    yield
    world.cluster.pause("etcd")
    try:
        time.sleep(20)  # as long as the fault lasts
    finally:
        world.cluster.resume("etcd")


def healthy(world: World) -> bool:
    """Say whether the API server serves our kind: it calls itself ready a moment before."""
    try:
        return world.fleet.http.get("/apis/llmfleet.dev/v1alpha1/llmdeployments?limit=1").is_success
    except httpx.HTTPError:
        return False


def everything(_: Asked) -> bool:
    return True


def of_models(asked: Asked) -> bool:
    return asked.plural == "llmdeployments"


FAULTS: dict[str, Fault] = {
    "watches cut": watches_cut,
    "events dropped": events_dropped,
    "events duplicated": events_twice,
    "events stale": events_again_later,
    "events late": events_late,
    "410": expired,
    "500 inside a watch": error_in_watches,
    "409 to every write": answered(409, only=lambda asked: asked.counts, lasting_s=3),
    "429 with Retry-After to every write": writes_put_off,
    "429 with Retry-After": answered(429, only=fleet_only, lasting_s=3, retry_after=2),
    "500 to every write": answered(500, only=lambda asked: asked.counts, lasting_s=5),
    "500 to everything": answered(500, only=everything, lasting_s=8),
    "slow by 5 s": slow(fleet_only, lasting_s=8),
    "slow by 5 s, the Lease too": slow(everything, lasting_s=8),
    "API server restarted": restarted_api_server,
    "etcd paused for 20 s": paused_etcd,
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_fleet_comes_through(world: World, name: str, record_property: Callable[[str, Any], None]) -> None:
    fleet, proxy = world.fleet, world.proxy
    world.restore()
    serving, begin = fleet.selected(), time.monotonic()
    pods = {pod: uid for pod, uid in fleet.pods().items() if pod.startswith(("kept-", "robbed"))}
    with FAULTS[name](world):
        world.disturb()
    took_s = fleet.settle(WITHIN_S)
    record_property("converged_s", round(took_s, 1))
    attempts = proxy.attempts("faults", since=begin)
    print(
        f"\n{name}: as wanted {took_s:.1f} s after its end, {len(proxy.writes('faults', since=begin))} writes, "
        f"{len(attempts)} attempts"
    )
    assert pods.items() <= fleet.pods().items(), "an engine that had nothing to do with it was restarted"
    written = proxy.writes("faults", since=begin)
    assert harm(written, serving) == []
    assert len(written) < WRITES
    assert len(attempts) < ATTEMPTS
    assert impatient(attempts) == []
    assert world.operator.running, "whatever happens, it is not the kubelet that has to help"


def test_a_deletion_that_kopf_never_heard_of_is_found(world: World) -> None:
    """Deleted while the watch is down, and listed anew: kopf tells such deletions to nobody."""
    world.restore()
    # It has no children: theirs would show that it is gone.
    world.fleet.apply("ghost", model={"source": "hostpath:///data/model"})
    world.fleet.wanted.pop("ghost")
    eventually(lambda: "ghost" in str(world.proxy.writes("faults")[-5:]), within_s=10, what="its status is written")
    known, lines = metric(world.operator, "llmfleet_models"), len(world.operator.lines())
    with world.proxy.shaping(lambda _: [], only=of_models):
        world.fleet.delete("ghost")
        eventually(lambda: "ghost" not in world.fleet.models(), within_s=5, what="it is deleted")
        assert metric(world.operator, "llmfleet_models") == known, "the deletion was not hidden"
        assert world.proxy.send(error_event(410), only=of_models) == 1
    wait_for_log(world.operator, "/ghost is gone", within_s=10, after=lines)
    assert metric(world.operator, "llmfleet_models") == known - 1


def swallow(event: Object) -> Iterable[tuple[float, Object]]:
    return [] if "swallowed" in str(event["object"].get("spec")) else [(0.0, event)]


def test_a_change_that_was_swallowed_is_found_when_the_watch_breaks(world: World) -> None:
    world.restore()
    with world.proxy.shaping(swallow, only=of_models):
        world.fleet.apply("kept", tag="swallowed")
        # Something newer comes through, so that the watch goes on after what it has lost.
        world.fleet.apply("changed", tag="after")
        eventually(lambda: "after" in str(world.fleet.children("Deployment")), within_s=10, what="the other is seen")
        assert "swallowed" not in str(world.fleet.children("Deployment"))
        assert world.proxy.cut(only=of_models) == 1
    world.fleet.settle()


def swallow_orders(event: Object) -> Iterable[tuple[float, Object]]:
    return [] if "swallowed" in str(event["object"]["metadata"].get("annotations")) else [(0.0, event)]


def test_an_order_that_was_swallowed_is_found_when_the_watch_breaks(world: World) -> None:
    """Annotations do not raise an object's generation."""
    world.restore()
    cluster, namespace = world.cluster, world.fleet.namespace
    annotate = ("annotate", "--overwrite", "llm/kept", "-n", namespace)
    with world.proxy.shaping(swallow_orders, only=of_models):
        cluster.kubectl(*annotate, "llmfleet.dev/pause=swallowed")
        world.fleet.apply("changed", tag="after-order")
        eventually(
            lambda: "after-order" in str(world.fleet.children("Deployment")), within_s=10, what="the other is seen"
        )
        assert world.fleet.models()["kept"]["status"]["state"] != "Paused"
        assert world.proxy.cut(only=of_models) == 1
    eventually(
        lambda: world.fleet.models()["kept"]["status"]["state"] == "Paused", within_s=30, what="the order is followed"
    )
    cluster.kubectl(*annotate, "llmfleet.dev/pause-")
    world.fleet.settle()


def test_all_is_quiet_afterwards(world: World) -> None:
    world.restore()
    begin = time.monotonic()
    time.sleep(5)  # what is measured is that nothing happens in this time
    assert [str(written.asked) for written in world.proxy.writes("faults", since=begin)] == []
