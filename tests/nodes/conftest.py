"""Every test has a namespace of its own, which takes restricted pods only."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.cluster import Cluster
from tests.models import Models


@pytest.fixture(scope="session")
def cluster(real_cluster: Cluster) -> Cluster:
    """The cluster with the simulator's image on its node."""
    real_cluster.load_image("simulator")
    return real_cluster


@pytest.fixture
def models(cluster: Cluster) -> Iterator[Models]:
    """A namespace of the test's own, that takes restricted pods only."""
    name = f"test-{uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    yield Models(cluster, name)
    cluster.kubectl("delete", "namespace", name, "--wait=false")
