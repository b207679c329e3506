"""The operator is killed after its k-th write, for every k that a reconcile has: the end is always the same."""

import signal
from pathlib import Path
from uuid import uuid4

import pytest

from tests.api.faults.fleet import Fleet, harm
from tests.api.faults.proxy import Asked, FaultProxy
from tests.api.faults.vitals import metric, wait_for_log
from tests.api.installation import install_kind
from tests.cluster import Cluster
from tests.operator_process import OperatorProcess
from tests.wait import eventually

pytestmark = pytest.mark.api

MOST = 40
"""No reconcile of the story has so many writes; reaching it means that the story never ends undisturbed."""


class Story:
    """A model comes, and changes so that a new revision takes over, under one operator after the other."""

    def __init__(self, cluster: Cluster, proxy: FaultProxy, folder: Path) -> None:
        self._cluster, self._proxy, self._folder = cluster, proxy, folder
        self.operator = self._begin()

    def _begin(self) -> OperatorProcess:
        """A killed operator's Lease would have to expire first, which is another test: each has one of its own."""
        name = f"kill-{uuid4().hex[:6]}"
        made = OperatorProcess(self._proxy.kubeconfig(name), self._folder / f"{name}.log", f"--lease-name={name}")
        return made.start()

    def _kill(self) -> None:
        self.operator.stop(signal.SIGKILL)

    def tell(self, chapter: str, killed_after: int) -> tuple[str, list[Asked]]:
        """Tell one chapter with one interruption; return the end, normalised, and the writes until the interruption."""
        with Fleet(self._cluster, f"kill-{uuid4().hex[:6]}") as fleet:
            if chapter == "change":
                fleet.apply("chat", replicas=2)
                fleet.settle()
            serving = fleet.selected()
            with self._proxy.after_write(killed_after, fleet.namespace, self._kill) as written:
                fleet.apply("chat", tag="2", replicas=2)
                eventually(
                    lambda: not self.operator.running or not fleet.unsettled(),
                    within_s=30,
                    what="the operator is killed, or done",
                    last=fleet.unsettled,
                )
                if not self.operator.running:
                    # While nobody looks: what is left half done serves nobody worse.
                    assert harm(self._proxy.writes(namespace=fleet.namespace), serving) == []
            if not self.operator.running:
                self.operator = self._begin()
            fleet.settle()
            assert harm(self._proxy.writes(namespace=fleet.namespace), serving) == []
            return fleet.normal(), list(written)


@pytest.fixture
def story(cluster: Cluster, proxy: FaultProxy, tmp_path: Path) -> Story:
    return Story(cluster, proxy, tmp_path)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("chapter", ["create", "change"])
def test_killed_after_any_write_the_end_is_the_same(story: Story, chapter: str) -> None:
    try:
        undisturbed, writes = story.tell(chapter, MOST)
        assert len(writes) < MOST
        print(
            f"\n{chapter}: {len(writes)} writes: {', '.join(f'{w.method} {w.plural} {w.part}'.strip() for w in writes)}"
        )
        for number in range(1, len(writes) + 1):
            end, seen = story.tell(chapter, number)
            # How often the status is written on the way depends on which engine is ready when.
            sure = sum(not write.part for write in writes)
            assert len(seen) == number or number > sure, f"it was not killed after write {number}"
            assert end == undisturbed, f"killed after write {number}: {seen[-1]}"
    finally:
        story.operator.stop(signal.SIGKILL)


def test_a_model_deleted_while_the_operator_is_down_leaves_nothing(proxy: FaultProxy, fleet: Fleet, log: Path) -> None:
    name = f"down-{uuid4().hex[:6]}"
    with OperatorProcess(proxy.kubeconfig(name), log, f"--lease-name={name}") as operator:
        fleet.apply("chat")
        fleet.apply("other")
        fleet.settle()
        operator.stop(signal.SIGTERM)
        before = len(proxy.writes(name))
        fleet.delete("chat")
        operator.start()
        fleet.settle()
        eventually(lambda: metric(operator, "llmfleet_models") == 1, within_s=10, what="one model is known")
        assert proxy.writes(name)[before:] == [], "a restart with everything in place writes nothing"


def test_the_kind_may_come_late_go_and_come_again(cluster: Cluster, proxy: FaultProxy, fleet: Fleet, log: Path) -> None:
    name = f"kind-{uuid4().hex[:6]}"
    cluster.kubectl("delete", "-f", "crds/", "--wait=true")
    operator = OperatorProcess(proxy.kubeconfig(name), log, f"--lease-name={name}").start(wait=False)
    seen = 0
    try:
        for _ in range(2):
            wait_for_log(operator, "the cluster has no kind", within_s=30, after=seen)
            seen = len(operator.lines())
            install_kind(cluster)
            fleet.apply("chat")
            took_s = fleet.settle(30)
            print(f"\nthe kind is there: a model serves {took_s:.1f} s later")
            # The garbage collector looks for new kinds every 30 s only; of one it never knew it deletes no children.
            fleet.apply("collected")
            fleet.settle(30)
            fleet.delete("collected")
            fleet.settle(60)
            cluster.kubectl("delete", "-f", "crds/", "--wait=true")
            fleet.wanted.clear()
            eventually(lambda: not fleet.children("Deployment"), within_s=60, what="its children go with it")
        assert metric(operator, "llmfleet_models") == 0
    finally:
        install_kind(cluster)
        operator.stop()
