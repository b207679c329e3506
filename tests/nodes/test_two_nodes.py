"""Two nodes in two zones: one is drained, loses its kubelet, is lost altogether; users are served meanwhile.

The tests share one cluster, in this order; each leaves both nodes as it found them.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests import chart
from tests.cluster import Cluster, UnsupportedError, open_cluster
from tests.cluster.cache import locked
from tests.cluster.node import ZONE_LABEL
from tests.cluster.places import checkout, state_root
from tests.load import Load
from tests.models import Models
from tests.wait import eventually

pytestmark = pytest.mark.nodes

LOST_WITHIN_S = 45
"""From the last word of a node to its engines being out of every Service: 16 s of silence, and the rounds of the node
controller (5 s), the endpoint controller and kube-proxy (1 s)."""
NODES_LEARN_S = 2.0
"""From a change of a Service's endpoints until every node acts on it."""
PATIENCE_S = 3.0
"""After which the clients give a request up. An engine on a lost node does not even refuse it."""
MOVES_SOON = {
    "tolerations": [
        {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 2}
    ]
}
"""Kubernetes itself would wait five minutes for the node to come back."""


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Two nodes, one of them added later, and two operators, of which one acts."""
    made = open_cluster(f"pair-{checkout()}")
    if made.provider.startswith("context:"):
        # There is only this one, with the nodes that it has.
        only: Cluster = request.getfixturevalue("real_cluster")
        only.load_image("simulator")
        yield only
        return
    with locked(state_root() / f"tests-pair-{checkout()}.lock", "another run of these tests"):
        grows = made.provider == "local"
        made.up(nodes=1 if grows else 2, wanted=("operator", "simulator"))
        if grows:
            assert made.add_node() == "n2"
        chart.install(made, "replicas=2")
        yield made
        made.down()


@pytest.fixture(scope="module")
def nodes(cluster: Cluster) -> list[str]:
    """The nodes that take pods. The way to the Services leads over the first: a test may harm the second."""
    found = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    names = sorted(node["metadata"]["name"] for node in found if not node["spec"].get("taints"))
    if len(names) < 2:
        raise UnsupportedError(f"{cluster.provider} has one node that takes pods, {names[0]}; this takes two")
    return names[:2]


def serve(models: Models, replicas: int, **spec: Any) -> str:
    """Bring a simulated model up and return its URL, once every node knows all its engines."""
    engine = {"profile": "sim"}
    spec = {"resources": {"cpu": "50m"}, "drain": {"timeout": "10s"}, **spec}
    models.apply(image="", replicas=replicas, engine=engine, **spec)
    models.wait_ready()
    return models.expose()


def node_of_engines(models: Models) -> list[str]:
    """Where the engines are that are not on their way out."""
    pods = (pod for pod in models.items("pods") if "deletionTimestamp" not in pod["metadata"])
    return sorted(pod["spec"].get("nodeName", "") for pod in pods)


def serving_nodes(models: Models) -> set[str]:
    """The nodes whose engines the Service sends requests to."""
    slices = json.loads(models.kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=chat", "-o", "json"))
    endpoints = [endpoint for each in slices["items"] for endpoint in each["endpoints"] or ()]
    return {endpoint["nodeName"] for endpoint in endpoints if endpoint["conditions"]["ready"]}


def ready(cluster: Cluster, node: str) -> str:
    """What the node's condition Ready says: True, False, or Unknown when nothing is heard from it."""
    path = '{.status.conditions[?(@.type=="Ready")].status}'
    return cluster.kubectl("get", "node", node, "-o", f"jsonpath={path}")


def leader(cluster: Cluster) -> tuple[str, str]:
    """The operator that acts, and its node."""
    holder = cluster.kubectl("-n", chart.SYSTEM, "get", "lease", "-o", "jsonpath={.items[0].spec.holderIdentity}")
    pods = json.loads(cluster.kubectl("-n", chart.SYSTEM, "get", "pods", "-o", "json"))["items"]
    found = [pod for pod in pods if holder.startswith(pod["metadata"]["name"])]
    return (found[0]["metadata"]["name"], found[0]["spec"]["nodeName"]) if found else ("", "")


def test_engines_are_spread_over_the_zones(cluster: Cluster, nodes: list[str], models: Models) -> None:
    serve(models, replicas=4)
    labels = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    zones = {node["metadata"]["name"]: node["metadata"]["labels"].get(ZONE_LABEL) for node in labels}
    assert len({zones[node] for node in nodes}) == 2
    assert node_of_engines(models) == [nodes[0]] * 2 + [nodes[1]] * 2


