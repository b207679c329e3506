"""Installed by Helm: one team's namespace, an upgrade, and an uninstall that takes no model away."""

import json
from collections.abc import Iterator
from http import HTTPStatus

import pytest
from kubernetes import config

from tests.api.faults.vitals import metric, probe
from tests.api.installation import OPERATOR, SYSTEM, Installation, assert_nothing_refused, established
from tests.api.kubelet import PlayedNodes
from tests.cluster import open_cluster
from tests.cluster.cache import locked
from tests.cluster.places import checkout, state_root
from tests.wait import eventually

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


def test_a_namespace_that_goes_does_not_keep_the_operator_from_the_others(site: Installation) -> None:
    kept, lost = site.models("kept"), site.models("lost")
    helm = ("upgrade", "--install", "llmfleet", CHART, "-n", SYSTEM, "--create-namespace")
    site.cluster.helm(*helm, "--set=watchNamespaces={lost,kept}")
    established(site.cluster)
    with site.operator() as operator:
        for models in (kept, lost):
            models.apply()
            models.wait_ready()
        # With the namespace goes the Role in it; the operator is not told to look elsewhere.
        site.cluster.kubectl("delete", "namespace", "lost")
        operator.stop()
        operator.start()
        eventually(lambda: probe(operator, "/readyz")[0] == HTTPStatus.OK, within_s=20, what="it looks after the rest")
        assert "left out: namespace lost (llmdeployments.llmfleet.dev is forbidden" in probe(operator, "/readyz")[1]
        assert metric(operator, "llmfleet_namespaces_refused") == 1
        kept.apply(name="second")
        kept.wait_ready("second")

        lost = site.models("lost")
        site.cluster.helm(*helm, "--set=watchNamespaces={lost,kept}", "--force-conflicts")
        lost.apply()
        lost.wait(lambda: lost.status().get("state") == "Serving", "it is looked after again", within_s=90)
        assert kept.status()["state"] == "Serving"
