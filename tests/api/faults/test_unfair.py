"""What somebody does in his own namespace is not what the others wait for, and does not end the operator."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.api.faults.fleet import Fleet
from tests.api.faults.proxy import Asked, FaultProxy
from tests.api.faults.vitals import metric, probe, wait_for_log
from tests.cluster import Cluster
from tests.operator_process import OperatorProcess
from tests.wait import eventually

pytestmark = pytest.mark.api

ILL, WELL = 40, 15
HANGS_S = 5.0


@pytest.fixture
def neighbour(cluster: Cluster) -> Iterator[Fleet]:
    """Models of somebody else."""
    with Fleet(cluster, f"neighbour-{uuid4().hex[:8]}") as made:
        yield made


def made_within_s(fleet: Fleet, names: list[str]) -> float:
    """Make models; return after how many seconds all of them have a Service."""
    begin = time.monotonic()
    for name in names:
        fleet.apply(name)
    eventually(lambda: set(names) <= fleet.selected().keys(), within_s=60, what="they are made", every_s=0.1)
    return time.monotonic() - begin


def test_a_namespace_where_every_write_hangs_keeps_nobody_waiting(
    proxy: FaultProxy, fleet: Fleet, neighbour: Fleet, log: Path
) -> None:
    """As with a webhook that hangs: each write there is answered after 5 s."""
    name = f"unfair-{uuid4().hex[:6]}"

    def of_neighbour(asked: Asked) -> bool:
        return asked.counts and asked.namespace == neighbour.namespace

    with OperatorProcess(proxy.kubeconfig(name), log, f"--lease-name={name}"):
        undisturbed_s = made_within_s(fleet, [f"before{number}" for number in range(WELL)])
        with proxy.slow(HANGS_S, only=of_neighbour):
            for number in range(ILL):
                neighbour.apply(f"ill{number}")
            eventually(
                lambda: len(proxy.writes(name, namespace=neighbour.namespace)) >= 8, within_s=10, what="eight hang"
            )
            disturbed_s = made_within_s(fleet, [f"during{number}" for number in range(WELL)])
        print(f"\n{WELL} models are made in {undisturbed_s:.1f} s, and beside {ILL} that hang in {disturbed_s:.1f} s")
        assert disturbed_s < undisturbed_s + 0.5 * HANGS_S


def test_who_is_let_in_nowhere_says_so(proxy: FaultProxy, fleet: Fleet, log: Path) -> None:
    name = f"refused-{uuid4().hex[:6]}"
    operator = OperatorProcess(proxy.kubeconfig(name), log, f"--lease-name={name}", f"--namespaces={fleet.namespace}")

    def services(asked: Asked) -> bool:
        return asked.client == name and asked.plural == "services"

    def models(asked: Asked) -> bool:
        return asked.client == name and asked.plural == "llmdeployments"

    try:
        with proxy.answering(403, only=services):
            with proxy.answering(403, only=models):
                operator.start(wait=False)
                wait_for_log(operator, "the fault proxy answers 403", within_s=20)
                assert probe(operator, "/readyz") == (503, "waiting for the right to list llmdeployments\n")
            wait_for_log(operator, f"namespace {fleet.namespace} is left out", within_s=20)
            status, text = probe(operator, "/readyz")
            assert status == 503
            assert f"left out: namespace {fleet.namespace} (the fault proxy answers 403)" in text
            assert metric(operator, "llmfleet_namespaces_refused") == 1
    finally:
        operator.stop()


def test_a_namespace_that_refuses_our_kind_does_not_keep_kopf_from_the_others(
    proxy: FaultProxy, fleet: Fleet, neighbour: Fleet, log: Path
) -> None:
    """kopf ends on a 403 of any namespace; nothing else follows our kind."""
    name = f"closed-{uuid4().hex[:6]}"

    def closed(asked: Asked) -> bool:
        return asked.client == name and asked.plural == "llmdeployments" and asked.namespace == neighbour.namespace

    flags = (f"--lease-name={name}", f"--namespaces={neighbour.namespace},{fleet.namespace}")
    with OperatorProcess(proxy.kubeconfig(name), log, *flags) as operator:
        neighbour.apply("theirs")
        neighbour.settle()
        with proxy.answering(403, only=closed):
            proxy.cut(only=closed)
            wait_for_log(operator, "starting anew, with the namespaces that let us in now", within_s=75)
            fleet.apply("ours")
            fleet.settle()
            assert f"left out: namespace {neighbour.namespace}" in probe(operator, "/readyz")[1]
            neighbour.settle(5)


def test_an_odd_object_with_our_label_ends_nothing_also_not_after_a_restart(
    cluster: Cluster, proxy: FaultProxy, fleet: Fleet, neighbour: Fleet, log: Path
) -> None:
    name = f"odd-{uuid4().hex[:6]}"

    def make(odd: str) -> None:
        metadata = {"name": odd, "labels": {"app.kubernetes.io/managed-by": "llmfleet"}}
        obj = {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata, "revision": 1}
        stdin = json.dumps(obj | {"data": {"template": "no object"}})
        cluster.kubectl("-n", neighbour.namespace, "create", "-f", "-", input=stdin)

    make("before")
    with OperatorProcess(proxy.kubeconfig(name), log, f"--lease-name={name}") as operator:
        fleet.apply("chat")
        fleet.settle()
        make("during")
        wait_for_log(operator, f"{neighbour.namespace}/during cannot be read", within_s=10)
        fleet.apply("chat", tag="2")
        fleet.settle()
        assert operator.running
        assert len([line for line in operator.lines() if "before cannot be read" in line["message"]]) == 1