def test_a_drain_ends_takes_one_engine_at_a_time_and_no_request_fails(
    cluster: Cluster, nodes: list[str], models: Models
) -> None:
    url = serve(models, replicas=4)
    command = ["drain", nodes[1], "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s"]
    least = 4
    with Load(url, "chat") as load:
        load.wait_for_more()
        drain = subprocess.Popen(
            [str(cluster.bin("kubectl")), *command],
            env=cluster.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with drain:
            while drain.poll() is None:
                status = models.items("deployments")[0]["status"]
                least = min(least, status.get("readyReplicas", 0))
            said = drain.stdout.read() if drain.stdout else ""
        load.wait_for_more()
    cluster.kubectl("uncordon", nodes[1])
    assert drain.returncode == 0, said
    assert "violate the pod's disruption budget" in said, "the second engine had to wait for the first one's successor"
    assert least == 3
    assert node_of_engines(models) == [nodes[0]] * 4
    assert load.counts.failures == []


def test_no_request_fails_when_a_kubelet_stops_and_its_engines_serve_again_when_it_is_back(
    cluster: Cluster, nodes: list[str], models: Models
) -> None:
    url = serve(models, replicas=2)
    assert node_of_engines(models) == nodes
    with Load(url, "chat") as load:
        cluster.stop(f"kubelet-{nodes[1]}", grace_s=0)
        models.wait(lambda: serving_nodes(models) == {nodes[0]}, "the Service leaves the node", LOST_WITHIN_S)
        assert ready(cluster, nodes[1]) == "Unknown"
        models.wait(lambda: models.status()["ready"] == "1/2", "the status tells")
        load.wait_for_more()
        cluster.restart(f"kubelet-{nodes[1]}")
        models.wait(lambda: serving_nodes(models) == set(nodes), "the engine of that node serves again")
        load.wait_for_more()
    models.wait_ready()
    assert node_of_engines(models) == nodes, "nothing was moved"
    assert load.counts.failures == []


def test_a_lost_node_costs_requests_only_until_its_engines_are_out_of_the_service(
    cluster: Cluster, nodes: list[str], models: Models
) -> None:
    url = serve(models, replicas=2, podTemplate=MOVES_SOON)
    assert node_of_engines(models) == nodes
    put_leader_on(cluster, nodes[1])
    with Load(url, "chat", timeout_s=PATIENCE_S) as load:
        load.wait_for_more()
        assert load.counts.failures == []
        cut, before = time.monotonic(), load.counts.answered
        cluster.cut_off(nodes[1])
        models.wait(lambda: serving_nodes(models) == {nodes[0]}, "the Service leaves the node", LOST_WITHIN_S)
        left, meanwhile = time.monotonic(), load.counts.answered - before
        load.wait_for_more(200)
        models.wait(lambda: node_of_engines(models) == [nodes[0]] * 2, "another engine takes the place", 60)
        models.wait_ready()
        load.wait_for_more()
        assert leader(cluster)[1] == nodes[0], "the other operator acts"
    counts = load.counts
    failed = len(counts.failures)
    print(f"out of the Service after {left - cut:.1f} s; {failed} requests failed, {meanwhile} were answered meanwhile")
    assert meanwhile >= 10, "the other node went on serving"
    assert counts.failures, "half of the connections went to the lost node"
    assert all("Timeout" in failure for failure in counts.failures)
    last = max(counts.failed_from)
    assert last < left + NODES_LEARN_S, f"a request begun {last - left:.1f} s after the endpoint was removed has failed"

    cluster.rejoin(nodes[1])
    eventually(lambda: ready(cluster, nodes[1]) == "True", within_s=60, what="the node is back")
    models.wait(lambda: len(models.engines()) == 2, "the lost engine's pod is gone", 60)


def put_leader_on(cluster: Cluster, node: str) -> None:
    """Make the operator on that node the one that acts: the others end and come back as standbys."""

    def leads() -> bool:
        pod, where = leader(cluster)
        if pod and where != node:
            cluster.kubectl("-n", chart.SYSTEM, "delete", "pod", pod)
        return where == node

    eventually(leads, within_s=60, what=f"the operator on {node} leads", every_s=2)
    cluster.kubectl("-n", chart.SYSTEM, "rollout", "status", f"deployment/{chart.OPERATOR}", "--timeout=60s")
