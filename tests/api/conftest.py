"""One control plane for all tests of this tier; every test has a namespace of its own."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from kubernetes import client, config

from tests.api.installation import install_kind
from tests.api.kubelet import PlayedNodes
from tests.cluster import Cluster, open_cluster
from tests.cluster.cache import locked
from tests.cluster.places import checkout, state_root
from tests.operator_process import OperatorProcess


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A control plane without nodes: API server, etcd, controllers, scheduler."""
    with locked(state_root() / f"tests-api-{checkout()}.lock", "another run of these tests"):
        made = open_cluster(f"api-{checkout()}").up(nodes=0)
        yield made
        made.down()


@pytest.fixture(scope="session")
def crds(cluster: Cluster) -> Cluster:
    """The control plane with our kinds installed."""
    install_kind(cluster)
    return cluster


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> client.ApiClient:
    """An independent client, the official one."""
    return config.new_client_from_config(str(cluster.kubeconfig))


@pytest.fixture(scope="session")
def nodes(api: client.ApiClient) -> Iterator[PlayedNodes]:
    """Two nodes with 8 GPUs each, whose kubelets are played."""
    with PlayedNodes(api) as played:
        yield played


@pytest.fixture(scope="session")
def operator_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the shared operator logs to."""
    return tmp_path_factory.mktemp("operator") / "operator.log"


@pytest.fixture(scope="session")
def operator(crds: Cluster, nodes: PlayedNodes, operator_log: Path) -> Iterator[OperatorProcess]:
    """The operator, running outside the cluster; its engines' pods find nodes."""
    del nodes
    process = OperatorProcess(crds.kubeconfig, operator_log).start()
    yield process
    process.stop()


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"test-{uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")
