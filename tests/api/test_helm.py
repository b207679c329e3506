"""Installed by Helm: one team's namespace, an upgrade, and an uninstall that takes no model away."""

import json
from collections.abc import Iterator

import pytest
from kubernetes import config

from tests.api.installation import OPERATOR, SYSTEM, Installation, assert_nothing_refused, established
from tests.api.kubelet import PlayedNodes
from tests.cluster import open_cluster
from tests.cluster.cache import locked
from tests.cluster.places import checkout, state_root

pytestmark = pytest.mark.api

CHART = "charts/llmfleet"


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A control plane with nothing on it."""
    with locked(state_root() / f"tests-helm-{checkout()}.lock", "another run of these tests"):
        cluster = open_cluster(f"helm-{checkout()}").up(nodes=0)
        with PlayedNodes(config.new_client_from_config(str(cluster.kubeconfig))):
            yield Installation(cluster, tmp_path_factory.mktemp("helm"))
        cluster.down()


def test_one_team_installs_upgrades_and_uninstalls(site: Installation) -> None:
    team, others = site.models("team"), site.models("others")
    helm = site.cluster.helm
    helm("install", "llmfleet", CHART, "-n", SYSTEM, "--create-namespace", "--set=watchNamespaces={team}")
    established(site.cluster)
    assert site.get("deployment", OPERATOR)["spec"]["replicas"] == 1
    with site.operator() as operator:
        team.apply()
        others.apply()
        team.wait_ready()
        assert others.status() == {}
        assert_nothing_refused(site, operator)

    helm("upgrade", "llmfleet", CHART, "-n", SYSTEM, "--reuse-values", "--set=replicas=2")
    assert site.get("deployment", OPERATOR)["spec"]["replicas"] == 2
    assert site.get("pdb", OPERATOR)["spec"]["maxUnavailable"] == 1

    serving = team.items("deployments,services")
    helm("uninstall", "llmfleet", "-n", SYSTEM, "--wait")
    left = json.loads(site.cluster.kubectl("-n", SYSTEM, "get", "deployments,services,roles", "-o", "json"))["items"]
    assert left == []
    assert team.items("deployments,services") == serving
    assert team.get()["metadata"]["name"] == "chat"
