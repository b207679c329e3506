"""One cluster with a real node for all tests of this tier; llmfleet is installed by its chart, as a user does."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.cluster import Cluster
from tests.cluster.cache import locked
from tests.cluster.places import state_root
from tests.models import Models

SYSTEM = "llmfleet-system"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster with one node, the simulator's image on it, and the operator running as a pod."""
    with locked(state_root() / "tests-nodes.lock", "another run of these tests"):
        made = Cluster("test").up(nodes=1)
        for image in ("operator", "simulator"):
            made.load_image(image)
        made.helm(
            "install", "llmfleet", "charts/llmfleet", "-n", SYSTEM, "--create-namespace", "--wait", "--timeout=60s"
        )
        yield made
        made.down()


@pytest.fixture
def models(cluster: Cluster) -> Iterator[Models]:
    """A namespace of the test's own, that takes restricted pods only."""
    name = f"test-{uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    yield Models(cluster, name)
    cluster.kubectl("delete", "namespace", name, "--wait=false")
