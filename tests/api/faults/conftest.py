"""A control plane of their own for these tests, because they break it: made here whatever provides the others."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from kubernetes import client, config

from tests.api.faults.fleet import Fleet, ready_engines
from tests.api.faults.proxy import FaultProxy
from tests.api.installation import install_kind
from tests.api.kubelet import PlayedNodes
from tests.cluster import Cluster, LocalCluster
from tests.cluster.cache import locked
from tests.cluster.places import checkout, state_root


@pytest.fixture(scope="package")
def cluster() -> Iterator[Cluster]:
    with locked(state_root() / f"tests-faults-{checkout()}.lock", "another run of these tests"):
        made = LocalCluster(f"faults-{checkout()}").up(nodes=0)
        install_kind(made)
        yield made
        made.down()


@pytest.fixture(scope="package")
def nodes(cluster: Cluster) -> Iterator[PlayedNodes]:
    """Two nodes with 64 GPUs each, whose kubelets are played."""
    api = config.new_client_from_config(str(cluster.kubeconfig))
    assert isinstance(api, client.ApiClient)
    with PlayedNodes(api, gpus=64) as played:
        yield played


@pytest.fixture(scope="package")
def proxy(cluster: Cluster, nodes: PlayedNodes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultProxy]:
    del nodes
    with FaultProxy(cluster, tmp_path_factory.mktemp("proxy")) as started:
        started.witness = ready_engines
        yield started


@pytest.fixture
def fleet(cluster: Cluster) -> Iterator[Fleet]:
    """Models of the test's own namespace."""
    with Fleet(cluster, f"test-{uuid4().hex[:8]}") as made:
        yield made


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "operator.log"
