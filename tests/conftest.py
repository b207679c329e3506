"""What holds for every tier, and the cluster with a real node that two of them share."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.cluster import Cluster
from tests.cluster.cache import locked
from tests.cluster.places import checkout, state_root

# Two cores shared with builds: how long one made-up example takes says nothing about the code.
settings.register_profile("llmfleet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("llmfleet")

SYSTEM = "llmfleet-system"


@pytest.fixture(scope="session")
def real_cluster() -> Iterator[Cluster]:
    """A cluster with one node and the operator running as a pod, installed by its chart as a user does."""
    with locked(state_root() / f"tests-nodes-{checkout()}.lock", "another run of these tests"):
        made = Cluster(f"nodes-{checkout()}").up(nodes=1)
        made.load_image("operator")
        install = ("install", "llmfleet", "charts/llmfleet", "-n", SYSTEM, "--create-namespace")
        made.helm(*install, "--wait", "--timeout=60s")
        yield made
        made.down()
